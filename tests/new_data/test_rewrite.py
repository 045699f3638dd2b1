from pathlib import Path
from typing import Any

import pytest
import yaml

from src.config.yaml_file import read_yaml
from src.new_data.rewrite import flow, rewrite_settings

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

  path: out              # last
"""


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"base.task": "regression"}, "task: classification   # or", "task: regression       # or"),
        ({"base.task": "a_long_name_of_a_task"}, "task: classification   # or", "task: a_long_name_of_a_task  # or"),
        ({"base.name": "no"}, '"quoted"', '"no"'),
        ({"data.columns": [("a b", {"kind": "number"}, "1 to 2")]},
         "  columns: {}            # what columns are\n",
         '  columns:               # what columns are\n    a b: {kind: number}  # 1 to 2\n'),
        ({"data.source": [("kind", "file", ""), ("separator", ";", "why")]},
         "    kind: sklearn        # or file\n    # Which one:\n    name: iris\n",
         '    kind: file\n    separator: ";"  # why\n'),
        ({"data.features": {}},
         "  features:              # new ones\n    a: {ratio: [x, y]}\n    b: {ratio: [y, x]}\n",
         "  features: {}           # new ones\n"),
        ({"data.features": []},
         "  features:              # new ones\n    a: {ratio: [x, y]}\n    b: {ratio: [y, x]}\n",
         "  features: {}           # new ones\n"),
        ({"data.path": "x"}, "path: out              # last", "path: x                # last"),
    ],
)  # fmt: skip
def test_one_value_changes_and_all_else_stays(changes: dict[str, Any], old: str, new: str) -> None:
    assert old in TEXT
    assert rewrite_settings(TEXT, changes) == TEXT.replace(old, new)


def test_changes_of_the_repositorys_own_settings_read_back(tmp_path: Path) -> None:
    text = Path(__file__).parents[2].joinpath("params.yaml").read_text(encoding="utf-8")
    columns = [
        (name, {"kind": "number"}, "# a\ncomment") for name in ("a b", "a[b]", "😀", "no", "1", "x: y", "#z", "")
    ]
    path = tmp_path / "params.yaml"
    changed = rewrite_settings(text, {"data_load.columns": columns, "base.target_column": "ja: [nein]", "train.cv": 3})
    path.write_text(changed, encoding="utf-8")
    expected = yaml.safe_load(text)
    expected["data_load"]["columns"] = {name: {"kind": "number"} for name, _, _ in columns}
    expected["base"]["target_column"] = "ja: [nein]"
    expected["train"]["cv"] = 3
    assert read_yaml(path) == expected


def test_key_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match=r"base\.gone"):
        rewrite_settings(TEXT, {"base.gone": 1})
    with pytest.raises(KeyError, match=r"base\.task\.deeper"):
        rewrite_settings(TEXT, {"base.task.deeper": 1})


@pytest.mark.parametrize(
    "value",
    ["x", "a b", "no", "null", "1", "1.5", "1e3", "", " a", "a: b", "#a", "'", '"', "ü", "😀", "a\nb", "\\",
     "2024-01-01", 1, 1.5, True, False, None, [], {}, ["a", {"b": [1]}], {"no": "yes", "1": 1}],
)  # fmt: skip
def test_value_on_one_line_reads_back_as_itself(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"value: {flow(value)}\n", encoding="utf-8")
    assert "\n" not in flow(value)
    assert read_yaml(path) == {"value": value}
