import logging

import pytest

from src.compute.progress import Progress


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_progress_is_logged_with_the_time_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    with Progress(4, "search") as progress:
        for _ in range(4):
            now += 10
            progress.update()
    assert messages(caplog, logging.INFO) == [
        "search: 2 of 4 fits, about 20 s left",
        "search: 4 of 4 fits, about 0 s left",
    ]
    assert capsys.readouterr().err == ""


def test_progress_knows_that_the_time_is_limited(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    with Progress(100, "search", 60.0) as progress:
        now = 20.0
        progress.update(2)
    assert messages(caplog, logging.INFO) == ["search: 2 of 100 fits, about 40 s left"]


def test_progress_is_a_bar_on_a_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(2, "search") as progress:
        progress.update(2)
        progress.refresh()
    assert "search: 100%" in capsys.readouterr().err
    assert messages(caplog, logging.INFO) == []
