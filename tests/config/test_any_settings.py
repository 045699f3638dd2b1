"""Whatever params.yaml contains, it is accepted, or refused in short lines, and nothing on disk changes."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.config.load import load_config
from src.config.yaml_file import MAX_LETTERS, MAX_LEVELS, MAX_VALUES
from src.errors import ConfigError
from tests.config.conftest import VALID

TEXT = yaml.safe_dump(VALID, sort_keys=False)
# Any seed, but the same in each run.
COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
# A problem in a line, after a line with their number.
MAX_LINE, MAX_LINES = 600, 22


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.txt", "docs/a.md", "reports/plots/b.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("mine")


def outcome(text: str) -> str:
    """Load settings, and return the error message or an empty text."""
    # YAML may name any letter by an escape, but a file holds no lone surrogate.
    Path("params.yaml").write_text(text, encoding="utf-8", errors="replace")
    before = sorted(Path().rglob("*"))
    message = ""
    try:
        load_config(Path("params.yaml"))
    except ConfigError as error:
        message = str(error)
        lines = message.split("\n")
        assert len(lines) <= MAX_LINES
        assert max(map(len, lines)) <= MAX_LINE
        assert all(map(str.isprintable, lines))
    assert sorted(Path().rglob("*")) == before
    return message


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    children = [leaf for key, value in items for leaf in leaves(value, (*path, key))]
    yield from children or [path]


LEAVES = list(leaves(VALID))
# Every section and mapping above a leaf, too.
NODES = sorted({leaf[:depth] for leaf in LEAVES for depth in range(1, len(leaf) + 1)}, key=repr)
# No lone surrogates, which no YAML file can contain.
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["../x", "/etc", "docs", "reports/\0", "x" * 5000, "??" * 5000, "https://" + ":" * 5000, "$(reboot)", "a\nb",
     "\x1b[2J", "data/raw", "reports/plots/x", "é", "-", "~", "a.b.c", "%" * 50, "\u202e"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.datetimes() | st.binary() | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS | st.integers(), inner, max_size=4),
    max_leaves=10,
)
TOKENS = ["[", "]", "{", "}", ": ", "- ", "? ", "&a ", "*a", "<<: ", "!!int ", "!!timestamp ", "!!set ", "!!binary ",
          "---", "...", "|\n", ">\n", "#", "'", '"', "%YAML 1.1\n", "\t", "\n", "  ", "2020-99-01", "+_", "0x_",
          "1" * 5000, ".nan", "1e999", "null", "~", "\ufeff", "\x00", "\x85", "@", "`", "0b", "-.inf", "12:99:99",
          "{a: b}: "]  # fmt: skip


def changed(path: tuple[Any, ...], value: Any) -> str:
    params = copy.deepcopy(VALID)
    here: Any = params
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return yaml.dump(params, sort_keys=False, allow_unicode=True)


@settings(max_examples=200, **COMMON)
@given(path=st.sampled_from(LEAVES), text=STRINGS)
def test_any_string_in_any_leaf(path: tuple[Any, ...], text: str) -> None:
    outcome(changed(path, text))


@settings(max_examples=200, **COMMON)
@given(path=st.sampled_from(NODES), value=VALUES)
def test_any_value_in_any_place(path: tuple[Any, ...], value: Any) -> None:
    outcome(changed(path, value))


@settings(max_examples=200, **COMMON)
@given(st.text(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=12).map("".join))
@example("\ud800")
def test_any_text_instead_of_settings(text: str) -> None:
    outcome(text)


@settings(max_examples=400, **COMMON)
@given(
    place=st.integers(0, len(TEXT)), n_removed=st.integers(0, 30), added=st.lists(st.sampled_from(TOKENS), max_size=4)
)
def test_any_edit_of_the_text(place: int, n_removed: int, added: list[str]) -> None:
    outcome(TEXT[:place] + "".join(added) + TEXT[place + n_removed :])


def bomb(line: Callable[[int], str], first: str) -> str:
    return TEXT + f"a0: &a0 {first}\n" + "".join(f"a{level}: &a{level} {line(level - 1)}\n" for level in range(1, 10))


COLUMNS = "columns: {}"
LEVELS = f"more than {MAX_LEVELS} nested levels"
AMOUNT = f"more than {MAX_VALUES:,} values or {MAX_LETTERS:,} letters"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *[(TEXT.replace(COLUMNS, f"columns: {value}"), f"'{value}' is not a valid timestamp: {reason}")
          for value, reason in (("2020-99-01", "month must be in 1..12"), ("2020-01-01T99:00:00Z", "hour must be"),
                                ("0000-01-01", "year 0 is out of range"))],
        *[(TEXT.replace("cv: 5", f"cv: {value}"), f"'{value}' is not a valid int") for value in ("+_", "0x_")],
        (TEXT.replace("cv: 5", f"cv: {'9' * 5000}"), "is not a valid int: it has 5000 digits"),
        (TEXT.replace("cv: 5", "cv: !!bool x"), "'x' is not a valid bool"),
        *[(TEXT.replace("cv: 5", f"cv: !!{kind} {value}"), "not valid YAML: expected a")
          for kind, value in (("map", "x"), ("set", "[x]"), ("omap", "x"), ("str", "[x]"))],
        # libyaml crashes at 30,000 levels.
        *[(TEXT.replace(COLUMNS, f"columns: {'[' * n}{']' * n}"), LEVELS) for n in (MAX_LEVELS, 3000, 100_000)],
        (TEXT + "x: " + "{a: " * 3000 + "}" * 3000, LEVELS),
        (TEXT + "x:\n" + "- " * 100_000, LEVELS),
        (TEXT + "x:\n" + "".join(f"{' ' * level}a:\n" for level in range(3000)), LEVELS),
        (TEXT + "x: &x [*x]\n", LEVELS),
        (TEXT + "x: &x {a: *x}\n", LEVELS),
        (TEXT + f"x: [{'1,' * 3_000_000}]\n", AMOUNT),
        (bomb(lambda level: "[" + f"*a{level}," * 10 + "]", "[x]"), AMOUNT),
        (bomb(lambda level: "{" + ",".join(f"k{key}: *a{level}" for key in range(10)) + "}", "{x: 1}"), AMOUNT),
        (bomb(lambda level: "{<<: [" + f"*a{level}," * 10 + "]}", "{x: 1}"), AMOUNT),
        (TEXT + f"a: &a {'x' * 1_000_000}\nb: [{'*a,' * 100_000}]\n", AMOUNT),
        (TEXT + f"a: {'x' * MAX_LETTERS}\n", f"params.yaml has more than {MAX_LETTERS:,} bytes; `git checkout params"),
        (TEXT.replace("target_column: ", f"target_column: !{'x' * 10_000} "), "xxx"),
    ],
)  # fmt: skip
def test_value_that_cannot_be_read_is_refused_in_one_line(text: str, problem: str) -> None:
    message = outcome(text)
    assert problem in message
    assert message.startswith("params.yaml")
    assert "\n" not in message


def test_long_list_of_problems_is_cut() -> None:
    message = outcome(TEXT + "".join(f"key{number}: 1\n" for number in range(1000)))
    assert message.startswith("params.yaml has 1000 problems:\n  key0 = 1 is unknown; ")
    assert message.endswith("\n  and 980 more")


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("data_load.source.url", "https://example.org/" + ":" * 100_000, "must have at most 2000 characters"),
        ("data_load.source.url", "https://" + "secret" * 1000 + "@example.org/t.csv", "https://***@"),
        ("train.model_path", "models/" + "x" * 300, "must have at most 200 characters"),
        ("base.task", "?" * 1_000_000, "is unknown; choose"),
        ("base.task", "a\nb\x1b[2J", "= 'a\\nb\\x1b[2J' is unknown"),
    ],
)
def test_long_or_strange_string_is_refused_at_once(key: str, text: str, problem: str) -> None:
    params = copy.deepcopy(VALID)
    params["data_load"] |= {"source": {"kind": "url", "url": "x"}, "external_path": "data/external/t.csv"}
    *parents, leaf = key.split(".")
    here = params
    for parent in parents:
        here = here[parent]
    here[leaf] = text
    message = outcome(yaml.safe_dump(params))
    assert problem in message
    assert "secret" not in message


def test_name_that_is_no_text_is_named() -> None:
    assert outcome(TEXT + "1: 2\n") == "params.yaml: 1: a name must be text; put it in quotes."


def test_shared_values_are_accepted() -> None:
    assert outcome(TEXT.replace(COLUMNS, "columns: {a: &a {kind: number}, b: *a, c: {<<: *a, min: 0}}")) == ""
