import datetime
import decimal
import os
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from src.data_split.data_report import MAX_COLUMNS, describe_rows

N = 40
TEXT = pd.StringDtype(na_value=np.nan)
RNG = np.random.default_rng(0)
COLUMNS: dict[str, Any] = {
    "numbers": RNG.normal(size=N),
    "integers": RNG.integers(0, 9, N),
    "missing": np.full(N, np.nan),
    "missing text": pd.array([np.nan] * N, dtype=TEXT),
    "missing dates": pd.Series([pd.NaT] * N, dtype="datetime64[us]"),
    "one known value": [1.0] + [np.nan] * (N - 1),
    "constant": [1.0] * N,
    "infinite": [np.inf, -np.inf, 1.0, 2.0] * (N // 4),
    "huge and tiny": [1e300, 1e-310] * (N // 2),
    "booleans": RNG.random(N) > 0.5,
    "dates": pd.date_range("2024-01-01", periods=N).astype("datetime64[us]"),
    "far dates": pd.Series(["0002-01-01", "9000-01-01"] * (N // 2)).astype("datetime64[us]"),
    "dates with zones": pd.date_range("2024-01-01", periods=N, tz="UTC"),
    "days": [datetime.date(2024, 1, 1)] * N,
    "durations": pd.to_timedelta(RNG.integers(0, 9, N), unit="h"),
    "decimals": [decimal.Decimal("1.5")] * N,
    "levels": pd.Categorical(RNG.choice(list("ab"), N)),
    "emoji": pd.array(
        RNG.choice(["🐍", "<script>alert(1)</script>", "$x$", "a" * 500, "new\nline", "\x00"], N), dtype=TEXT
    ),
    "other scripts": pd.array(["مرحبا", "שלום", "नमस्ते", "猫"] * (N // 4), dtype=TEXT),
    "mixed": [1, "a", None, 2.5] * (N // 4),
    "lists": [[1, 2]] * N,
    "mappings": [{"a": 1}] * N,
    "bytes": [b"x"] * N,
}


def describe(rows: pd.DataFrame, name: str = "birds") -> str:
    return describe_rows(rows, len(rows), name, str(rows.columns[0]), random_state=0)


# The tests turn warnings into errors.
@pytest.mark.parametrize("name", COLUMNS)
def test_any_column_is_described_without_a_warning(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    page = describe(pd.DataFrame({name: COLUMNS[name]}))
    assert f">{name}<" in page.replace("\n", "").replace(" " * 4, "") or name in page
    assert "<script>alert" not in page
    assert capfd.readouterr() == ("", "")


def test_same_rows_give_the_same_bytes() -> None:
    rows = pd.DataFrame(COLUMNS)[["numbers", "dates", "emoji", "booleans"]]
    assert describe(rows) == describe(rows)


def test_title_names_the_table_and_is_text() -> None:
    assert "birds: training rows" in describe(pd.DataFrame({"a": [1.0, 2.0]}))
    assert "</title><script>" not in describe(pd.DataFrame({"a": [1.0, 2.0]}), "</title><script>alert(1)</script>")


def test_names_of_columns_are_text() -> None:
    names = ["<script>alert(1)</script>", "", 'a"b\n$x$', "n" * 500, "🐍"]
    assert "<script>alert" not in describe(pd.DataFrame({name: [1.0, 2.0, 4.0] for name in names}))


def test_large_and_wide_table_is_described_in_part_as_the_title_says() -> None:
    wide = pd.DataFrame(np.zeros((20, 10_000)), columns=[f"c{i}" for i in range(10_000)]).assign(target="a")
    page = describe_rows(wide, 20, "wide", "target", random_state=0)
    assert "wide: training rows, 100 of 10,001 columns" in page
    assert ">target<" in page.replace(" ", "").replace("\n", "")
    assert f"c{MAX_COLUMNS}" not in page
    rows = pd.DataFrame({"a": np.arange(30_000.0)})
    page = describe_rows(rows, 5_000_000, "birds", "a", random_state=0)
    assert "birds: training rows, 10,000 of 5,000,000 rows" in page
    assert page == describe_rows(rows, 5_000_000, "birds", "a", random_state=0)


def test_table_without_rows_is_described() -> None:
    assert "birds" in describe(pd.DataFrame({"a": [], "b": []}))


def test_page_loads_nothing() -> None:
    page = describe(pd.DataFrame(COLUMNS)[["numbers", "emoji"]])
    assert not any(f'{attribute}="{start}' in page for attribute in ("src", "srcset") for start in ("http", "//"))
    assert "<link" not in page


def test_later_figures_and_processes_are_not_affected() -> None:
    settings, environment = dict(mpl.rcParams), dict(os.environ)
    describe(pd.DataFrame(COLUMNS)[["numbers", "far dates"]])
    assert pyplot.get_fignums() == []
    assert dict(os.environ) == environment
    assert {name: value for name, value in mpl.rcParams.items() if name != "backend"} == {
        name: value for name, value in settings.items() if name != "backend"
    }
