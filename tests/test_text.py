import pytest

from src.text import message_of, one_line, show


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
