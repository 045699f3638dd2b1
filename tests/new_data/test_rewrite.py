from pathlib import Path
from typing import Any

import pytest
import yaml

from src.config.yaml_file import read_yaml
from src.errors import ConfigError
from src.new_data.rewrite import Block, rewrite_settings

TEXT = """\
# About everything.

base:
  task: classification   # or regression
  name: "quoted"

data:
  source:                # where from
    kind: sklearn        # or file
    # Which one:
    name: iris
  columns: {}            # what columns are
  features:              # new ones
    a: {ratio: [x, y]}
    b: {ratio: [y, x]}

  # Where to:
  path: out              # last
"""
FEATURES = """\
  features:              # new ones
    a: {ratio: [x, y]}
    b: {ratio: [y, x]}
"""


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("base.task", "regression", "task: classification   # or", "task: regression       # or"),
        ("base.task", "a_very_long_name_of_a_task", "classification   # or", "a_very_long_name_of_a_task # or"),
        ("base.name", "no", '"quoted"', '"no"'),
        ("data.features", {}, FEATURES, "  features: {}           # new ones\n"),
        ("data.features", {"c": {"log": ["x", 1.5]}}, FEATURES,
         "  features: {c: {log: [x, 1.5]}} # new ones\n"),
        ("data.columns", {"a": None}, "columns: {}            # what", "columns: {a: null}     # what"),
        ("data.path", "x", "path: out              # last", "path: x                # last"),
    ],
)  # fmt: skip
def test_only_the_changed_value_changes(key: str, value: Any, old: str, new: str) -> None:
    assert old in TEXT
    assert rewrite_settings(TEXT, {key: value}) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("key", "block", "old", "new"),
    [
        ("data.columns", {"a b": ({"kind": "number"}, "1 to\n2"), "c": ({"kind": "date"}, ""), "d": (1, "x")},
         "  columns: {}            # what columns are\n",
         "  columns:               # what columns are\n"
         "    a b: {kind: number}  # 1 to 2\n    c: {kind: date}\n    d: 1                 # x\n"),
        ("data.columns", {"a" * 60: ({}, "long"), "b": ({}, "short")},
         "  columns: {}            # what columns are\n",
         f"  columns:               # what columns are\n    {'a' * 60}: {{}} # long\n    b: {{}}{' ' * 51}# short\n"),
        ("data.source", {"kind": ("file", ""), "separator": ("\t", "why")},
         "    kind: sklearn        # or file\n    # Which one:\n    name: iris\n",
         '    kind: file\n    separator: "\\t"  # why\n'),
        ("data.features", {}, FEATURES, "  features: {}           # new ones\n"),
        ("data.features", {"c": (["x"], "")}, FEATURES, "  features:              # new ones\n    c: [x]\n"),
        ("data.features", {"c": (["x"], "why")}, FEATURES,
         "  features:              # new ones\n    c: [x]  # why\n"),
    ],
)  # fmt: skip
def test_new_lines_replace_a_value_and_have_comments(key: str, block: Block, old: str, new: str) -> None:
    assert old in TEXT
    assert rewrite_settings(TEXT, {}, {key: block}) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    "old",
    [
        "  columns: {}            # what columns are\n",
        "  columns: {}\n",
        "  columns:               # what columns are\n    a:\n      kind: number\n",
        "  columns:               # what columns are\n    a: 1  # one\n",
        "  columns:               # what columns are\n    a:\n      - 1\n      - 2  # two\n",
    ],
)
@pytest.mark.parametrize("below", ["\n", "  # about features\n", "\n  # about\n\n  # features\n\n"])
def test_comments_and_blank_lines_below_a_replaced_value_stay(old: str, below: str) -> None:
    text = TEXT.replace("  columns: {}            # what columns are\n", old + below)
    beside = "# what columns are"
    head = f"  columns:               {beside}\n" if beside in old else "  columns:\n"
    assert rewrite_settings(text, {}, {"data.columns": {"b": (1, "")}}) == text.replace(old, f"{head}    b: 1\n")
    assert rewrite_settings(text, {}, {"data.columns": {"b": (1, "x")}}) == text.replace(old, f"{head}    b: 1  # x\n")
    flat = head.replace(":               #", ": {}            #").replace("columns:\n", "columns: {}\n")
    assert rewrite_settings(text, {"data.columns": {}}) == text.replace(old, flat)


@pytest.mark.parametrize("dash", ["- ", "  - "])
def test_lists_of_the_user_keep_their_layout(dash: str) -> None:
    text = (
        TEXT.replace("name: iris\n", f"names:\n    {dash}iris\n    {dash}'wine'  # red\n")
        + f"  long: [{'1, ' * 99}1]\n"
    )
    assert rewrite_settings(text, {"data.path": "x"}) == text.replace(
        "path: out              #", "path: x                #"
    )


# fmt: off
STRANGE = ["x", "a b", "a[b]", "😀", "ü", "no", "null", "~", "1", "1.5", "1e3", "017", "0x1F", "", " a", "a: b", "#a",
           "- a", "? a", "'", '"', "a\nb", "\t", "\\", "\x07", "\u2028", "2024-01-01", "{a}", "q" * 300]
# fmt: on


def test_any_name_and_value_reads_back(tmp_path: Path) -> None:
    values = [*STRANGE, 1, 1.5, True, None, [], {}, ["a", {"b": [1]}]]
    columns = {name: ({"values": values, name: 1}, "# a\ncomment\x85") for name in STRANGE}
    path = tmp_path / "params.yaml"
    path.write_text(rewrite_settings(TEXT, {"base.name": values}, {"data.columns": columns}), encoding="utf-8")
    content = read_yaml(path)
    assert content["base"] == {"task": "classification", "name": values}
    assert content["data"]["columns"] == {name: value for name, (value, _) in columns.items()}
    assert content["data"]["path"] == "out"


def test_settings_of_the_repository_keep_every_other_line() -> None:
    text = Path(__file__).parents[2].joinpath("params.yaml").read_text(encoding="utf-8")
    lines = rewrite_settings(text, {"train.cv": 3}).splitlines()
    (changed,) = [pair for pair in zip(text.splitlines(), lines, strict=True) if pair[0] != pair[1]]
    assert changed[1].startswith("  cv: 3 ")


@pytest.mark.parametrize("text", ["yes", "no", "on", "1", "1_0", "12:30", "null", "~", "2020-01-01", "=", "? a"])
def test_text_that_looks_like_another_type_stays_text(text: str) -> None:
    new = rewrite_settings(TEXT, {"base.task": text, "data.path": [text, {"a": text}]})
    assert yaml.safe_load(new)["base"]["task"] == text
    assert yaml.safe_load(new)["data"]["path"] == [text, {"a": text}]


@pytest.mark.parametrize("key", ["base.gone", "base.task.deeper", "gone.task"])
def test_missing_key_is_named(key: str) -> None:
    with pytest.raises(KeyError, match=key):
        rewrite_settings(TEXT, {key: 1})
    with pytest.raises(KeyError, match=key):
        rewrite_settings("", {}, {key: {"a": (1, "")}})


@pytest.mark.parametrize("value", ["1\t# tab", "2020-99-01", "0x_", "[1", "\0", "*gone"])
def test_text_that_dvc_cannot_read_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^params\.yaml.*: not valid YAML for DVC: .*\.$"):
        rewrite_settings(f"base:\n  task: {value}\n", {"base.task": "regression"})
