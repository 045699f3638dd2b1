from pathlib import Path

import pytest

from src.config.load import load_config
from tests.config.conftest import ABSENT, Load, Refusal


def test_scientific_notation_reaches_the_settings_as_a_float(load: Load, tmp_path: Path) -> None:
    load({})
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("test_size: 0.2", "test_size: 2e-1"), encoding="utf-8")
    assert load_config(path).data_split.test_size == 0.2


def test_one_fault_is_one_line_with_file_key_value_and_what_is_allowed(refusal: Refusal) -> None:
    assert refusal({"train.cv": 1}) == "params.yaml: train.cv = 1: must be greater than or equal to 2."


def test_all_faults_come_in_one_message(refusal: Refusal) -> None:
    message = refusal(
        {
            "base.random_state": "42",
            "data_load.source.name": "penguins",
            "data_split.test_size": 1.5,
            "train.cv": 1,
            "train.estimater": "knn",
            "evaluate": ABSENT,
        }
    )
    headline, *faults = message.splitlines()
    assert headline == "params.yaml has 6 faults:"
    assert faults == [
        "  base.random_state = '42': must be a valid integer",
        "  data_load.source.name = 'penguins': must be 'breast_cancer', 'diabetes', 'digits', 'iris' or 'wine'",
        "  data_split.test_size = 1.5: must be less than 1",
        "  train.cv = 1: must be greater than or equal to 2",
        "  train.estimater = 'knn': unknown; did you mean estimator? allowed here: class_weight, cv, cv_metrics_path, "
        "cv_results_path, estimator, model_path, n_jobs, param_grid, preprocess, scoring, search",
        "  evaluate is missing",
    ]


def test_faults_between_settings_come_together(refusal: Refusal) -> None:
    message = refusal(
        {
            "featurize.features": {"x": {"ratio": ["a", "target"]}, "y": {"ratio": ["target", "a"]}},
            "train.model_path": "data/raw/dataset.parquet",
        }
    )
    assert message.startswith("params.yaml has 3 faults:\n")
    assert "featurize.features.x uses base.target_column" in message
    assert "featurize.features.y uses base.target_column" in message
    assert "'data/raw/dataset.parquet' is the path of 2 outputs" in message


def test_faults_of_a_value_and_of_the_grid_come_together(refusal: Refusal) -> None:
    message = refusal({"train.cv": 1, "train.param_grid.rf": {}, "data_split.test_size": 1.5})
    assert "train.cv = 1" in message
    assert "rf names no estimator" in message
    assert "data_split.test_size = 1.5" in message


@pytest.mark.parametrize(
    ("key", "suggestion", "allowed"),
    [
        ("trian", "did you mean train?", "base, data_load, data_split, evaluate, featurize, tracking, train"),
        ("train.cvv", "did you mean cv?", "class_weight, cv, cv_metrics_path, cv_results_path, estimator"),
        ("base.random_sate", "did you mean random_state?", "log_level, random_state, target_column, task"),
        ("data_load.source.nmae", "did you mean name?", "name"),
        ("featurize.features.a_to_b.rato", "did you mean ratio?", "bins, date_part, difference, log, product, ratio"),
    ],
)
def test_unknown_key_gets_a_suggestion_and_the_allowed_keys(
    refusal: Refusal, key: str, suggestion: str, allowed: str
) -> None:
    message = refusal({key: 3})
    assert message.startswith(f"params.yaml: {key} = 3: unknown; {suggestion} allowed here: ")
    assert allowed in message


def test_unknown_key_that_resembles_none_gets_the_allowed_keys_only(refusal: Refusal) -> None:
    assert refusal({"base.zzz": 1}) == (
        "params.yaml: base.zzz = 1: unknown; allowed here: log_level, random_state, target_column, task."
    )


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("data_load.source", "'sklearn', 'file', 'url' or 'dvc'"),
        ("data_split.split", "'stratified', 'random', 'time' or 'group'"),
        ("train.search", "'none', 'grid', 'halving' or 'random'"),
    ],
)
@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"kind": "sqlite"}, "= 'sqlite'"),
        ({"kind": ["file"]}, "= ['file']"),
        ({"kind": None}, "is missing"),
        ({"name": "iris"}, "is missing"),
        ({}, "is missing"),
    ],
)
def test_kind_that_is_none_gets_the_allowed_ones(
    refusal: Refusal, key: str, allowed: str, value: dict[str, object], what: str
) -> None:
    assert refusal({key: value}) == f"params.yaml: {key}.kind {what}: must be {allowed}."


def test_key_of_another_kind_of_source_is_not_suggested_as_itself(refusal: Refusal) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": ".", "rev": "v1", "name": "iris"}
    message = refusal({"data_load.source": source})
    assert message.startswith("params.yaml: data_load.source.name = 'iris': unknown; ")
    assert "did you mean name?" not in message


def test_key_that_is_a_number_is_refused(refusal: Refusal) -> None:
    assert "train.param_grid.1" in refusal({"train.param_grid": {1: {}, "logreg": {}}})


def test_long_value_is_cut_in_the_message(refusal: Refusal) -> None:
    assert len(refusal({"base.log_level": "x" * 10_000})) < 300


@pytest.mark.parametrize("section", ["base", "data_load", "train", "tracking"])
def test_missing_section_is_named(refusal: Refusal, section: str) -> None:
    assert refusal({section: ABSENT}) == f"params.yaml: {section} is missing."


@pytest.mark.parametrize("value", [None, [], "text"])
def test_section_that_is_no_mapping_is_named(refusal: Refusal, value: object) -> None:
    assert refusal({"train": value}).startswith(f"params.yaml: train = {value!r}: must be a valid dictionary")
