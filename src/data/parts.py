"""Tables in parts: a table is a Parquet file, which is its only part, or a folder of parts.

One call of one function reads, processes and writes a part. So the memory of a stage does not depend on the number of
rows, and its outputs are bytewise equal for any number of workers, wherever they run.
"""

import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_object_dtype

from src.atomic import read_umask
from src.compute.engine import Engine
from src.data.files import find_files, read_files, sort_parts, to_arrow, to_frame, unreadable, write_rows

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
        path: Absolute, because a worker has its own working directory.
        number: Its position, from 0.
        start: Number of rows in the parts before it.
        made_by: Stage that wrote it.
    """

    path: Path
    number: int
    start: int
    n_rows: int
    made_by: str

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the rows; names in `columns` that the part does not have are skipped.

        Raises:
            MissingInputError: The file is missing or is not Parquet.
        """
        return to_frame(self.read_arrow(columns))

    def read_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows as `read` does, but as an Arrow table."""
        return read_files([self.path], self.path, self.made_by, columns)

    def types_of_objects(self, rows: pd.DataFrame) -> dict[str, pa.DataType]:
        """Return the types of columns of objects, such as lists; rows without values do not show them."""
        objects = [str(name) for name in rows if is_object_dtype(rows[name])]
        schema = pq.read_schema(self.path) if objects else pa.schema([])
        return {name: schema.field(name).type for name in objects if name in schema.names}


@dataclass(frozen=True)
class Blocks:
    """Consecutive blocks of rows of a table, whichever parts they are in.

    Attributes:
        parts: The parts that have the rows.
        start: Number of rows before them.
        n_rows: Number of their rows.
    """

    parts: Sequence[Part]
    start: int
    n_rows: int

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the rows; see `Part.read`."""
        first = self.parts[0]
        rows = read_files([part.path for part in self.parts], first.path, first.made_by, columns)
        return to_frame(rows.slice(self.start - first.start, self.n_rows))


def list_parts(path: Path, made_by: str) -> list[Part]:
    """List the parts of a table that the stage `made_by` wrote, in the order of their names.

    Raises:
        MissingInputError: The table is missing or is not Parquet.
    """
    parts, start = list[Part](), 0
    for number, file in enumerate(find_files(path, made_by)):
        with unreadable(file, made_by):
            n_rows = pq.read_metadata(file).num_rows
        parts.append(Part(file.absolute(), number, start, n_rows, made_by))
        start += n_rows
    return parts


def list_blocks(parts: Sequence[Part], block_rows: int) -> list[Blocks]:
    """Divide a table into blocks of `block_rows` rows, counted from its first row; only its last block may be smaller.

    Returns:
        For each part the blocks that begin in it, if there are any. A table without rows has one, which is empty.
    """
    total = sum(part.n_rows for part in parts)
    borders = [min(-(-part.start // block_rows) * block_rows, total) for part in parts] + [total]
    found = list[Blocks]()
    for number, (start, stop) in enumerate(itertools.pairwise(borders)):
        if start < stop or total == 0:
            inside = [part for part in parts[number:] if part.start < stop]
            found.append(Blocks(inside or parts, start, stop - start))
    return found


def map_parts(
    function: Callable[[Part], Result], parts: Sequence[Part], engine: Engine, label: str
) -> Iterator[Result]:
    """Yield the result of a function for each part, in order.

    Args:
        function: Function of a module, or a `partial` of one. It does not log.
        label: What is done, for the progress.
    """
    return engine.map(function, parts, len(parts), label)


@contextmanager
def new_table(path: Path) -> Iterator[Path]:
    """Yield a folder for the parts of a new table, which appears at `path` as a whole if no error occurs.

    A table of one part becomes a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Left by a process that was killed; DVC never runs two stages with the same output.
    for leftover in path.parent.glob(f".{path.stem}-????????{path.suffix}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)).absolute()
    try:
        folder.chmod(0o777 & ~read_umask())
        yield folder
        # Unfinished files of workers that were killed.
        for partial in folder.glob(".*"):
            partial.unlink()
        files = sort_parts(folder.iterdir())
        footers = [pq.read_metadata(file) for file in files]
        # A folder cannot be replaced in one step, so the earlier table is moved away first.
        earlier = folder.with_name(f"{folder.name}.earlier")
        if path.is_dir() or (path.exists() and len(files) > 1):
            path.replace(earlier)
        (files[0] if len(files) == 1 else folder).replace(path)
        for leftover in (folder, earlier):
            shutil.rmtree(leftover, ignore_errors=True)
            if leftover.is_file():
                leftover.unlink()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    n_rows, n_columns = sum(footer.num_rows for footer in footers), max(footer.num_columns for footer in footers)
    where = f"{path} in {len(files)} parts" if len(files) > 1 else path
    logger.info("wrote %d rows × %d columns to %s", n_rows, n_columns, where)


def write_part(
    rows: pd.DataFrame | pa.Table, folder: Path, number: int, types: Mapping[str, pa.DataType] = MappingProxyType({})
) -> None:
    """Write rows as a part, without their index; a part without rows is not written.

    Args:
        types: Types of columns of objects in pandas, because a single part may not show them.

    Raises:
        FileNotFoundError: The folder has been removed, because the stage has ended.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    if len(rows):
        table = to_arrow(rows, types) if isinstance(rows, pd.DataFrame) else rows
        write_rows(table, folder / f"part-{number:05}.parquet")
