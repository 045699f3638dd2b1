from pathlib import Path

import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.tracking.journal import Snapshot
from src.tracking.names import Outcome
from src.utils.summary import summarize
from tests.tracking.support import ended_session, make_execution

ROOT = Path("root")


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(Path(__file__).parent / "params.yaml")


def test_summary_shows_outcomes_seconds_metrics_model_and_run(config: Config) -> None:
    outcomes: dict[str, Outcome] = {"data_load": "unchanged", "train": "ran", "evaluate": "restored"}
    metrics = {"test_f1_macro": 0.96657, "n_rows": 4.0, "test_f1_class.setosa": 0.5}
    session = ended_session(ROOT, snapshot=Snapshot(outcomes=outcomes, metrics=metrics), run_id="0a1b")
    # It ran twice: the last time counts.
    executions = [make_execution("train", end_time=3_000), make_execution("train", start_time=4_000, end_time=16_300)]
    executions += [make_execution("evaluate", end_time=None)]
    assert summarize(config, session, executions) == (
        "\n"
        "stage         outcome     seconds\n"
        "data_load     unchanged\n"
        "train         ran            12.3\n"
        "evaluate      restored\n"
        "\n"
        "n_rows                    4.0000\n"
        "test_f1_macro             0.9666\n"
        "\n"
        "Model: models/model.joblib\n"
        "Card:  reports/model_card.md\n"
        "Run:   by test (0a1b), FINISHED; compare runs with `make ui`\n"
    )


def test_long_names_of_metrics_widen_the_column(config: Config) -> None:
    metrics = {"test_f1_macro": 0.25, "test_median_absolute_error_ci95_high": 1.5}
    text = summarize(config, ended_session(ROOT, snapshot=Snapshot(metrics=metrics)), [])
    assert "test_f1_macro                         0.2500\n" in text
    assert "test_median_absolute_error_ci95_high  1.5000\n" in text


@pytest.mark.parametrize(
    ("outcome", "status", "nothing_to_do", "model"),
    [
        ("unchanged", "FINISHED", True, True),
        ("unchanged", "KILLED", False, True),
        ("ran", "FINISHED", False, True),
        ("restored", "FINISHED", False, True),
        ("failed", "FAILED", False, False),
        ("stale", "FINISHED", False, False),
        ("unknown", "FINISHED", False, False),
    ],
)
def test_model_is_shown_if_it_is_up_to_date_and_nothing_to_do_only_if_all_is_unchanged(
    config: Config, outcome: Outcome, status: str, nothing_to_do: bool, model: bool
) -> None:
    snapshot = Snapshot(outcomes={"data_load": "unchanged", "train": outcome})
    text = summarize(config, ended_session(ROOT, snapshot=snapshot, status=status), [])
    assert ("Nothing to do: all 2 stages are up to date.\n" in text) is nothing_to_do
    assert ("Model: models/model.joblib" in text) is model
    assert "Card:" not in text
    assert "Run:" not in text


def test_summary_names_what_is_not_in_the_clone(config: Config) -> None:
    missing = ["data/raw/dataset.parquet", "data/processed/train.parquet", "models/model.joblib"]
    outcomes: dict[str, Outcome] = {"train": "unchanged", "evaluate": "unchanged"}
    text = summarize(config, ended_session(ROOT, snapshot=Snapshot(outcomes=outcomes, missing=missing)), [])
    assert (
        "Not in this clone: data/raw/dataset.parquet, data/processed/train.parquet (3 in all); `dvc pull` fetches what "
        "is missing\nCard:  reports/model_card.md\n"
    ) in text
    assert "Model:" not in text
