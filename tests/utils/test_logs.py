import logging

import pytest

from src.utils.logs import collect_warnings, setup_logging


def test_lines_go_to_stderr_once_and_only_what_needs_attention_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        setup_logging("DEBUG")
    logger = logging.getLogger("src.data.files")
    logger.info("wrote %d rows", 3)
    logger.warning("careful")
    logger.debug("detail")
    # A module that is run as a command logs under this name.
    logging.getLogger("__main__").error("no")
    logging.getLogger("another").info("of another library")
    assert capsys.readouterr() == ("", "wrote 3 rows\nWARNING: careful\nDEBUG: detail\nERROR: no\n")


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", "diwe"), ("INFO", "iwe"), ("WARNING", "we"), ("ERROR", "e")])
def test_level_is_the_lowest_that_is_shown(capsys: pytest.CaptureFixture[str], level: str, shown: str) -> None:
    setup_logging(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("src.x"), name)(name[0])
    lines = capsys.readouterr().err.splitlines()
    assert "".join(line[-1] for line in lines) == shown


def test_long_names_are_cut_and_codes_of_terminals_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    logging.getLogger("src.x").warning("column %s, \x1b[2J", "x" * 100_000)
    logging.getLogger("src.x").info("a\x1b[2J\x07")
    try:
        raise ValueError("bug")
    except ValueError:
        logging.getLogger("src.x").exception("failed")
    first, second, *traceback = capsys.readouterr().err.splitlines()
    assert first == f"WARNING: column {'x' * 1992}…"
    assert second == r"a\x1b[2J\x07"
    assert (traceback[:2], traceback[-1]) == (
        ["ERROR: failed", "Traceback (most recent call last):"],
        "ValueError: bug",
    )


def test_warnings_are_collected_once_each() -> None:
    setup_logging("INFO")
    logger = logging.getLogger("src.data.files")
    with collect_warnings() as found:
        for _ in range(2):
            logger.warning("%d rows", 3)
        logger.info("fine")
        logging.getLogger("__main__").error("no")
        logging.getLogger("another").warning("of another library")
    logger.warning("too late")
    assert found == ["3 rows", "no"]
