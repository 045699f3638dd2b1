"""Check that DVC will delete only what stages wrote: it deletes the outputs of a stage before it runs it."""

from collections.abc import Container, Iterator
from pathlib import Path

from src.config.schema import Config
from src.config.section import output_paths
from src.errors import ConfigError
from src.tracking.journal import Journal
from src.tracking.lock import read_lock
from src.tracking.session import Place

# What `evaluate` writes into its folder; after an interruption, they may differ from what dvc.lock records.
PLOT_SUFFIX = ".png"


def check_outputs(config: Config) -> None:
    """Check that no output path names anything that no stage wrote.

    Stages wrote what `dvc.lock` names and, if they were interrupted, what the journal names. The outputs of a stage
    without an entry may be left from before `dvc.lock` was deleted.

    Raises:
        ConfigError: Contains the setting and the path.
    """
    lock = read_lock(Path())
    sizes = {path: size for entry in lock.values() for path, size in entry.sizes.items()}
    # The entries of a stage with `foreach` are called `train@iris`.
    for key, path in _settings(config, {name.partition("@")[0] for name in lock}):
        files = list(_files(path))
        if path.as_posix() not in sizes:
            if files and path.as_posix() not in _written_in_this_clone():
                raise ConfigError(
                    f"params.yaml: {key} = '{path}' already exists, and no stage wrote it; DVC would delete it: move "
                    "it away, or choose another path."
                )
        elif path.is_dir() and sum(file.lstat().st_size for file in files) != sizes[path.as_posix()]:
            others = [file for file in files if file.suffix != PLOT_SUFFIX]
            if others:
                raise ConfigError(
                    f"params.yaml: {key} = '{path}' contains '{others[0]}', which no stage wrote; DVC would delete it: "
                    "move it away."
                )


def _settings(config: Config, stages: Container[str]) -> Iterator[tuple[str, Path]]:
    for name, section in config:
        for key, path in output_paths(section).items() if name in stages else ():
            yield f"{name}.{key}", path


def _files(path: Path) -> Iterator[Path]:
    """Yield the file or link at a path, or the files in a folder without those that systems and editors hide."""
    if not path.is_dir():
        yield from [path] if path.exists() or path.is_symlink() else []
        return
    for file in sorted(path.rglob("*")):
        if not file.is_dir() and not file.name.startswith("."):
            yield file


def _written_in_this_clone() -> set[str]:
    journal = Journal(Place.of_this_process().main_root)
    sessions = journal.sessions()
    paths = {path for session in sessions for each in journal.executions(session.id) for path in each.sizes}
    return paths | {path for session in sessions if session.snapshot for path in session.snapshot.md5s}
