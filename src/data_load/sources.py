"""Load a table from scikit-learn, the user's own file, or a DVC repository."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from src.compute.engine import scratch_folder
from src.config.data_load import DataLoad, DvcSource, FileSource, SklearnSource, UrlSource
from src.config.schema import Config
from src.data.columns import Columns, read_as_text
from src.data.kinds import holds_text
from src.data.target import Target, check_has_target, find_target
from src.data_load.infer import infer_kinds
from src.data_load.raw_table import RawTable, divide_table
from src.data_load.read_file import read_parts
from src.data_load.typed_files import find_parts
from src.errors import DataError
from src.text import message_of

# A file may be a link into DVC's cache, which may be outside of the repository.
_IN_A_DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?$")


@dataclass(frozen=True)
class LoadedTable:
    """The rows of the source, and what was found about them.

    Attributes:
        raw: The rows, without dropped rows that have no target.
        columns: Kinds of all columns but the target.
        target: How to convert the target.
        origin: Tags that describe where the rows come from.
    """

    raw: RawTable
    columns: dict[str, dict[str, Any]]
    target: Target
    origin: dict[str, str]


@contextmanager
def load_table(config: Config, known: Columns) -> Iterator[LoadedTable]:
    """Load the table of the source, and infer the kinds of its columns; rows can be read inside the `with` block.

    Args:
        config: All settings.
        known: Declared or recorded columns.

    Raises:
        DataError: The source cannot be read, the target does not suit the task, or a column
            contains numbers and other values.
    """
    with ExitStack() as stack:
        raw, origin, target = _load(config, known, stack)
        target_column = config.base.target_column
        columns = infer_kinds({name: raw.chunks(name) for name in raw.columns if name != target_column}, known)
        # Large integers turned out to be identifiers; a rerun, which knows this, reads them with leading zeros.
        new = set(read_as_text(columns)) - set(read_as_text(known))
        if not all(holds_text(next(iter(raw.chunks(name)))) for name in new):
            stack.close()
            raw, origin, target = _load(config, {**known, **columns}, stack)
        yield LoadedTable(raw, columns, target, origin)


def load_source(settings: DataLoad, target_column: str, as_text: Iterable[str] = ()) -> tuple[RawTable, dict[str, str]]:
    """Load the raw table of the source, and tags that describe its origin.

    Args:
        settings: The section `data_load`.
        target_column: Name for the target of a scikit-learn dataset.
        as_text: Columns of a text file to read as text even if they look like numbers.

    Raises:
        DataError: A file, repository or revision cannot be read.
    """
    source, path = settings.source, settings.external_path
    n_rows = settings.rows_per_part
    if isinstance(source, SklearnSource):
        table = divide_table(_load_sklearn(source.name, target_column), source.name, n_rows)
        return table, {"source.name": f"sklearn.datasets.load_{source.name}"}
    if isinstance(source, DvcSource):
        return _load_dvc(source, as_text, n_rows)
    check_exists(source, path)
    check_inside_repository(path)
    origin = {"source.path": str(path)}
    if isinstance(source, UrlSource):
        origin["source.url"] = source.url
    return read_parts(path, source, as_text, str(path), n_rows), origin


def check_exists(source: FileSource | UrlSource, path: Path) -> None:
    """Check that the user's table exists.

    Raises:
        DataError: Contains the command that restores or adds it.
    """
    if path.exists():
        return
    quoted, pointer = shlex.quote(str(path)), f"{path}.dvc"
    if Path(pointer).exists():
        known = shlex.quote(pointer)
        raise DataError(f"{path} is missing; restore it: `dvc checkout {known}`, or `dvc pull {known}`.")
    if isinstance(source, UrlSource):
        raise DataError(f"{path} is missing; download it: `dvc import-url {shlex.quote(source.url)} {quoted}`.")
    raise DataError(f"{path} is missing; put your table there and run `dvc add {quoted}`.")


def check_inside_repository(path: Path) -> None:
    """Raise DataError for a file, or the target of a link, outside of the repository."""
    root = Path.cwd().resolve()
    for file in [path, *(find_parts(path) if path.is_dir() else [])]:
        real = file.resolve()
        if not real.is_relative_to(root) and not _IN_A_DVC_CACHE.search(real.as_posix()):
            raise DataError(
                f"{file} is outside of the repository, at {real}, so other clones would not have it; copy it to {path}."
            )


def clean_column_name(name: str) -> str:
    """Turn a title into an identifier.

    >>> clean_column_name("sepal length (cm)")
    'sepal_length'
    >>> clean_column_name("od280/od315_of_diluted_wines")
    'od280_od315_of_diluted_wines'
    """
    without_unit = re.sub(r"\s*\([^)]*\)", "", name)
    return re.sub(r"\W+", "_", without_unit).strip("_").lower()


def _load(config: Config, known: Columns, stack: ExitStack) -> tuple[RawTable, dict[str, str], Target]:
    settings, target_column = config.data_load, config.base.target_column
    raw, origin = load_source(settings, target_column, read_as_text(known))
    stack.enter_context(raw)
    check_has_target(raw.columns, target_column)
    chunks, declared = raw.chunks(target_column), known.get(target_column, {})
    target = find_target(chunks, target_column, config.base.task, settings.missing_target, declared)
    if target.n_dropped:
        raw.drop_missing(target_column)
    return raw, origin, target


def _load_sklearn(name: str, target_column: str) -> pd.DataFrame:
    # Importing scikit-learn takes 1 s.
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")(as_frame=True)
    table: pd.DataFrame = bunch.data.rename(columns=clean_column_name)
    if target_column in table.columns:
        raise DataError(f"base.target_column = {target_column!r} is a feature of {name}; choose another name.")
    target: pd.Series = bunch.target
    if "target_names" in bunch:
        target = target.map({code: str(label) for code, label in enumerate(bunch.target_names)})
    return table.assign(**{target_column: target})


def _load_dvc(source: DvcSource, as_text: Iterable[str], rows_per_part: int) -> tuple[RawTable, dict[str, str]]:
    # Importing DVC takes 0.3 s.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    where = f"{source.path} of {source.repo} at {source.rev}"
    # The system's temporary folder may be in memory.
    with scratch_folder() as folder:
        copy = Path(folder) / Path(source.path).name
        try:
            files: Any = DVCFileSystem(source.repo, rev=source.rev)
            commit = str(files.repo.get_rev())
            files.get(source.path, str(copy), recursive=files.isdir(source.path))
            table = read_parts(copy, source, as_text, source.path, rows_per_part)
        except (DataError, DvcException, SCMError, OSError, ValueError) as error:
            reason = "; ".join(_messages(error)).rstrip(".")
            raise DataError(f"data_load.source: cannot read {where} ({reason}); check path, repo and rev.") from error
    return table, {"source.url": source.repo, "source.rev": source.rev, "source.commit": commit}


def _messages(error: BaseException | None) -> list[str]:
    """List the messages of an error and its causes, because DVC reports problems with git as "SCM error" only."""
    messages = []
    while error is not None:
        messages.append(message_of(error))
        error = error.__cause__
    return list(dict.fromkeys(messages))
