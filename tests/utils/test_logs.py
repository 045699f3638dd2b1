import logging

import pytest

from src.utils.logs import setup_logging


def test_lines_go_to_stderr_and_only_what_needs_attention_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("DEBUG")
    logger = logging.getLogger("src.data.files")
    logger.info("wrote %d rows", 3)
    logger.warning("careful")
    logger.error("no")
    logger.debug("detail")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "wrote 3 rows\nWARNING: careful\nERROR: no\nDEBUG: detail\n"


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", "diwe"), ("INFO", "iwe"), ("WARNING", "we"), ("ERROR", "e")])
def test_level_is_the_lowest_that_is_shown(capsys: pytest.CaptureFixture[str], level: str, shown: str) -> None:
    setup_logging(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("src.x"), name)(name[0])
    lines = capsys.readouterr().err.splitlines()
    assert "".join(line[-1] for line in lines) == shown


def test_module_run_as_a_command_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    logging.getLogger("__main__").info("started")
    assert capsys.readouterr().err == "started\n"


def test_setting_up_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    setup_logging("INFO")
    logging.getLogger("src").info("once")
    assert capsys.readouterr().err == "once\n"


def test_other_libraries_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = list(logging.root.handlers), logging.root.level
    setup_logging("DEBUG")
    logging.getLogger("another").info("unheard")
    assert (list(logging.root.handlers), logging.root.level) == (handlers, level)
    assert "unheard" not in capsys.readouterr().err


def test_traceback_follows_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("DEBUG")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("src").debug("failed", exc_info=True)
    err = capsys.readouterr().err
    assert err.startswith("DEBUG: failed\nTraceback ")
    assert err.endswith("ValueError: why\n")
