"""Check that DVC will delete only what stages wrote: it deletes the outputs of a stage before it runs it."""

import re
from collections.abc import Iterator
from pathlib import Path

from src.config.schema import CURVES, FIGURES, Config
from src.config.section import output_paths
from src.errors import ConfigError
from src.tracking.dvc_repo import open_repo
from src.tracking.git import is_tracked, read_file
from src.tracking.journal import Journal
from src.tracking.lock import parse_lock, read_lock
from src.tracking.session import Place

PART = re.compile(r"part-\d{5,}\.parquet")
# What file systems and `atomic_path` leave in a folder.
IGNORED = re.compile(r"\.DS_Store|Thumbs\.db|\.gitkeep|\..+-\w{8}\.\w+")


def check_outputs(config: Config) -> None:
    """Check that no output path names anything that no stage wrote.

    Stages wrote what `dvc.lock` or the journal names, which also has stages that were interrupted.

    Raises:
        ConfigError: Contains the setting and the path.
    """
    lock = read_lock(Path())
    outs = {path: (name, md5) for name, entry in lock.items() for path, md5 in entry.outs.items()}
    root = Path().resolve()
    for key, path in _settings(config):
        if not path.parent.resolve().is_relative_to(root) or (path.is_symlink() and path.is_dir()):
            raise ConfigError(f"params.yaml: {key} = '{path}' leads through a link to another folder; remove the link.")
        files = list(_files(path))
        if not files:
            continue
        stage, md5 = outs.get(path.as_posix(), ("", None))
        if not stage and not _is_known(path):
            raise ConfigError(
                f"params.yaml: {key} = '{path}' already exists, and no stage wrote it; DVC would delete it: move "
                "it away, or choose another path."
            )
        # The entries of a stage with `foreach` are called `train@iris`.
        other = stage.partition("@")[0]
        if other != key.partition(".")[0] and other in Config.model_fields:
            raise ConfigError(
                f"params.yaml: {key} = '{path}' is what stage {other} wrote; delete it, or choose another path."
            )
        size = lock[stage].sizes.get(path.as_posix()) if stage else None
        if path.is_dir() and sum(file.lstat().st_size for file in files) != size:
            # Another version of a table may have more parts.
            others = [file for file in files if not PART.fullmatch(file.name) and file not in _written(path, md5)]
            if others:
                raise ConfigError(
                    f"params.yaml: {key} = '{path}' contains '{others[0]}', which no stage wrote; DVC would delete it: "
                    "move it away."
                )


def _settings(config: Config) -> Iterator[tuple[str, Path]]:
    for name, section in config:
        for key, path in output_paths(section).items():
            yield f"{name}.{key}", path


def _files(path: Path) -> Iterator[Path]:
    """Yield the file or link at a path, or the files in a folder."""
    if not path.is_dir():
        yield from [path] if path.exists() or path.is_symlink() else []
        return
    for file in sorted(path.rglob("*")):
        if not file.is_dir() and not IGNORED.fullmatch(file.name):
            yield file


def _is_known(path: Path) -> bool:
    """Return whether a stage wrote a path in this clone, or git has it or the lock that names it."""
    root = Place.of_this_process().main_root
    journal = Journal(root)
    sessions = journal.sessions()
    written = {name for session in sessions for each in journal.executions(session.id) for name in each.sizes}
    written |= {name for session in sessions if session.snapshot for name in session.snapshot.md5s}
    if path.as_posix() in written or is_tracked(root, path):
        return True
    committed = read_file(root, "HEAD", "dvc.lock")
    return bool(committed) and any(path.as_posix() in entry.outs for entry in parse_lock(committed or "").values())


def _written(folder: Path, md5: str | None) -> set[Path]:
    """Return the files that a stage may have written to a folder: those of its last run, all figures and curves."""
    with open_repo(Path.cwd()) as repo:
        last = repo.find_files(folder.as_posix(), md5) if repo else {}
    names = [*(f"{name}.png" for name in FIGURES), *(f"{name}.json" for name in CURVES)]
    return {*map(Path, last), *(folder / name for name in names)}
