"""Columns that give the target by arithmetic, and tables that only look like it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from src.data_split.arithmetic import Relation, find_relations
from src.data_split.leaks import find_suspects
from tests.tables.tables import MAKERS, read_params

Change = Callable[[pd.DataFrame, pd.Series], tuple[pd.DataFrame, pd.Series]]


def make_table(n_rows: int = 1000, n_noise: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(n_rows, n_noise)), columns=[f"noise {i}" for i in range(n_noise)])
    return table.assign(
        casual=rng.integers(0, 500, n_rows),
        registered=rng.integers(0, 900, n_rows).astype(float),
        price=rng.lognormal(1, 1, n_rows),
        quantity=rng.lognormal(3, 0.5, n_rows),
        units=rng.integers(0, 4, n_rows),
        home=rng.poisson(1.5, n_rows),
        away=rng.poisson(1.2, n_rows),
    ).assign(near=lambda rows: rows["casual"] + rng.normal(0, 5, n_rows))


def keep(X: pd.DataFrame, y: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    return X, y


def shuffle_some(X: pd.DataFrame, y: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """Give 1 % of the rows the target of other rows."""
    rng = np.random.default_rng(1)
    y, rows = y.copy(), rng.choice(len(y), len(y) // 100, replace=False)
    y.iloc[rows] = y.sample(len(rows), random_state=1).to_numpy()
    return X, y


def remove_some(X: pd.DataFrame, y: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """Remove 5 % of the values."""
    return X.mask(np.random.default_rng(1).random(X.shape) < 0.05), y


def find(X: pd.DataFrame, y: pd.Series, task: Any) -> list[Relation]:
    return find_relations(X, list(X.columns), y, task, 0)


@pytest.mark.parametrize("n_rows", [300, 5000])
@pytest.mark.parametrize("change", [keep, shuffle_some, remove_some])
@pytest.mark.parametrize(
    ("formula", "columns", "message"),
    [
        ("casual + registered", ["casual", "registered"], "'casual' + 'registered' give the target to within rounding"),
        ("registered - casual", ["casual", "registered"], "'registered' - 'casual' give the target to within rounding"),
        ("casual - near", ["casual", "near"], "'casual' - 'near' give the target almost exactly"),
        ("casual + registered - home - away", ["casual", "registered", "home", "away"], None),
        ("0.25 * casual + 0.75 * registered + 500", ["casual", "registered", "near"],
         "0.25 × 'casual' + 0.75 × 'registered' + 500 give the target to within rounding"),
        ("price * quantity", ["price", "quantity"], "'price' × 'quantity' give the target almost exactly"),
        ("price / quantity", ["price", "quantity"], "'price' ÷ 'quantity' give the target almost exactly"),
        ("quantity / price ** 2", ["price", "quantity"], "'quantity' ÷ 'price'^2 give the target almost exactly"),
        ("price * units", ["price", "units"], "'price' × 'units' give the target almost exactly"),
        ("1.19 * price * quantity", ["price", "quantity"], "1.19 × 'price' × 'quantity' give the target almost exactl"),
    ],
)  # fmt: skip
def test_formula_of_several_columns_is_found(
    n_rows: int, change: Change, formula: str, columns: list[str], message: str | None
) -> None:
    X = make_table(n_rows)
    X, y = change(X, X.eval(formula).astype(float))
    (found,) = find(X, y, "regression")
    assert set(found.columns) <= set(columns)
    assert len(found.columns) > 1
    if message and set(found.columns) == set(columns[:2]):
        assert found.message.startswith(message)


@pytest.mark.parametrize("change", [keep, shuffle_some, remove_some])
@pytest.mark.parametrize(("formula", "decimals"), [("casual + registered", -1), ("price + units + home", 0)])
def test_rounded_sum_is_found(change: Change, formula: str, decimals: int) -> None:
    X = make_table()
    (found,) = find(*change(X, X.eval(formula).astype(float).round(decimals)), "regression")
    assert set(found.columns) == set(formula.split(" + "))
    assert found.message.endswith("give the target to within rounding")


@pytest.mark.parametrize("change", [keep, shuffle_some, remove_some])
@pytest.mark.parametrize("kind", ["rank", "log", "rounded", "negative"])
def test_column_that_is_the_target_in_another_form_is_found(change: Change, kind: str) -> None:
    X = make_table()
    price = X.pop("price")
    X["other"] = {"rank": price.rank(), "log": np.log(price), "rounded": price.round(2), "negative": -price}[kind]
    X, y = change(X, price)
    (found,) = find_suspects(X, y, "regression")
    assert "'other'" in found


COMPARISONS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "larger": lambda X: np.where(X["home"] > X["away"], "yes", "no"),
    "who won": lambda X: np.sign(X["home"] - X["away"]).map({1: "home", 0: "draw", -1: "away"}),
    "boolean": lambda X: X["home"] >= X["away"],
}
LIMITS: dict[str, tuple[Callable[[pd.DataFrame], Any], list[str]]] = {
    "sum": (lambda X: np.where(X["near"] + X["registered"] > 600, "yes", "no"), ["registered", "near"]),
    "weights": (lambda X: (X["casual"] + 20 * X["price"] > 300).astype(int), ["casual", "price"]),
    "ratio": (lambda X: X["quantity"] / X["price"] ** 2 > 3, ["price", "quantity"]),
    "grades": (lambda X: pd.cut(X["near"] + X["registered"], [-99, 300, 600, 900, 9999]).astype(str),
               ["registered", "near"]),
}  # fmt: skip


@pytest.mark.parametrize("change", [keep, shuffle_some, remove_some])
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_of_two_columns_is_found(change: Change, name: str) -> None:
    X = make_table()
    (found,) = find(*change(X, pd.Series(COMPARISONS[name](X))), "classification")
    assert found == Relation(["home", "away"], "which of 'home' and 'away' is larger decides the class")


@pytest.mark.parametrize("change", [keep, shuffle_some, remove_some])
@pytest.mark.parametrize("name", LIMITS)
def test_limit_of_a_sum_or_a_product_is_found(change: Change, name: str) -> None:
    X = make_table(3000).drop(columns="casual" if name in ("sum", "grades") else "near", errors="ignore")
    decide, columns = LIMITS[name]
    (found,) = find(*change(X, pd.Series(decide(X))), "classification")
    assert found.columns == columns
    assert found.message.startswith("whether ")
    assert " is above a limit decides the class " in found.message


# --- no findings ---


@pytest.mark.parametrize("load", [load_breast_cancer, load_digits, load_iris, load_wine])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_easy_classes_are_no_arithmetic(load: Any, seed: int) -> None:
    X, y = load(return_X_y=True, as_frame=True)
    assert find_relations(X, list(X.columns), y, "classification", seed) == []
    for label in y.unique():
        assert find_relations(X, list(X.columns), y == label, "classification", seed) == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_well_known_tables_have_no_suspects(seed: int) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    assert find_suspects(X, y, "regression", seed) == []
    for name in ("diamonds", "penguins"):
        base, X = read_params(name)["base"], MAKERS[name]()
        y = X.pop(base["target_column"])
        assert find_suspects(X, y, base["task"], seed) == []


@pytest.mark.parametrize("distance", [0.5, 1, 2, 3, 5])
@pytest.mark.parametrize("n_rows", [100, 2000])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_clusters_are_no_arithmetic(distance: float, n_rows: int, n_classes: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = pd.Series(rng.integers(0, n_classes, n_rows))
        centers = distance * rng.normal(size=(n_classes, 6))
        X = pd.DataFrame(10 + rng.normal(size=(n_rows, 6)) + centers[y], columns=list("abcdef"))
        assert find(X, y, "classification") == []
        assert find(X - 10, y, "classification") == []


@pytest.mark.parametrize(("n_rows", "n_columns"), [(30, 10), (100, 50), (2000, 50), (500, 400)])
@pytest.mark.parametrize("noise", [0.1, 1])
def test_strong_but_inexact_relations_are_no_arithmetic(n_rows: int, n_columns: int, noise: float) -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n_rows, n_columns))).rename(columns=str)
    y = X["0"] + X["1"] - X["2"] + rng.normal(0, noise, n_rows)
    assert find(X, y, "regression") == []
    assert find(X, y > 0, "classification") == []
    assert find(X, pd.Series(rng.normal(size=n_rows)), "regression") == []


# --- any table ---


def test_raw_columns_of_any_type_are_accepted() -> None:
    X = make_table(200)[["casual", "registered", "home"]]
    y = X["casual"] + X["registered"]
    X = X.assign(
        casual=X["casual"].astype(str),
        home=X["home"].astype("Int64").mask(X["home"] == 0),
        day=pd.date_range("2026-01-01", periods=200, tz="Europe/Berlin"),
        took=pd.to_timedelta(np.arange(200), "s"),
        parts=[[number] for number in range(200)],
        mixed=[1, "x", None, True] * 50,
        level=pd.Categorical(["low", "high"] * 100),
        empty=np.nan,
        same=1,
        huge=1e300,
        infinite=np.inf,
        complex=1 + 2j,
        **{"<script>\n$x$": "x"},
    )  # fmt: skip
    expected = ["'casual' + 'registered' give the target to within rounding"]
    assert find_suspects(X, y, "regression") == expected
    assert find_suspects(X, y.astype(str).where(y.index > 5), "regression") == expected
    assert find_suspects(X, X["parts"].map(str), "classification") == []
    assert find_suspects(X[:3], y[:3], "regression") == []
    assert find_suspects(X[[]], y, "regression") == []


def test_messages_are_single_lines_whatever_the_names() -> None:
    X = make_table(300)[["casual", "registered"]].set_axis(["a\nb<script>", "x" * 500], axis=1)
    (found,) = find_suspects(X, X.sum(axis=1), "regression")
    assert found.startswith("'a\\nb<script>' + 'xxx")
    assert "\n" not in found
    assert len(found) < 200
    labels = np.where(X.iloc[:, 0] > X.iloc[:, 1], "$y$\n", "z" * 500)
    (found,) = find_suspects(X, pd.Series(labels), "classification")
    assert "\n" not in found
    assert len(found) < 250


def test_same_rows_give_the_same_findings() -> None:
    X = make_table(9000)
    y = X["casual"] + X["registered"] + X["home"]
    assert find_suspects(X, y, "regression", 3) == find_suspects(X.copy(), y, "regression", 3)


@pytest.mark.parametrize("seed", range(20))
def test_random_tables_raise_no_error_and_no_warning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows = int(rng.choice([1, 5, 19, 20, 21, 45, 300]))
    columns: dict[str, Any] = {
        "constant": np.ones(n_rows),
        "mostly zero": np.where(rng.random(n_rows) < 0.97, 0.0, 7.0),
        "tiny": rng.normal(size=n_rows) * 1e-300,
        "large": rng.normal(size=n_rows) * 1e300,
        "infinite": rng.choice([np.inf, -np.inf, 1.0, np.nan], n_rows),
        "empty": np.full(n_rows, np.nan),
        "whole": rng.integers(0, 3, n_rows),
        "boolean": rng.random(n_rows) < 0.5,
        "normal": rng.normal(size=n_rows),
    }
    columns |= {"same": columns["normal"], "missing": np.where(rng.random(n_rows) < 0.9, np.nan, columns["normal"])}
    X = pd.DataFrame(columns)
    for name in ("constant", "mostly zero", "tiny", "large", "whole", "normal", "boolean"):
        find_suspects(X.drop(columns=name), X[name].astype(float), "regression", seed)
        find_suspects(X.drop(columns=name), X[name], "classification", seed)
