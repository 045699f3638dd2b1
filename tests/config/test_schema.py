from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from src.config.data_load import DataLoad, DvcSource, SklearnSource
from src.config.load import load_config
from tests.config.conftest import Load, Refusal

PARAMS = Path(__file__).parents[2] / "params.yaml"
OUTPUT_KEYS = (
    "data_load.dataset_path",
    "featurize.features_path",
    "data_split.train_path",
    "data_split.test_path",
    "train.model_path",
    "train.cv_metrics_path",
    "evaluate.metrics_path",
    "data_load.external_path",
    "data_load.schema_path",
    "data_split.checks_path",
    "evaluate.model_card_path",
    "train.cv_results_path",
)


def choices(section: type[Any], key: str) -> set[str]:
    return set(get_args(section.model_fields[key].annotation))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("base.random_state", "42", "valid integer"),
        ("base.random_state", 4.0, "valid integer"),
        ("base.random_state", True, "valid integer"),
        ("base.target_column", 3, "valid string"),
        ("base.log_level", "info", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("data_load.source", "iris", "valid dictionary"),
        ("data_load.dataset_path", 3, "path"),
        ("featurize.features", None, "valid dictionary"),
        ("featurize.features", {"x": {"ratio": "a/b"}}, "valid list"),
        ("data_split.test_size", "0.2", "valid number"),
        ("data_split.test_size", None, "valid number"),
        ("train.cv", 5.0, "valid integer"),
        ("train.cv", None, "valid integer"),
        ("train.n_jobs", "all", "valid integer"),
        ("train.param_grid.logreg", None, "valid dictionary"),
        ("train.param_grid.logreg.C", 1.0, "valid list"),
        ("tracking.enabled", "yes", "valid boolean"),
        ("tracking.enabled", 1, "valid boolean"),
    ],
)
def test_value_of_the_wrong_type_is_refused(refusal: Refusal, key: str, value: object, allowed: str) -> None:
    message = refusal({key: value})
    assert message.startswith(f"params.yaml: {key}")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("base.random_state", -1, "greater than or equal to 0"),
        ("base.random_state", 2**32, f"less than or equal to {2**32 - 1}"),
        ("base.target_column", "", "at least 1 character"),
        ("data_split.test_size", 1.5, "less than 1"),
        ("data_split.test_size", 1, "less than 1"),
        ("data_split.test_size", 0.0, "greater than 0"),
        ("data_split.test_size", float("nan"), "less than 1"),
        ("train.cv", 1, "greater than or equal to 2"),
        ("train.n_jobs", -2, "greater than or equal to -1"),
        ("train.param_grid.logreg.C", [], "at least 1 item"),
        ("tracking.experiment_name", "", "at least 1 character"),
    ],
)
def test_value_out_of_range_is_refused_with_its_bound(refusal: Refusal, key: str, value: object, allowed: str) -> None:
    message = refusal({key: value})
    assert message.startswith(f"params.yaml: {key} = {value!r}: ")
    assert allowed in message


def test_zero_processes_are_refused(refusal: Refusal) -> None:
    assert refusal({"train.n_jobs": 0}).startswith(
        "params.yaml: train.n_jobs = 0: must be -1 for all cores or a number"
    )


@pytest.mark.parametrize("n_jobs", [-1, 1, 4])
def test_numbers_of_processes_are_accepted(load: Load, n_jobs: int) -> None:
    assert load({"train.n_jobs": n_jobs}).train.n_jobs == n_jobs


@pytest.mark.parametrize(
    ("key", "value", "supported"),
    [
        ("base.task", "clustering", "'classification' or 'regression'"),
        ("data_load.missing_target", "keep", "'drop' or 'error'"),
        ("data_load.source.name", "penguins", "'breast_cancer', 'diabetes', 'digits', 'iris' or 'wine'"),
    ],
)
def test_unknown_name_lists_what_is_supported(refusal: Refusal, key: str, value: str, supported: str) -> None:
    assert refusal({key: value}) == f"params.yaml: {key} = {value!r}: must be {supported}."


def test_source_lacking_a_key_names_it(refusal: Refusal) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": "."}
    assert refusal({"data_load.source": source}) == "params.yaml: data_load.source.rev is missing."


def test_revision_that_yaml_reads_as_a_number_is_refused(refusal: Refusal) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": ".", "rev": 1.0}
    assert refusal({"data_load.source": source}) == "params.yaml: data_load.source.rev = 1.0: must be a valid string."


def test_both_kinds_of_source_are_accepted(load: Load) -> None:
    assert isinstance(load({}).data_load.source, SklearnSource)
    source = {"kind": "dvc", "path": "t.parquet", "repo": ".", "rev": "v1.0"}
    assert load({"data_load.source": source}).data_load.source == DvcSource(**source)


