from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.scale_report import describe_scale, make_tables
from benchmarks.tables import N_COLUMNS, write_large


def some_costs(**cpu_seconds: float) -> dict[str, Any]:
    return {
        name: {"seconds": 9.0, "cpu_seconds": seconds, "megabytes": 100 * seconds}
        for name, seconds in cpu_seconds.items()
    }


SCALE: dict[str, Any] = {
    "machine": "a machine",
    "limit": {"n_rows": 10**7, "error": "ArrowMemoryError", "costs": some_costs(data_load=3.0, train=9.0)},
    "flat": {"costs": some_costs(**{"data_load, 5M rows": 4.0, "data_load, 20M rows": 5.1})},
    "tax": {
        "runs": 3,
        "costs": some_costs(
            **{
                "data_load, parts: 1": 4.0,
                "data_load, parts: 4": 5.0,
                "evaluate, parts: 1": 6.0,
                "evaluate, parts: 4": 6.0,
            }
        ),
    },
    "engine": {"is_equal": True, "different": [], "costs": some_costs(local=5.0, **{"Dask, 1 worker": 5.0})},
    "rows": {
        "n_rows": {"all rows": 8 * 10**6, "sample": 10**6},
        "scores": {"all rows": 0.9, "sample": 0.8},
        "costs": some_costs(**{"train, all rows": 8.0}),
    },
    "peers": {
        "runs": 3,
        "versions": {"DuckDB": "duckdb 2.0.1", "Polars": "polars 2.1.0"},
        "page_seconds": 1.5,
        "costs": some_costs(
            **{
                "featurize, stages": 6.0,
                "data_split, stages": 6.0,
                "featurize, DuckDB": 10.0,
                "split, DuckDB": 10.0,
                "featurize, Polars": 5.0,
                "split, Polars": 6.0,
            }
        ),
    },
}


def test_table_of_scale_says_for_each_bar_whether_it_is_kept() -> None:
    lines = make_tables(SCALE).splitlines()
    whole = "10,000,000 rows within 1.5 GB"
    assert f"| {whole}: `pandas.read_parquet` | ArrowMemoryError | fails, kept |" in lines
    assert f"| {whole}: the five stages | pass; peak 900 MB in `train` | pass, kept |" in lines
    assert "| peak memory of data_load, 5M rows | 400 MB | ≤ 500 MB, kept |" in lines
    assert "| peak memory of data_load, 20M rows | 510 MB | ≤ 500 MB, missed |" in lines
    assert "| 1M rows in four parts: CPU beside one part | 11.0 s and 10.0 s, 1.10 | ≤ 1.10, kept |" in lines
    assert "| `dvc.lock` of 1M rows on each engine | equal; local: 9 s, Dask, 1 worker: 9 s | equal, kept |" in lines
    promise = "LightGBM on 8,000,000 rows beside its sample of 1,000,000: ROC AUC"
    assert f"| {promise} | 0.9000 and 0.8000 | better, kept |" in lines
    promise = "`featurize` and `data_split` of 10M rows: CPU beside"
    assert f"| {promise} DuckDB | 12.0 s and 20.0 s, 0.60 |  |" in lines
    assert f"| {promise} Polars | 12.0 s and 11.0 s, 1.09 | ≤ 1.20, kept |" in lines
    assert "| limit: train | 9.0 | 9.0 | 900 MB |" in lines


def test_table_of_scale_names_what_differs_and_what_did_not_fail() -> None:
    failing = {
        "limit": SCALE["limit"] | {"error": None},
        "engine": SCALE["engine"] | {"is_equal": False, "different": ["train", "evaluate"]},
    }
    table = make_tables(failing)
    assert "| passes | fails, missed |" in table
    assert "| differs in train, evaluate; local: 9 s, Dask, 1 worker: 9 s | equal, missed |" in table
    assert "flat" not in table


def test_section_of_scale_names_the_machine_and_the_other_tools() -> None:
    page = describe_scale(SCALE)
    assert "Measured on a machine." in page
    assert "takes 1.5 s of CPU" in page
    assert "DuckDB: duckdb 2.0.1; Polars: polars 2.1.0." in page
    assert "DuckDB" not in describe_scale({"machine": "a machine", "limit": SCALE["limit"]})


def test_large_table_is_written_with_an_id_or_without(tmp_path: Path) -> None:
    for has_id in (False, True):
        path = tmp_path / "external" / f"{has_id}.parquet"
        write_large(path, 100, has_id=has_id)
        table = pq.read_table(path)
        assert table.shape == (100, N_COLUMNS + 1 + has_id)
        assert set(table["target"].to_pylist()) == {"yes", "no"}
    assert table["id"].to_pylist() == list(range(100))
