import re

import pytest

from src.text import format_table, message_of, one_line, show


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("\u202eé", r"\u202eé"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "…"),
        ("", ""),
    ],
)
def test_text_is_one_line_of_what_can_be_printed(text: str, shown: str) -> None:
    assert one_line(text, 10) == shown


def test_value_is_shown_as_it_is_written_in_python() -> None:
    assert show("it's\n") == repr("it's\n")
    assert show(["x" * 100], 5) == "['xx…"


def test_error_without_a_message_is_named_by_its_class() -> None:
    assert message_of(ValueError("a\n  b\t c")) == "a b c"
    assert message_of(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_columns_are_aligned() -> None:
    assert format_table([["name", "n"], ["a", "10"], ["a longer", ""]], [0]) == "name      n\na         10\na longer\n"


def test_longest_texts_are_cut_until_a_line_fits_and_numbers_are_not() -> None:
    rows = [["setting", "before", "n"], ["x" * 60, "y" * 200, "0.12345"], ["short", "a\nb", "1"]]
    lines = format_table(rows, [0, 1], 100).splitlines()
    assert max(map(len, lines)) == 100
    # The first column names the line.
    assert re.fullmatch("x{58}…  y{29}…  0.12345", lines[1])
    assert r"a\nb" in lines[2]


def test_table_that_cannot_fit_is_cut_to_single_letters() -> None:
    assert format_table([["abc", "def", "12345"]], [0, 1], 3) == "…  …  12345\n"
