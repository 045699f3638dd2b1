import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml

from src.config.yaml_file import read_yaml
from src.errors import ConfigError


def read(tmp_path: Path, text: str | bytes) -> object:
    path = tmp_path / "some.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def test_missing_file_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^params\.yaml is missing; run this in the root of the repository\.$"):
        read_yaml(Path("params.yaml"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("base: {\n", r", line 2, column 1: not valid YAML: \S"),
        ("base:\n  a: [1, 2\n", r", line 3, column 1: not valid YAML: \S"),
        ("base: 1\n\tcv: 2\n", r", line 2, column 1: not valid YAML: \S"),
        ("a: b: c\n", r", line 1, column 5: not valid YAML: \S"),
        ("train:\n  cv: 5\n  k: 1\n  cv: 10\n", r", line 4, column 3: not valid YAML: duplicate key 'cv'\.$"),
        ("a: !!python/object/apply:os.getcwd []\n", r", line 1, column 4: not valid YAML: could not determine"),
        ("a: \x07\n", r": not valid YAML: \S"),
        ("", r" is empty; `git checkout .*some\.yaml'?` restores it\.$"),
        ("# only a comment\n", r" is empty; `git checkout .*some\.yaml'?` restores it\.$"),
        ("---\n", r" is empty; `git checkout .*some\.yaml'?` restores it\.$"),
        ("- base\n- train\n", r" contains a list instead of sections with keys\.$"),
        ("base\n", r" contains a str instead of sections with keys\.$"),
        ("42\n", r" contains a int instead of sections with keys\.$"),
        (b"base: \xff\xfe\n", r" cannot be read as UTF-8 text: "),
    ],
)
def test_file_without_settings_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"some\.yaml{problem}"):
        read(tmp_path, text)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "named pipe"])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "some.yaml")
    with pytest.raises(ConfigError, match=r"is a folder or a device instead of a file; move it away, then `git checko"):
        read_yaml(tmp_path / "some.yaml")


@pytest.mark.parametrize(
    "text",
    ["1e-3", "1E5", "-1e3", "+1.5", "1.5e3", "1e+3", ".5", "1.", "-.5", "12e03", ".inf", "-.inf", "0.2", "7", "-7",
     "'1e-3'", "1.2.3", "e3", "1e", "v1.0", ".", "1_000", "1_0.5", "1:30.5", "1:30", "0x1F", "0b11", "017", "0o17",
     "true", "False", "yes", "no", "on", "off", "y", "null", "~", "2024-01-31", ".nan", "[1, a]", "{a: 1}"],
)  # fmt: skip
def test_values_are_read_as_dvc_reads_them(tmp_path: Path, text: str) -> None:
    document = f"a: {text}\nb:\n  a: {text}\n"
    assert repr(read(tmp_path, document)) == repr(parse_yaml(document, "some.yaml"))
