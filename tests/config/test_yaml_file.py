from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml

from src.config.yaml_file import read_yaml
from src.errors import ConfigError

MISSING = Path("params.yaml")


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def test_missing_file_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^params\.yaml is missing; run this in the root of the repository\.$"):
        read_yaml(MISSING)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("base: {\n", 2, 1), ("base:\n  a: [1, 2\n", 3, 1), ("base: 1\n\tcv: 2\n", 2, 1), ("a: b: c\n", 1, 5)],
)
def test_text_that_is_not_yaml_is_named_with_line_and_column(tmp_path: Path, text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError, match=rf"some\.yaml, line {line}, column {column}: not YAML: \S"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"some\.yaml is empty; `git checkout .*some\.yaml'?` brings it back\.$"):
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
