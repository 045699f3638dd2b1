from pathlib import Path

import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.tracking.journal import Execution, Review, Session, Snapshot
from src.tracking.names import Outcome
from src.utils.summary import summarize
from tests.tracking.support import ended_session, make_execution

ROOT = Path("root")
METRICS = {
    "test_f1_macro": 0.96657,
    "test_f1_macro_ci95_low": 0.9,
    "test_f1_macro_ci95_high": 1.0,
    "test_f1_macro_baseline": 0.25,
    "test_accuracy": 0.75,
    "cv_f1_macro_mean": 0.5,
    "cv_f1_macro_mean_baseline": 0.2,
    "test_f1_class.setosa": 0.5,
}


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(Path(__file__).parent / "params.yaml")


def summary(
    config: Config, session: Session, executions: list[Execution] | None = None, *, is_long: bool = False
) -> str:
    text = summarize(config, session, executions or [], [], is_long=is_long)
    if not is_long:
        assert len(text.splitlines()) <= 30
        assert all(len(line) <= 100 for line in text.splitlines())
    return text


def test_summary_shows_stages_headline_winner_warnings_and_places(config: Config) -> None:
    outcomes: dict[str, Outcome] = {"data_load": "unchanged", "train": "ran", "evaluate": "restored"}
    committed = {"test_f1_macro": 0.95, "cv_f1_macro_mean": 0.5}
    review = Review("svm C=10, the best of 4 candidates", committed, 'git commit -am "…"', ["x"])
    session = ended_session(
        ROOT, snapshot=Snapshot(outcomes=outcomes, metrics=METRICS), review=review, run_id="0a1b" * 8
    )
    # It ran twice: the last time counts.
    executions = [make_execution("train", end_time=3_000), make_execution("train", start_time=4_000, end_time=16_300)]
    executions += [make_execution("evaluate", end_time=None)]
    assert summary(config, session, executions) == (
        "\n"
        "stage         outcome     seconds\n"
        "data_load     unchanged\n"
        "train         ran            12.3\n"
        "evaluate      restored\n"
        "\n"
        "metric            value   95 % interval     baseline  last commit\n"
        "test_f1_macro     0.9666  0.9000 to 1.0000  0.2500    0.9500 (+0.0166)\n"
        "cv_f1_macro_mean  0.5000                    0.2000    0.5000, the same\n"
        "\n"
        "Chosen: svm C=10, the best of 4 candidates\n"
        "\n"
        "Warnings: 1\n"
        "- x\n"
        "\n"
        "Model:  models/model.joblib\n"
        "Report: reports/report.html; `make report` opens it\n"
        f"Run:    by test, FINISHED ({'0a1b' * 8}); `make ui` shows it\n"
        'Commit: git commit -am "…"\n'
    )


def test_long_summary_has_all_stages_metrics_and_warnings(config: Config) -> None:
    outcomes: dict[str, Outcome] = {f"train@{number}": "unchanged" for number in range(20)} | {"last": "ran"}
    warnings = [f"number {number}: {'long ' * 60}" for number in range(9)]
    session = ended_session(
        ROOT, snapshot=Snapshot(outcomes=outcomes, metrics=METRICS), review=Review(warnings=warnings)
    )
    text = summary(config, session, is_long=True)
    assert text.count("unchanged") == 20
    assert [line.split()[0] for line in text.splitlines() if line.startswith(("test_", "cv_"))] == [
        "test_f1_macro", "cv_f1_macro_mean", *sorted(set(METRICS) - {"test_f1_macro", "cv_f1_macro_mean"})
    ]  # fmt: skip
    assert text.count("long") == 9 * 60
    short = summary(config, session)
    assert "and 14 more\n" in short
    assert "last          ran\n" in short
    assert "Warnings: 9\n" in short
    assert short.endswith("  … `make pipeline ARGS=-v` shows all 9\n")


def test_longest_names_fit_30_lines_of_100_characters(config: Config) -> None:
    outcomes: dict[str, Outcome] = {f"{number}_a_stage_with_a_name" * 10: "ran" for number in range(9)}
    metrics = {f"test_f1_macro{end}": 123456.789 for end in ("", "_ci95_low", "_ci95_high", "_baseline")}
    metrics |= {f"cv_f1_macro_mean{end}": 1.23e-300 for end in ("", "_baseline")}
    warnings = ["w" * 500, "a\nb\x1b[31m", *(f"{number} {'c ' * 900}" for number in range(20))]
    review = Review("x" * 300, dict.fromkeys(metrics, -123456.789), "git add " + "f" * 300, warnings)
    snapshot = Snapshot(outcomes, metrics=metrics, missing=["m" * 300])
    session = ended_session(ROOT, snapshot=snapshot, review=review, name="n" * 300, run_id="0" * 32)
    text = summary(config, session)
    assert len(text.splitlines()) == 30
    assert r"a\nb\x1b[31m" in text


def test_warnings_of_the_launcher_come_first_and_none_twice(config: Config) -> None:
    session = ended_session(ROOT, snapshot=Snapshot(), review=Review(warnings=["of a stage", "restored dvc.lock"]))
    text = summarize(config, session, [], ["restored dvc.lock"], is_long=False)
    assert text == "\nWarnings: 2\n- restored dvc.lock\n- of a stage\n"


def test_pipeline_with_other_metrics_shows_the_first_two(config: Config) -> None:
    session = ended_session(ROOT, snapshot=Snapshot(metrics={"c": 4.0, "b": -1e12, "a": 0.5}))
    assert summary(config, session) == ("\nmetric  value\na       0.5000\nb       -1e+12\n")


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
    text = summary(config, ended_session(ROOT, snapshot=snapshot, status=status))
    assert ("Nothing to do: all 2 stages are up to date.\n" in text) is nothing_to_do
    assert ("Model:  models/model.joblib" in text) is model
    assert "Report:" not in text
    assert "Run:" not in text
    assert "Commit:" not in text


def test_summary_names_what_is_not_in_the_clone(config: Config) -> None:
    missing = ["data/raw/dataset.parquet", "data/processed/train.parquet", "models/model.joblib"]
    outcomes: dict[str, Outcome] = {"train": "unchanged", "evaluate": "unchanged"}
    text = summary(config, ended_session(ROOT, snapshot=Snapshot(outcomes=outcomes, missing=missing)))
    assert (
        "Missing: data/raw/dataset.parquet (3 in all); `dvc pull` fetches what is missing\n"
        "Report: reports/report.html; `make report` opens it\n"
    ) in text
