from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from src.config.data_load import SklearnSource
from src.config.load import load_config
from tests.config.conftest import Load, Refusal

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("base.random_state", "42", "must be a valid integer"),
        ("base.random_state", 4.0, "must be a valid integer"),
        ("base.random_state", True, "must be a valid integer"),
        ("base.random_state", -1, "must be greater than or equal to 0"),
        ("base.random_state", 2**32, f"must be less than or equal to {2**32 - 1}"),
        ("base.target_column", 3, "must be a valid string"),
        ("base.target_column", "", "must have at least 1 character"),
        ("data_load.dataset_path", 3, "is not a valid path"),
        ("data_split.test_size", "0.2", "must be a valid number"),
        ("data_split.test_size", None, "must be a valid number"),
        ("data_split.test_size", 1, "must be less than 1"),
        ("data_split.test_size", 0.0, "must be greater than 0"),
        ("data_split.test_size", float("nan"), "must be less than 1"),
        ("train.preprocess.max_categories", 1, "must be greater than or equal to 2"),
        ("train.cv", 1, "must be greater than or equal to 2"),
        ("train.n_jobs", "all", "must be a valid integer"),
        ("train.n_jobs", -2, "must be greater than or equal to -1"),
        ("train.n_jobs", 0, "must be a number of processes, or -1 for all cores"),
        ("train.estimator", ["knn", "knn"], "must name each estimator once"),
        ("train.threshold", 1.0, "must be best or a number between 0 and 1"),
        ("train.threshold", True, "must be best or a number between 0 and 1"),
        ("train.threshold", "first", "must be best or a number between 0 and 1"),
        ("train.estimator", ["auto", "knn"], "must be auto alone, which is a list already"),
        ("train.param_grid.logreg.C", 1.0, "must be a valid list"),
        ("train.param_grid.logreg.C", [], "must have at least 1 item, not 0"),
        ("evaluate.n_bootstrap", 99, "must be greater than or equal to 100"),
        ("tracking.enabled", 1, "must be a valid boolean"),
        ("tracking.experiment_name", "", "must have at least 1 character"),
        ("tracking.experiment_name", "x" * 501, "must have at most 500 characters"),
    ],
)
def test_value_of_wrong_type_or_out_of_range_is_refused(
    refusal: Refusal, key: str, value: object, allowed: str
) -> None:
    message = refusal({key: value})
    assert message.startswith(f"params.yaml: {key} = {repr(value)[:79]}")
    assert message.endswith(f"{allowed}.")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("search", "key", "value", "allowed"),
    [
        ({"kind": "halving"}, "factor", 1, "must be greater than or equal to 2"),
        ({"kind": "random"}, "n_candidates", 0, "must be greater than or equal to 1"),
        ({"kind": "random"}, "seconds", 0.0, "must be greater than 0"),
        ({"kind": "optuna"}, "n_trials", 0, "must be greater than or equal to 1"),
    ],
)
def test_option_of_a_search_out_of_range_is_refused(
    refusal: Refusal, search: dict[str, Any], key: str, value: object, allowed: str
) -> None:
    message = refusal({"train.search": search | {key: value}})
    assert message == f"params.yaml: train.search.{key} = {value}: {allowed}."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base.random_state", 0),
        ("base.random_state", 2**32 - 1),
        ("train.cv", 2),
        ("train.n_jobs", -1),
        ("train.n_jobs", 1),
        ("train.preprocess.max_categories", 2),
        ("train.search", {"kind": "halving", "factor": 2}),
        ("train.search", {"kind": "random", "n_candidates": 1, "seconds": 0.5}),
        ("evaluate.n_bootstrap", 100),
        ("tracking.experiment_name", "x" * 500),
        ("featurize.features", {}),
    ],
)
def test_value_at_the_bound_is_accepted(load: Load, key: str, value: Any) -> None:
    found: Any = load({key: value})
    for part in key.split("."):
        found = getattr(found, part)
    assert (found.model_dump(exclude_unset=True) if isinstance(value, dict) and value else found) == value


@pytest.mark.parametrize(
    ("search", "complete"),
    [
        ({"kind": "halving"}, {"kind": "halving", "factor": 3, "seconds": None}),
        ({"kind": "random"}, {"kind": "random", "n_candidates": 20, "seconds": None}),
        ({"kind": "optuna"}, {"kind": "optuna", "n_trials": 50, "seconds": None}),
    ],
)
def test_searches_have_defaults(load: Load, search: dict[str, Any], complete: dict[str, Any]) -> None:
    assert load({"train.search": search}).train.search.model_dump() == complete


