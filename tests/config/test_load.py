from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml

from src.config.load import load_config, read_yaml
from src.errors import ConfigError
from tests.config.conftest import ABSENT, Load, Refusal

MISSING = Path("params.yaml")


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def test_missing_file_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^params\.yaml is missing; run this in the root of the repository\.$"):
        load_config(MISSING)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("base: {\n", 2, 1), ("base:\n  a: [1, 2\n", 3, 1), ("base: 1\n\tcv: 2\n", 2, 1), ("a: b: c\n", 1, 5)],
)
def test_text_that_is_not_yaml_is_named_with_line_and_column(tmp_path: Path, text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError, match=rf"some\.yaml, line {line}, column {column}: not YAML: \S"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"some\.yaml is empty; `git checkout .*some\.yaml` brings it back\.$"):
        read(tmp_path, text)


@pytest.mark.parametrize(("text", "kind"), [("- base\n- train\n", "list"), ("base\n", "str"), ("42\n", "int")])
def test_file_that_is_no_mapping_is_refused_by_what_it_holds(tmp_path: Path, text: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"some\.yaml holds a {kind}, not sections with keys\.$"):
        read(tmp_path, text)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"base: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"params\.yaml cannot be read as UTF-8 text"):
        read_yaml(path)


def test_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)


def test_yaml_never_builds_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        read(tmp_path, "a: !!python/object/apply:os.getcwd []\n")


@pytest.mark.parametrize(
    "text", ["1e-3", "1E5", "-1e3", "+1.5", "1.5e3", "1e+3", ".5", "1.", "-.5", "12e03", ".inf", "-.inf", "0.2", "7"]
)
def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path, text: str) -> None:
    document = f"a: {text}\n"
    expected = parse_yaml(document, "some.yaml")
    assert read(tmp_path, document) == expected
    assert isinstance(expected["a"], int if text == "7" else float)


@pytest.mark.parametrize(
    "text", ["'1e-3'", "1.2.3", "e3", "1e", "v1.0", ".", "1_000", "1:30.5", "true", "null", "0x1F"]
)
def test_what_only_resembles_a_number_is_read_as_dvc_reads_it(tmp_path: Path, text: str) -> None:
    document = f"a: {text}\n"
    assert repr(read(tmp_path, document)) == repr(parse_yaml(document, "some.yaml"))


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "017", "0o17", "1:30", "1_0.5"])
def test_values_that_yaml_1_1_and_1_2_read_differently_are_read_as_dvc_reads_them(tmp_path: Path, text: str) -> None:
    document = f"a: {text}\n"
    assert repr(read(tmp_path, document)) == repr(parse_yaml(document, "some.yaml"))


def test_key_given_twice_is_refused_as_dvc_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cv"):
        read(tmp_path, "train:\n  cv: 5\n  cv: 10\n")


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
        "  data_load.source.name = 'penguins': must be 'breast_cancer', 'iris' or 'wine'",
        "  data_split.test_size = 1.5: must be less than 1",
        "  train.cv = 1: must be greater than or equal to 2",
        "  train.estimater = 'knn': unknown; did you mean estimator? allowed here: cv, cv_metrics_path, estimator, "
        "model_path, n_jobs, param_grid, scoring",
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
    message = refusal({"train.cv": 1, "train.param_grid.logreg.depth": [1], "data_split.test_size": 1.5})
    assert "train.cv = 1" in message
    assert "train.param_grid.logreg.depth" in message
    assert "data_split.test_size = 1.5" in message


@pytest.mark.parametrize(
    ("key", "suggestion", "allowed"),
    [
        ("trian", "did you mean train?", "base, data_load, data_split, evaluate, featurize, tracking, train"),
        ("train.cvv", "did you mean cv?", "cv, cv_metrics_path, estimator, model_path, n_jobs, param_grid, scoring"),
        ("base.random_sate", "did you mean random_state?", "log_level, random_state, target_column"),
        ("data_load.source.nmae", "did you mean name?", "name"),
        ("featurize.features.a_to_b.rato", "did you mean ratio?", "ratio"),
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
        "params.yaml: base.zzz = 1: unknown; allowed here: log_level, random_state, target_column."
    )


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
