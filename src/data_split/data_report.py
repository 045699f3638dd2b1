"""A web page about the training rows: skrub's TableReport, made deterministic."""

import itertools
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from src.text import message_of

logger = logging.getLogger(__name__)

# With more, the page is slow and large. skrub leaves out plots and associations of more than 30 columns.
MAX_ROWS, MAX_COLUMNS = 10_000, 100


def describe_rows(rows: pd.DataFrame, n_rows: int, table_name: str, target: str, random_state: int) -> str:
    """Describe each column of a table, and how the columns depend on each other, as an HTML page.

    Args:
        rows: Training rows, shape (n_samples, n_columns). Of many rows, a random sample is described, and of many
            columns the target and the first ones; the title says so.
        n_rows: Number of all training rows, for the title.
        table_name: Name of the table, for the title.
    """
    n_columns = rows.shape[1]
    if n_columns > MAX_COLUMNS:
        rows = rows[[target, *[name for name in rows.columns if name != target][: MAX_COLUMNS - 1]]]
    if len(rows) > MAX_ROWS:
        rows = rows.sample(MAX_ROWS, random_state=random_state).sort_index()
    shown = [
        f"{part:,} of {whole:,} {what}"
        for part, whole, what in ((len(rows), n_rows, "rows"), (rows.shape[1], n_columns, "columns"))
        if part < whole
    ]
    title = f"{table_name}: training rows" + (f", {' and '.join(shown)}" if shown else "")
    return _make_repeatable(_render(rows, title))


def _render(rows: pd.DataFrame, title: str) -> str:
    # Importing skrub takes half a second.
    import matplotlib as mpl
    from matplotlib import pyplot
    from skrub import TableReport

    with warnings.catch_warnings(), _fixed_date(), mpl.rc_context({"svg.hashsalt": "skrub"}):
        warnings.simplefilter("ignore")
        # Otherwise pyplot may start a toolkit for windows.
        mpl.use("agg")
        try:
            return str(TableReport(rows, title=title, verbose=0).html())
        # skrub 0.11 fails if one plot does, such as that of dates so far apart that the axis would begin before year 1.
        except Exception as error:
            logger.info("the page about the training rows has no plots: %s", message_of(error))
            without: dict[str, Any] = {"plot_distributions": False, "compute_associations": False}
            return str(TableReport(rows, title=title, verbose=0, **without).html())
        finally:
            pyplot.close("all")


@contextmanager
def _fixed_date() -> Iterator[None]:
    """Set the date that matplotlib writes into a picture."""
    name = "SOURCE_DATE_EPOCH"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _make_repeatable(page: str) -> str:
    """Replace the random ids of elements by numbers. Text of the table cannot match: its quotes are escaped."""
    report = re.search(r'id="(report_[0-9a-f]{8})-wrapper"', page)
    page = page.replace(report[1], "report") if report else page
    numbers = itertools.count()
    return re.sub(r'(?<=\bid=")[0-9a-f]{8}(?=")', lambda _: f"cell_{next(numbers)}", page)
