from pathlib import Path

import pytest

from src.config.load import load_config
from tests.config.conftest import ABSENT, Load, Refusal


def test_scientific_notation_is_a_number(load: Load, tmp_path: Path) -> None:
    load({})
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("test_size: 0.2", "test_size: 2e-1"), encoding="utf-8")
    assert load_config(path).data_split.test_size == 0.2


def test_single_problem_is_one_line_with_file_key_value_and_what_is_allowed(refusal: Refusal) -> None:
    assert refusal({"train.cv": 1}) == "params.yaml: train.cv = 1: must be greater than or equal to 2."


def test_all_problems_are_reported_at_once(refusal: Refusal) -> None:
    message = refusal(
        {
            "base.random_state": "42",
            "data_load.source.name": "penguins",
            "data_split.test_size": 1.5,
            "train.cv": 1,
            "train.param_grid.rf": {},
            "train.estimater": "knn",
            "evaluate": ABSENT,
        }
    )
    assert message.splitlines() == [
        "params.yaml has 7 problems:",
        "  base.random_state = '42': must be a valid integer",
        "  data_load.source.name = 'penguins' is unknown; choose 'breast_cancer', 'diabetes', 'digits', 'iris' or "
        "'wine'",
        "  data_split.test_size = 1.5: must be less than 1",
        "  train.cv = 1: must be greater than or equal to 2",
        "  train.param_grid.rf is unknown; choose one of dummy, elastic_net, extra_trees, hist_gradient_boosting, knn, "
        "lightgbm, linear, logreg, mlp, random_forest, ridge, svm, or the dotted path of a class",
        "  train.estimater = 'knn' is unknown; did you mean estimator? allowed here: calibrate, class_weight, "
        "cv, cv_metrics_path, cv_results_path, estimator, max_rows, model_path, n_jobs, param_grid, preprocess, "
        "scoring, search, threshold",
        "  evaluate is missing",
    ]


def test_all_conflicts_between_settings_are_reported_at_once(refusal: Refusal) -> None:
    message = refusal(
        {
            "featurize.features": {"x": {"ratio": ["a", "target"]}, "y": {"ratio": ["target", "a"]}},
            "train.model_path": "data/raw/dataset.parquet",
        }
    )
    assert message.startswith("params.yaml has 3 problems:\n")
    assert "featurize.features.x uses base.target_column" in message
    assert "featurize.features.y uses base.target_column" in message
    assert "'data/raw/dataset.parquet' is the path of 2 outputs" in message


@pytest.mark.parametrize(
    ("key", "suggestion", "allowed"),
    [
        (
            "trian",
            "did you mean train? ",
            "base, compute, data_load, data_split, evaluate, featurize, monitor, registry, serve, tracking, train",
        ),
        ("base.random_sate", "did you mean random_state? ", "log_level, positive, random_state, target_column, task"),
        ("data_load.source.nmae", "did you mean name? ", "kind, name"),
        ("data_split.checks.leek", "did you mean leak? ", "constant, duplicates, identifier, leak, rare_class"),
        ("featurize.features.a_to_b.sum", "",
         "bins, date_part, difference, log, product, ratio, text_length"),
        ("base.zzz", "", "log_level, positive, random_state, target_column, task"),
    ],
)  # fmt: skip
def test_unknown_key_gets_a_suggestion_and_the_allowed_keys(
    refusal: Refusal, key: str, suggestion: str, allowed: str
) -> None:
    assert refusal({key: 3}) == f"params.yaml: {key} = 3 is unknown; {suggestion}allowed here: {allowed}."


def test_feature_named_like_a_calculation_gets_the_right_keys(refusal: Refusal) -> None:
    message = refusal({"featurize.features": {"bins": {"lug": "a", "log": "b"}}})
    assert message.startswith("params.yaml: featurize.features.bins.lug = 'a' is unknown; did you mean log? allowed")


def test_key_of_another_kind_of_source_is_not_suggested(refusal: Refusal) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": ".", "rev": "v1", "name": "iris"}
    message = refusal({"data_load.source": source})
    assert message.startswith("params.yaml: data_load.source.name = 'iris' is unknown; allowed here: dates, ")
    assert ", repo, rev, separator, sheet, skip_rows." in message


@pytest.mark.parametrize(("old", "new"), [("traps", "checks"), ("traps_path", "checks_path")])
def test_renamed_setting_names_its_new_name(refusal: Refusal, old: str, new: str) -> None:
    message = refusal({f"data_split.{old}": 1})
    assert message == f"params.yaml: data_split.{old} is now called data_split.{new}; rename it."


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("data_load.source", "'sklearn', 'file', 'url' or 'dvc'"),
        ("data_split.split", "'stratified', 'random', 'hash', 'time' or 'group'"),
        ("train.search", "'none', 'grid', 'halving', 'random' or 'optuna'"),
    ],
)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"kind": "sqlite"}, "= 'sqlite' is unknown"),
        ({"kind": ["file"]}, "= ['file'] is unknown"),
        ({"kind": None}, "is missing"),
        ({"name": "iris"}, "is missing"),
    ],
)
def test_unknown_or_missing_kind_lists_the_kinds(
    refusal: Refusal, key: str, allowed: str, value: dict[str, object], problem: str
) -> None:
    assert refusal({key: value}) == f"params.yaml: {key}.kind {problem}; choose {allowed}."


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train.param_grid": {1: {}, "logreg": {}}}, "train.param_grid.1: must be a valid string"),
        ({"train": None}, "train = None: must be a valid dictionary"),
        ({"train": []}, "train = []: must be a valid dictionary"),
        ({"data_load.source": "iris"}, "data_load.source = 'iris': must be a valid dictionary"),
        ({"data_load.columns": {"x": None}}, "data_load.columns.x = None: must be a valid dictionary"),
        ({"data_load.source": {"kind": "dvc", "path": "t", "repo": "."}}, "data_load.source.rev is missing"),
        ({"train": ABSENT}, "train is missing"),
        ({"train.estimator": [3]}, "train.estimator = 3: must be a valid string"),
        ({"train.estimator": []}, "train.estimator = []: must have at least 1 item, not 0"),
    ],
)
def test_message_names_the_setting_as_it_is_written(refusal: Refusal, changes: dict[str, object], problem: str) -> None:
    assert refusal(changes) == f"params.yaml: {problem}."


def test_long_value_is_cut_in_the_message(refusal: Refusal) -> None:
    assert "x" * 50 in refusal({"base.log_level": "x" * 10_000})
    assert len(refusal({"base.log_level": "x" * 10_000})) < 200


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8786", "tcp://:8786", "tcp://a b:8786", "tcp://host:99999", "http://h:1"]
)
def test_scheduler_must_be_an_address(refusal: Refusal, address: str) -> None:
    assert "must be the address of a Dask scheduler, such as tcp://127.0.0.1:8786" in refusal(
        {"compute.scheduler": address}
    )
