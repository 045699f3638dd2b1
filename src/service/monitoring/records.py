"""Read what the endpoint recorded: one row for each predicted row, in `data/requests/YYYY-MM-DD/*.parquet`."""

import logging
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from src.data.files import open_parquet
from src.data.kinds import convert
from src.errors import DataError
from src.report.profile import Reference

logger = logging.getLogger(__name__)

REQUESTS_DIR = Path("data/requests")
INPUT, PROBABILITY = "input.", "probability."
REQUIRED = ("id", "time", "model", "model_md5", "prediction")


@dataclass
class Records:
    """The recorded rows of a window.

    Attributes:
        rows: Columns of the records, at most `max_rows` random rows in the order of their time.
        labelled: The same, of all rows whose id has a label; without inputs.
        n_rows: Number of rows in the window of the model that the profile describes.
        other_models: Number of rows of other models, by the name of the model.
        unreadable: Files that are damaged or still being written.
        foreign: Files with other columns or types.
        ignored: Recorded inputs that the profile does not have.
        newest: Time of the newest row of all, also before the window.
    """

    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    labelled: pd.DataFrame = field(default_factory=pd.DataFrame)
    n_rows: int = 0
    other_models: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    newest: pd.Timestamp | None = None


def parse_since(text: str) -> datetime:
    """Read a date or a time in ISO format; without a time zone it is UTC.

    Raises:
        DataError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise DataError(f"SINCE = {text!r} is not a date; use one such as 2026-11-01 or 2026-11-01T12:00.") from None


def read_records(
    folder: Path, reference: Reference, since: datetime | None, max_rows: int, ids: "pd.Index[str] | None" = None
) -> Records:
    """Read the records of a window, with at most about twice `max_rows` rows in memory.

    Args:
        folder: Folder of the days.
        reference: Only rows of its model are compared, and inputs get the kinds of its columns.
        since: Start of the window; None takes all records.
        max_rows: Of more rows, a random sample that depends on the seed and the names of the files only.
        ids: Labelled ids, whose predictions are all kept.
    """
    found = Records()
    parts: list[pd.DataFrame] = []
    labelled: list[pd.DataFrame] = []
    for path in _find_files(folder):
        try:
            with open_parquet(path) as file:
                table = file.read(use_pandas_metadata=False).to_pandas()
        # Files of the endpoint appear whole, but a copy may not.
        except (pa.ArrowException, OSError):
            found.unreadable.append(str(path))
            continue
        rows = _check(table, reference, found)
        if rows is None:
            found.foreign.append(str(path))
            continue
        newest = rows["time"].max()
        found.newest = newest if found.newest is None else max(found.newest, newest)
        rows = rows[rows["time"] >= since] if since else rows
        is_ours = rows["model_md5"] == reference.model_md5
        found.other_models.update(rows.loc[~is_ours, "model"].astype(str))
        rows = rows[is_ours]
        found.n_rows += len(rows)
        if ids is not None:
            labelled.append(rows[rows["id"].isin(ids)].filter(regex=f"^(?!{INPUT})"))
        seed = [reference.random_state, zlib.crc32(path.relative_to(folder).as_posix().encode())]
        parts.append(rows.assign(**{"": np.random.default_rng(seed).random(len(rows))}))
        if sum(map(len, parts)) > 2 * max_rows:
            parts = [_keep(parts, max_rows)]
    if parts:
        kept = _keep(parts, max_rows).drop(columns="")
        found.rows = kept.sort_values(["time", "id"], kind="stable", ignore_index=True)
    if labelled:
        found.labelled = pd.concat(labelled, ignore_index=True)
    return found


def recorded_inputs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the inputs under the names of the raw columns; a column without any record is left out."""
    names = [str(name) for name in rows.columns if str(name).startswith(INPUT)]
    return rows[names].set_axis([name.removeprefix(INPUT) for name in names], axis="columns")


def recorded_scores(rows: pd.DataFrame, reference: Reference) -> dict[str, Any]:
    """Return the probability of each class, or the predicted numbers of a regression."""
    if reference.task == "regression":
        return {reference.target: rows["prediction"].to_numpy(dtype=float)}
    names = [str(name) for name in rows.columns if str(name).startswith(PROBABILITY)]
    return {name.removeprefix(PROBABILITY): rows[name].to_numpy(dtype=float) for name in names}


def _find_files(folder: Path) -> Iterator[Path]:
    """List the files of all days in order; names that begin with a dot are still being written."""
    for day in sorted(folder.glob("[!.]*/")):
        try:
            date.fromisoformat(day.name)
        except ValueError:
            continue
        yield from sorted(day.glob("[!.]*.parquet"))


def _keep(parts: list[pd.DataFrame], max_rows: int) -> pd.DataFrame:
    """Keep the rows with the smallest random numbers, in the unnamed column."""
    return pd.concat(parts, ignore_index=True).nsmallest(max_rows, "")


def _check(table: pd.DataFrame, reference: Reference, found: Records) -> pd.DataFrame | None:
    """Convert the columns of a file; None if it does not have the columns of records, or values of other kinds."""
    if not {*REQUIRED} <= {*table.columns} or table.empty:
        return None
    columns: dict[str, Any] = {name: table[name] for name in REQUIRED}
    columns["time"] = pd.to_datetime(table["time"], utc=True, errors="coerce")
    if columns["time"].isna().any():
        return None
    if reference.task == "regression":
        columns["prediction"] = pd.to_numeric(table["prediction"], errors="coerce")
    else:
        columns["prediction"] = table["prediction"].astype(str)
    inputs = {str(name).removeprefix(INPUT) for name in table.columns if str(name).startswith(INPUT)}
    found.ignored |= inputs - reference.columns.keys()
    for name in table.columns:
        if name.startswith(PROBABILITY):
            columns[name] = pd.to_numeric(table[name], errors="coerce")
        elif name.startswith(INPUT) and (profile := reference.columns.get(name.removeprefix(INPUT))):
            column, invalid = convert(table[name], {"kind": profile.kind})
            if invalid is not None:
                return None
            columns[name] = column
    return pd.DataFrame(columns)
