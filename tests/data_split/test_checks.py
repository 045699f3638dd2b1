import copy
import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from src.compute.engine import Engine
from src.config.schema import Config
from src.data.columns import Columns
from src.data.findings import Finding, read_findings, write_findings
from src.data.parts import list_parts, new_table, write_part
from src.data_load.infer import infer_columns
from src.data_split import checks
from src.data_split.checks import report_findings, run_checks
from src.data_split.split import Plan, Rule, SplitTable
from src.errors import DataError, MissingInputError
from tests.config.conftest import VALID

ROOT = Path(__file__).parents[2]
KINDS = ["leak", "duplicates", "constant", "identifier", "rare_class"]


def make_config(task: str = "classification", features: dict[str, Any] | None = None, **findings: str) -> Config:
    settings: dict[str, Any] = copy.deepcopy(VALID)
    settings["base"]["task"] = task
    settings["featurize"]["features"] = features or {}
    settings["data_split"]["checks"] |= findings
    if task == "regression":
        settings["data_split"]["split"] = {"kind": "random"}
        settings["train"] |= {"scoring": "r2", "estimator": "ridge"}
    return Config.model_validate(settings)


def make_table(n_rows: int = 300) -> pd.DataFrame:
    """Make a table without findings, with numbers and a category."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=n_rows), "b": rng.normal(size=n_rows)})
    table["c"] = rng.choice(["red", "green", "blue"], n_rows)
    table["target"] = np.where(table["a"] + rng.normal(size=n_rows) > 0, "yes", "no")
    return table


def check(
    table: pd.DataFrame, columns: Columns, config: Config, n_parts: int = 1, n_sampled: int | None = None
) -> list[Finding]:
    """Check a table whose last fifth is the test, with the first training rows as the sample."""
    n_train = len(table) * 4 // 5
    train, test = table[:n_train], table[n_train:]
    classes = pd.Index(sorted(table["target"].unique())) if config.base.task == "classification" else None
    labels = [0] if classes is None else classes
    n_rows = np.array([[(side["target"] == label).sum() for label in labels] for side in (train, test)])
    plan = Plan(Rule("random", None, 0, "target", classes, np.zeros(1, dtype=np.uint64)), n_rows)
    with TemporaryDirectory() as folder:
        parts = []
        for name, side in (("train", train), ("test", test)):
            with new_table(Path(folder, name)) as path:
                for number, rows in enumerate(np.array_split(np.arange(len(side)), n_parts)):
                    write_part(side.iloc[rows], path, number)
            parts.append(list_parts(Path(folder, name), made_by="data_split"))
        split = SplitTable(*parts, sample=train.head(n_sampled or n_train), plan=plan)
        return run_checks(split, columns, config, Engine())


def find(table: pd.DataFrame, config: Config | None = None, declared: Any = None, **how: Any) -> dict[str, Finding]:
    """Return by kind the findings in a table whose last fifth is the test."""
    columns = infer_columns(table.drop(columns="target"), declared or {})
    findings = check(table, columns, config or make_config(), **how)
    assert len({finding.kind for finding in findings}) == len(findings)
    return {finding.kind: finding for finding in findings}


def test_clean_table_has_no_findings() -> None:
    assert find(make_table()) == {}


# --- leaks ---


def test_columns_that_give_the_target_together_are_a_leak() -> None:
    table = make_table().assign(home=lambda rows: rows["a"].round(), away=lambda rows: rows["b"].round())
    table["target"] = np.where(table["home"] > table["away"], "yes", "no")
    finding = find(table)["leak"]
    assert finding.columns == ["home", "away"]
    assert finding.message == "which of 'home' and 'away' is larger decides the class"


def test_leaks_of_one_and_of_several_columns_are_one_finding() -> None:
    table = make_table(3000)
    table["target"] = table["a"] + table["b"]
    table["copy"] = 2 * table["target"]
    finding = find(table, make_config("regression"))["leak"]
    assert finding.columns == ["copy", "a", "b"]
    assert finding.message.endswith("; 'a' + 'b' give the target almost exactly")


@pytest.mark.parametrize("n_rows", [100, 5_000, 50_000])
@pytest.mark.parametrize("kind", ["text", "number", "noisy number", "threshold", "missing"])
def test_column_that_predicts_the_class_is_a_leak(kind: str, n_rows: int) -> None:
    table, rng = make_table(n_rows), np.random.default_rng(1)
    is_yes = table["target"] == "yes"
    table["answer"] = {
        "text": np.where(is_yes, "paid", rng.choice(["open", "closed"], n_rows)),
        "number": is_yes.astype(int),
        "noisy number": is_yes + rng.normal(0, 0.1, n_rows),
        "threshold": np.where(is_yes, rng.uniform(30, 500, n_rows), rng.uniform(-60, 30, n_rows)),
        "missing": np.where(is_yes, 3.0, np.nan),
    }[kind]
    leak = find(table)["leak"]
    assert leak.columns == ["answer"]
    assert leak.message.startswith("'answer' (")
    assert "predicts the target almost perfectly on its own (balanced accuracy of a small tree" in leak.message


@pytest.mark.parametrize("n_rows", [200, 30_000])
def test_leak_of_a_rare_class_is_found(n_rows: int) -> None:
    table = make_table(n_rows)
    table["target"] = np.where(np.arange(n_rows) % 50 == 0, "fraud", "fine")
    table["blocked"] = table["target"] == "fraud"
    assert find(table)["leak"].columns == ["blocked"]


def test_leak_of_many_classes_is_found() -> None:
    table = make_table(3_000)
    table["target"] = [f"class {number}" for number in np.arange(3_000) % 40]
    table["code"] = (np.arange(3_000) % 40) * 7.5
    assert find(table)["leak"].columns == ["code"]


@pytest.mark.parametrize("n_rows", [200, 30_000])
@pytest.mark.parametrize("shape", ["line", "curve", "levels"])
def test_column_that_predicts_the_number_is_a_leak(shape: str, n_rows: int) -> None:
    table, rng = make_table(n_rows), np.random.default_rng(1)
    table["target"] = rng.normal(50, 10, n_rows)
    if shape == "levels":
        table["target"] = rng.integers(0, 9, n_rows) * 10.0
    table["answer"] = {
        "line": table["target"] * 1.2 + rng.normal(0, 0.1, n_rows),
        "curve": table["target"] ** 3,
        "levels": "level " + table["target"].astype(int).astype(str),
    }[shape]
    leak = find(table, make_config("regression"))["leak"]
    assert leak.columns == ["answer"]
    assert "(R² of a small tree" in leak.message


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_diabetes])
def test_strong_column_of_a_known_table_is_not_a_leak(load: Any) -> None:
    X, y = load(return_X_y=True, as_frame=True)
    task = "regression" if load is load_diabetes else "classification"
    shuffled = X.assign(target=y).sample(frac=1, random_state=0)
    assert "leak" not in find(shuffled, make_config(task))


def test_identifier_is_not_a_leak() -> None:
    table = make_table()
    table["name"] = [f"row {number}" for number in range(len(table))]
    assert "leak" not in find(table)


@pytest.mark.parametrize("values", [[np.nan], [1e308, -1e308], [5.0], [True, False]], ids=str)
def test_extreme_values_are_not_a_leak(values: list[Any]) -> None:
    table = make_table()
    table["odd"] = (values * len(table))[: len(table)]
    assert "leak" not in find(table)


def test_computed_feature_can_be_a_leak() -> None:
    table = make_table()
    table["b"] = np.where(table["target"] == "yes", table["a"] * 2, table["a"] / 2)
    table.insert(3, "b_to_a", table["b"] / table["a"])
    columns = infer_columns(table[["a", "b", "c"]], {})
    config = make_config(features={"b_to_a": {"ratio": ["b", "a"]}})
    (leak,) = check(table, columns, config)
    assert (leak.kind, leak.columns) == ("leak", ["b_to_a"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_column_that_predicts_well_but_not_almost_perfectly_is_not_a_leak(task: str) -> None:
    table, rng = make_table(5_000), np.random.default_rng(1)
    if task == "regression":
        table["target"] = rng.normal(size=5_000)
        table["near"] = table["target"] + rng.normal(0, 0.2, 5_000)
    else:
        table["near"] = np.where(rng.random(5_000) < 0.04, rng.random(5_000) < 0.5, table["target"] == "yes") * 1.0
    assert "leak" not in find(table, make_config(task))


# --- equal rows ---


def test_test_rows_that_equal_a_training_row_are_counted() -> None:
    table = make_table()
    table.loc[[297, 298, 299]] = table.loc[[1, 2, 3]].to_numpy()
    assert find(table)["duplicates"] == Finding("duplicates", "3 of 60 test rows (5.0%) equal a training row")


def test_rows_with_missing_values_can_be_equal() -> None:
    table = make_table().astype({"c": object})
    table.loc[0, ["a", "c"]] = [np.nan, None]
    table.loc[299] = table.loc[0]
    assert find(table)["duplicates"].message.startswith("1 of 60 test rows")


def test_rows_with_different_targets_are_not_equal() -> None:
    table = make_table()
    table.loc[299] = table.loc[0]
    table.loc[299, "target"] = "no" if table.loc[0, "target"] == "yes" else "yes"
    assert find(table) == {}


def test_ignored_columns_are_not_compared() -> None:
    table = make_table()
    table.loc[299] = table.loc[0]
    table.insert(0, "id", range(300))
    assert "duplicates" not in find(table)
    assert "duplicates" in find(table, declared={"id": {"kind": "ignore"}})


def test_rows_of_text_only_are_compared() -> None:
    table = make_table(60)[["c", "target"]].assign(word=[f"word {row % 50}" for row in range(60)])
    table = table.assign(c="red", target=np.where(np.arange(60) % 2, "yes", "no"))
    assert find(table)["duplicates"].message.startswith("10 of 12 test rows")


def test_equal_numbers_with_different_texts_are_not_equal_rows() -> None:
    table = make_table()
    table.loc[[298, 299]] = table.loc[[0, 1]].to_numpy()
    table.loc[299, "c"] = "purple"
    assert find(table)["duplicates"].message.startswith("1 of 60 test rows")


def test_values_of_swapped_columns_are_not_equal() -> None:
    table = make_table()
    table.loc[299] = table.loc[0]
    table.loc[299, ["a", "b"]] = table.loc[0, ["b", "a"]].to_numpy()
    assert find(table) == {}


# --- constants and identifiers ---


@pytest.mark.parametrize("value", [1, 0.5, "same", True])
def test_column_of_one_value_is_constant(value: Any) -> None:
    finding = find(make_table(2_000).assign(same=value))["constant"]
    assert finding == Finding("constant", "'same': one value in all training rows", ["same"])


@pytest.mark.parametrize("values", [[1.0] * 1_999 + [2.0], [1.0] * 1_500 + [np.nan] * 500])
def test_late_or_missing_values_make_a_column_vary(values: list[float]) -> None:
    table = make_table(2_500).assign(rare=0.0)
    table.loc[: len(values) - 1, "rare"] = values
    assert "constant" not in find(table)


def test_ignored_columns_are_not_checked() -> None:
    table = make_table().assign(unused=1, id=range(300))
    ignored = {"unused": {"kind": "ignore"}, "id": {"kind": "ignore"}}
    assert find(table, declared=ignored) == {}


@pytest.mark.parametrize(
    "values",
    [
        np.arange(300),
        np.arange(300)[::-1] * 17.0,
        np.random.default_rng(0).permutation(300) + 5_000,
        [f"customer-{number}" for number in range(300)],
    ],
    ids=["numbered", "falling, with gaps", "shuffled, without gaps", "text"],
)
def test_column_that_numbers_or_names_its_rows_is_an_identifier(values: Any) -> None:
    assert find(make_table().assign(id=values))["identifier"].columns == ["id"]


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=300),
        np.random.default_rng(0).integers(0, 10**9, 300),
        np.arange(300) % 200,
        np.arange(300) + 0.5,
        [f"postcode {number % 200}" for number in range(300)],
    ],
    ids=["measured", "large integers in no order", "repeated", "not whole", "category"],
)
def test_varied_column_is_not_an_identifier(values: Any) -> None:
    assert "identifier" not in find(make_table().assign(x=values))


@pytest.mark.parametrize(("n_rows", "is_found"), [(25, True), (24, False)])
def test_identifier_needs_at_least_twenty_training_rows(n_rows: int, is_found: bool) -> None:
    table = make_table(n_rows).assign(id=range(n_rows))[["id", "target"]]
    assert ("identifier" in find(table)) == is_found


@pytest.mark.parametrize(("n_columns", "more"), [(10, ""), (15, " and 5 more")])
def test_message_names_the_first_of_many_columns(n_columns: int, more: str) -> None:
    finding = find(make_table().assign(**{f"k{number}": 1 for number in range(n_columns)}))["constant"]
    assert f"'k9'{more}: one value" in finding.message
    assert len(finding.columns) == n_columns


# --- parts and samples ---


@pytest.mark.parametrize("max_hashes", [2_000_000, 500])
def test_parts_change_no_finding(max_hashes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fewer hashes than rows and columns: a share of the values is counted.
    monkeypatch.setattr(checks, "MAX_HASHES", max_hashes)
    table = table_with_all_findings().assign(
        name=lambda rows: "row " + rows.index.astype(str), gap=lambda rows: rows.index * 9.0, empty=np.nan
    )
    table.loc[300:, ["name", "gap"]] = table.loc[:4, ["name", "gap"]].to_numpy()
    found = find(table, declared={"empty": {"kind": "number"}})
    assert found["identifier"].columns == ["name", "id", "gap"]
    assert found["constant"].columns == ["one", "empty"]
    assert found["duplicates"].message.startswith("5 of 61 test rows")
    assert find(table, declared={"empty": {"kind": "number"}}, n_parts=4) == found


@pytest.mark.parametrize("n_parts", [1, 3])
def test_rows_outside_of_the_sample_are_checked(n_parts: int) -> None:
    # In the sample, the first column is constant, and the others are identifiers.
    numbers = np.r_[np.arange(200), np.arange(100)]
    table = make_table().assign(late=np.repeat([1, 2], [200, 100]), word=[f"w{n}" for n in numbers], number=numbers)
    assert find(table, n_parts=n_parts, n_sampled=100) == {}


def test_numbers_in_order_within_but_not_between_parts_are_no_identifier() -> None:
    table = make_table(250).assign(number=np.r_[np.arange(100, 200), np.arange(100), np.arange(200, 250)] * 9)
    assert find(table, n_parts=2) == find(table) == {}


# --- rare classes ---


def test_class_with_fewer_than_five_training_rows_is_rare() -> None:
    table = make_table()
    table.loc[[1, 2, 3, 299], "target"] = "maybe"
    assert find(table)["rare_class"].message == "class 'maybe' has 3 training rows, fewer than 5"


def test_class_without_test_rows_is_rare() -> None:
    table = make_table()
    table.loc[:9, "target"] = "old"
    assert find(table)["rare_class"].message == "class 'old' has no test row"


def test_regression_has_no_rare_classes() -> None:
    table = make_table()
    table["target"] = np.random.default_rng(3).normal(size=300)
    assert find(table, make_config("regression")) == {}


# --- what is done about them ---


def table_with_all_findings() -> pd.DataFrame:
    """Make a table with every finding."""
    table = make_table().assign(one=1, id=range(300))
    table["leak"] = table["target"]
    table.loc[1, "target"] = table.loc[1, "leak"] = "maybe"
    return pd.concat([table, table[:5]], ignore_index=True)


def test_all_findings_are_found_at_once() -> None:
    assert list(find(table_with_all_findings())) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_checks_are_skipped(kind: str) -> None:
    assert list(find(table_with_all_findings(), make_config(**{kind: "ignore"}))) == [
        each for each in KINDS if each != kind
    ]


def test_findings_are_logged_as_warnings(caplog: pytest.LogCaptureFixture) -> None:
    findings = list(find(table_with_all_findings()).values())
    with caplog.at_level(logging.WARNING):
        report_findings(findings, make_config().data_split.checks)
    assert [record.getMessage() for record in caplog.records] == [
        f"data check {finding.kind}: {finding.message}" for finding in findings
    ]


def test_error_lists_fatal_findings_and_the_others_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_config(leak="error", constant="error").data_split.checks
    with caplog.at_level(logging.WARNING), pytest.raises(DataError) as caught:
        report_findings(list(find(table_with_all_findings()).values()), settings)
    message = str(caught.value)
    assert message.startswith("leak: 'leak' (1.000): predicts the target")
    assert "; constant: 'one': one value in all training rows." in message
    assert message.endswith("set data_split.checks of leak, constant to warn or ignore.")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "data check duplicates", "data check identifier", "data check rare_class",
    ]  # fmt: skip


def test_findings_round_trip_through_the_file(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "findings.json"
    findings = list(find(table_with_all_findings()).values())
    write_findings(findings, path)
    assert read_findings(path) == findings
    write_findings([], path)
    assert read_findings(path) == []


@pytest.mark.parametrize("content", [None, "{", json.dumps([{"other": 1}]), "3"])
def test_missing_or_damaged_findings_name_the_stage_that_makes_them(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "findings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MissingInputError, match="stage data_split makes it"):
        read_findings(path)