@pytest.mark.parametrize(
    "features",
    [{"x": {"ratio": ["target", "a"]}}, {"x": {"ratio": ["a", "target"]}}, {"target": {"ratio": ["a", "b"]}}],
)
def test_feature_over_the_target_is_refused(refusal: Refusal, features: dict[str, Any]) -> None:
    (name,) = features
    assert refusal({"featurize.features": features}) == (
        f"params.yaml: featurize.features.{name} uses base.target_column = 'target': "
        "a feature must not know the answer."
    )


@pytest.mark.parametrize("columns", [[], ["a"], ["a", "b", "c"]])
def test_ratio_of_other_than_two_columns_is_refused(refusal: Refusal, columns: list[str]) -> None:
    message = refusal({"featurize.features.a_to_b.ratio": columns})
    assert message.startswith(f"params.yaml: featurize.features.a_to_b.ratio = {columns!r}: ")
    assert "2 items" in message


def test_unknown_kind_of_feature_lists_what_is_supported(refusal: Refusal) -> None:
    message = refusal({"featurize.features": {"x": {"sum": ["a", "b"]}}})
    assert "featurize.features.x.sum = ['a', 'b']: unknown; " in message
    assert "allowed here: bins, date_part, difference, log, product, ratio, text_length" in message


def test_no_features_are_accepted(load: Load) -> None:
    assert load({"featurize.features": {}}).featurize.features == {}


@pytest.mark.parametrize(
    "path", ["data/raw/dataset.parquet", "./data/raw/dataset.parquet", "data//raw/dataset.parquet"]
)
def test_two_outputs_with_one_path_are_refused(refusal: Refusal, path: str) -> None:
    assert refusal({"evaluate.metrics_path": path}) == (
        "params.yaml: 'data/raw/dataset.parquet' is the path of 2 outputs; each output needs its own."
    )


@pytest.mark.parametrize("key", OUTPUT_KEYS)
@pytest.mark.parametrize("path", ["/elsewhere/out", "../out", "data/../../out", "data/../out"])
def test_path_outside_the_repository_is_refused(refusal: Refusal, key: str, path: str) -> None:
    assert refusal({key: path}) == f"params.yaml: {key} = {path!r}: must be a relative path inside the repository."


@pytest.mark.parametrize("path", ["", ".", "./"])
def test_output_that_would_be_the_repository_itself_is_refused(refusal: Refusal, path: str) -> None:
    assert refusal({"train.model_path": path}).startswith(f"params.yaml: train.model_path = {path!r}: ")


def test_sections_cannot_be_changed(load: Load) -> None:
    config = load({})
    with pytest.raises(ValidationError, match="frozen"):
        config.train.cv = 3


def test_tables_of_scikit_learn_exist() -> None:
    from sklearn import datasets

    assert [name for name in choices(SklearnSource, "name") if not hasattr(datasets, f"load_{name}")] == []


def test_output_keys_of_this_test_are_all_there_are() -> None:
    sections = yaml.safe_load(PARAMS.read_text(encoding="utf-8")).items()
    assert {f"{section}.{key}" for section, keys in sections for key in keys if key.endswith("_path")} == set(
        OUTPUT_KEYS
    )


def test_settings_of_the_repository_are_valid() -> None:
    config = load_config(PARAMS)
    assert isinstance(config.data_load, DataLoad)


def commented_keys(node: yaml.MappingNode, lines: list[str], inherited: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield each leaf with whether its line, or a line above it in the tree, says what it does."""
    for key, value in node.value:
        commented = inherited or bool(lines[key.start_mark.line].partition(" #")[2].strip())
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            for name, known in commented_keys(value, lines, commented):
                yield f"{key.value}.{name}", known
        else:
            yield key.value, commented


def test_every_setting_of_the_repository_says_what_it_does() -> None:
    text = PARAMS.read_text(encoding="utf-8")
    settings = dict(commented_keys(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines()))
    assert "train.param_grid.logreg.C" in settings
    # A path says it by its name.
    assert [key for key, commented in settings.items() if not commented and not key.endswith(("_path", "_dir"))] == []


@pytest.mark.parametrize(
    "repo",
    [
        "https://user:secret@example.org/data.git",
        "https://secret@example.org/data.git",
        "https://user:sec@ret@example.org/data.git",
        "ssh://git:secret@example.org/data.git",
    ],
)
def test_source_with_credentials_is_refused_without_telling_them(refusal: Refusal, repo: str) -> None:
    message = refusal({"data_load.source": {"kind": "dvc", "path": "t.parquet", "repo": repo, "rev": "v1"}})
    assert "data_load.source.repo = " in message
    assert "must hold no credentials" in message
    assert "example.org/data.git" in message
    assert "sec" not in message.replace("credentials", "")


@pytest.mark.parametrize(
    "repo", ["ssh://git@example.org:22/data.git", "git@example.org:team/data.git", "https://example.org/a@b", "../data"]
)
def test_source_without_credentials_is_accepted(load: Load, repo: str) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": repo, "rev": "v1"}
    assert load({"data_load.source": source}).data_load.source == DvcSource.model_validate(source)