@pytest.mark.parametrize(
    ("key", "value", "choices"),
    [
        ("base.task", "clustering", "'classification' or 'regression'"),
        ("base.log_level", "info", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("data_load.missing_target", "keep", "'drop' or 'error'"),
        ("data_split.checks.leak", "stop", "'ignore', 'warn' or 'error'"),
    ],
)
def test_unknown_choice_lists_the_choices(refusal: Refusal, key: str, value: str, choices: str) -> None:
    assert refusal({key: value}) == f"params.yaml: {key} = {value!r} is unknown; choose {choices}."


@pytest.mark.parametrize("value", ["rf", ["knn", "rf"]])
def test_unknown_estimator_lists_the_estimators(refusal: Refusal, value: object) -> None:
    message = refusal({"train.estimator": value})
    assert message.startswith("params.yaml: train.estimator = 'rf' is unknown; choose one of dummy, elastic_net, ")


@pytest.mark.parametrize(
    ("value", "names"), [("knn", ["knn"]), (["knn", "svm"], ["knn", "svm"]), ("my.package.Class", ["my.package.Class"])]
)
def test_estimator_is_a_name_or_a_list_of_names(load: Load, value: object, names: list[str]) -> None:
    assert load({"train.estimator": value}).train.estimator == names


PATHS = [
    f"{section}.{key}"
    for section, settings in yaml.safe_load(PARAMS.read_text(encoding="utf-8")).items()
    for key in settings
    if key.endswith(("_path", "_dir"))
]


@pytest.mark.parametrize("key", PATHS)
def test_path_outside_the_repository_is_refused(refusal: Refusal, key: str) -> None:
    assert refusal({key: "../out"}) == f"params.yaml: {key} = '../out': must be a relative path inside the repository."


@pytest.mark.parametrize("path", ["/elsewhere/out", "data/../../out", "data/../out", "", ".", "./"])
def test_path_that_is_not_inside_the_repository_is_refused(refusal: Refusal, path: str) -> None:
    assert refusal({"train.model_path": path}).startswith(f"params.yaml: train.model_path = {path!r}: must be a rel")


OUTPUTS = [key for key in PATHS if key != "data_load.external_path"]


@pytest.mark.parametrize("key", OUTPUTS)
def test_output_outside_the_folders_of_outputs_is_refused(refusal: Refusal, key: str) -> None:
    assert refusal({key: "docs"}) == (
        f"params.yaml: {key} = 'docs': must be inside data/, models/ or reports/, but not in data/external/, which "
        "holds your own tables."
    )


@pytest.mark.parametrize(
    "path", ["mine", "src", ".venv/bin/python", ".git", "mlflow.db", "reports", "data", "data/external",
             "data/external/t.csv", "Data/x", "database/x", "$(echo x)", ";"],
)  # fmt: skip
def test_output_may_not_name_other_folders(refusal: Refusal, path: str) -> None:
    assert f"evaluate.plots_dir = {path!r}: must be inside data/" in refusal({"evaluate.plots_dir": path})


@pytest.mark.parametrize(
    "path", ["reports/a b", "reports/$(x)", "reports/a;b", "reports/${x}", "reports/é", "reports/.hidden",
             "reports/*", "data/.git/x", "reports/a'b", "reports/~x"],
)  # fmt: skip
def test_output_consists_of_plain_letters(refusal: Refusal, path: str) -> None:
    problem = ": must consist of letters from a to z, digits, '_', '-' and '.'; no name may begin with '.'."
    assert refusal({"evaluate.plots_dir": path}) == f"params.yaml: evaluate.plots_dir = {path!r}{problem}"


@pytest.mark.parametrize("key", ["evaluate.plots_dir", "data_load.external_path"])
@pytest.mark.parametrize("path", ["reports/a\nb", "reports/a\0b", "reports/a\x1b[31m", "reports/a\u202eb"])
def test_path_of_characters_that_cannot_be_printed_is_refused(refusal: Refusal, key: str, path: str) -> None:
    problem = ": must not contain line breaks or other characters that cannot be printed."
    assert refusal({key: path}) == f"params.yaml: {key} = {path!r}{problem}"


def test_sections_are_frozen(load: Load) -> None:
    config = load({})
    with pytest.raises(ValidationError, match="frozen"):
        config.train.cv = 3


def test_group_or_id_of_a_split_is_never_a_feature(load: Load) -> None:
    for kind in ("group", "hash", "random", "stratified"):
        assert load({"data_split.split": {"kind": kind, "column": "patient"}}).no_features == ["patient"]
    for split in ({"kind": "time", "column": "day"}, {"kind": "random"}, {"kind": "stratified"}):
        assert load({"data_split.split": split}).no_features == []


def test_scikit_learn_has_the_datasets_that_can_be_named() -> None:
    from sklearn import datasets

    names = get_args(SklearnSource.model_fields["name"].annotation)
    assert [name for name in names if not hasattr(datasets, f"load_{name}")] == []


def test_settings_of_the_repository_are_valid() -> None:
    assert load_config(PARAMS).base.random_state >= 0


def commented_keys(node: yaml.MappingNode, lines: list[str], inherited: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield each leaf and whether its line, or the line of a key above it, has a comment."""
    for key, value in node.value:
        commented = inherited or bool(lines[key.start_mark.line].partition(" #")[2].strip())
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            for name, known in commented_keys(value, lines, commented):
                yield f"{key.value}.{name}", known
        else:
            yield key.value, commented


def test_every_setting_of_the_repository_except_paths_has_a_comment() -> None:
    text = PARAMS.read_text(encoding="utf-8")
    settings = dict(commented_keys(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines()))
    assert "base.task" in settings
    assert [key for key, commented in settings.items() if not commented and not key.endswith(("_path", "_dir"))] == []


@pytest.mark.parametrize("positive", [None, "yes", "", "$x$", "a<b>", 0, 1, -1, True, False])
def test_positive_class_keeps_the_type_of_its_label(load: Load, positive: object) -> None:
    found = load({"base.positive": positive}).base.positive
    assert (type(found), found) == (type(positive), positive)


@pytest.mark.parametrize("positive", [1.5, ["yes"], {"label": "yes"}])
def test_positive_class_that_is_no_label_is_refused(refusal: Refusal, positive: object) -> None:
    problem = "must be a label (text, an integer or a boolean), or null."
    assert refusal({"base.positive": positive}).endswith(problem)
