from pathlib import Path

import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.tracking.journal import Snapshot
from src.tracking.names import Outcome
from src.utils.summary import summarize
from tests.tracking.workspace import ended_session, make_visit

ROOT = Path("root")


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(Path(__file__).parent / "params.yaml")


def test_summary_tells_outcomes_seconds_metrics_model_and_run(config: Config) -> None:
    outcomes: dict[str, Outcome] = {"data_load": "unchanged", "train": "ran", "evaluate": "restored"}
    snapshot = Snapshot(outcomes=outcomes, metrics={"test_f1_macro": 0.96657, "n_rows": 4.0})
    session = ended_session(ROOT, snapshot=snapshot, run_id="0a1b")
    assert summarize(config, session, [make_visit("train")]) == (
        "\n"
        "stage         outcome     seconds\n"
        "data_load     unchanged\n"
        "train         ran             3.5\n"
        "evaluate      restored\n"
        "\n"
        "n_rows                    4.0000\n"
        "test_f1_macro             0.9666\n"
        "\n"
        "Model: models/model.joblib\n"
        "Card:  reports/model_card.md\n"
        "Run:   by test (0a1b), FINISHED; compare runs with `make ui`\n"
    )


def test_metrics_of_each_class_do_not_hide_the_others(config: Config) -> None:
    metrics = {"test_f1_class.setosa": 0.5, "test_f1_macro": 0.25, "test_median_absolute_error_ci95_high": 1.5}
    text = summarize(config, ended_session(ROOT, snapshot=Snapshot(metrics=metrics)), [])
    assert "setosa" not in text
    assert "test_f1_macro                         0.2500\n" in text
    assert "test_median_absolute_error_ci95_high  1.5000\n" in text


def test_nothing_to_do_is_said(config: Config) -> None:
    snapshot = Snapshot(outcomes={"data_load": "unchanged", "train": "unchanged"})
    text = summarize(config, ended_session(ROOT, snapshot=snapshot), [])
    assert "Nothing to do: all 2 stages are up to date.\n" in text
    assert "Model: models/model.joblib" in text


@pytest.mark.parametrize("outcome", ["ran", "restored", "failed", "stale", "unknown"])
def test_something_done_or_missing_is_not_called_nothing(config: Config, outcome: Outcome) -> None:
    snapshot = Snapshot(outcomes={"data_load": "unchanged", "train": outcome})
    assert "Nothing to do" not in summarize(config, ended_session(ROOT, snapshot=snapshot), [])


@pytest.mark.parametrize("outcome", ["failed", "stale", "unknown"])
def test_no_model_is_shown_that_is_not_of_these_settings(config: Config, outcome: Outcome) -> None:
    snapshot = Snapshot(outcomes={"train": outcome})
    assert "Model:" not in summarize(config, ended_session(ROOT, snapshot=snapshot), [])


def test_no_run_is_shown_that_is_not_in_the_store(config: Config) -> None:
    assert "Run:" not in summarize(config, ended_session(ROOT, run_id=None), [])


def test_session_that_left_nothing_has_a_summary(config: Config) -> None:
    text = summarize(config, ended_session(ROOT, snapshot=None, status="KILLED", run_id="0a1b"), [])
    assert "Run:   by test (0a1b), KILLED" in text
    assert "Nothing to do" not in text


def test_stage_that_ran_twice_shows_the_last_time(config: Config) -> None:
    snapshot = Snapshot(outcomes={"train": "ran"})
    visits = [make_visit("train", end_time=3_000), make_visit("train", start_time=4_000, end_time=16_300)]
    assert "train         ran            12.3\n" in summarize(config, ended_session(ROOT, snapshot=snapshot), visits)


def test_stage_whose_end_is_not_known_has_no_seconds(config: Config) -> None:
    snapshot = Snapshot(outcomes={"train": "failed"})
    visits = [make_visit("train", end_time=None)]
    assert "train         failed\n" in summarize(config, ended_session(ROOT, snapshot=snapshot), visits)
