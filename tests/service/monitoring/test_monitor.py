"""`make monitor` on recorded files, as the endpoint writes them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from src.report.profile import Reference, write_reference
from src.service.monitoring.monitor import main
from tests.config.conftest import VALID
from tests.service.monitoring.simulated import make_reference, make_rows, predict

LABELS = Path("labels.csv")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in an empty folder with settings; return its exit code, stdout and the last line of stderr."""
    monkeypatch.chdir(tmp_path)
    settings = copy.deepcopy(VALID)
    settings["tracking"]["enabled"] = False
    Path("params.yaml").write_text(yaml.safe_dump(settings))

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["monitor", *arguments])
        code = main()
        out, err = capfd.readouterr()
        return code, out, (err.splitlines() or [""])[-1]

    return run_command


def write_profile(**changes: Any) -> Reference:
    rng = np.random.default_rng(0)
    reference = make_reference(make_rows(500, rng), make_rows(100, rng), **changes)
    Path("reports").mkdir(exist_ok=True)
    Path("reports/reference.json").write_text(write_reference(reference))
    return reference


def record(
    reference: Reference, rows: pd.DataFrame, day: str = "2026-11-01", probabilities: bool = True, **changes: Any
) -> Path:
    """Write a file of records of a made-up model."""
    labels, scores = predict(rows)
    table = pd.DataFrame(
        {
            "id": [f"{day}/{number}" for number in range(len(rows))],
            "time": pd.date_range(day, periods=len(rows), freq="s", tz="UTC").astype("datetime64[us, UTC]"),
            "model": "iris/1",
            "model_md5": reference.model_md5,
            "prediction": scores if reference.task == "regression" else labels,
        }
    )
    if probabilities and reference.task == "classification":
        table = table.assign(**{"probability.yes": scores, "probability.no": 1 - scores})
    table = pd.concat([table, rows.add_prefix("input.")], axis="columns").assign(**changes)
    path = Path(f"data/requests/{day}/{len(rows)}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    return path


def rows(n_rows: int = 300, seed: int = 1) -> pd.DataFrame:
    return make_rows(n_rows, np.random.default_rng(seed))


def result() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("reports/drift.json").read_text())
    return content


def test_calm_window_ends_with_0_and_one_line(run: Run) -> None:
    record(write_profile(), rows())
    code, out, _ = run()
    assert (code, out) == (
        0,
        "No drift in 20 columns; 300 rows from 2026-11-01 00:00 to 2026-11-01 00:04; see reports/drift.html\n",
    )
    assert result()["drift"] is False


def test_drift_ends_with_1_and_names_the_column(run: Run) -> None:
    record(write_profile(), rows(1000).assign(**{"number 4": lambda table: table["number 4"] + 1}))
    code, out, _ = run()
    assert code == 1
    assert out.startswith("Drift: 1 of 20 columns ('number 4'); the columns together; 1,000 rows from")
    page = Path("reports/drift.html").read_text()
    assert "data:image/png" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_same_records_give_the_same_bytes(run: Run) -> None:
    reference = write_profile()
    for day in ("2026-11-01", "2026-11-02"):
        record(reference, rows(300, seed=int(day[-1])), day)
    pages = []
    for _ in range(2):
        run()
        pages.append((Path("reports/drift.html").read_bytes(), Path("reports/drift.json").read_bytes()))
    assert pages[0] == pages[1]


def test_columns_without_any_value_are_compared_and_drawn(run: Run) -> None:
    rng = np.random.default_rng(0)
    empty = {"number 0": np.nan, "category 0": pd.NA}
    train, now = ((make_rows(300, rng)[list(empty)].assign(**empty)) for _ in range(2))
    train, now = (rows.astype({"category 0": pd.StringDtype(na_value=np.nan)}) for rows in (train, now))
    reference = make_reference(train, train)
    Path("reports").mkdir()
    Path("reports/reference.json").write_text(write_reference(reference))
    record(reference, now)
    assert run()[0] == 0
    assert {"missing_before": 1.0, "missing_now": 1.0}.items() <= result()["columns"]["category 0"].items()


def test_many_rows_are_sampled(run: Run) -> None:
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["monitor"]["max_rows"] = 200
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    reference = write_profile()
    for day in range(1, 6):
        record(reference, rows(150, seed=day), f"2026-11-0{day}")
    run()
    assert result()["rows"]["recorded"] == 750
    assert result()["rows"]["compared"] == 200
    assert result()["rows"]["last"].startswith("2026-11-05")


def test_window_begins_at_since(run: Run) -> None:
    reference = write_profile()
    for day in ("2026-11-01", "2026-11-02"):
        record(reference, rows(), day)
    run("--since", "2026-11-02")
    assert result()["rows"]["recorded"] == 300


@pytest.mark.parametrize(
    ("since", "message"),
    [
        (
            "2099-01-01",
            "0 rows since 2099-01-01, and monitor.min_rows = 100 are needed; the newest row is of 2026-11-01",
        ),
        ("yesterday", "SINCE = 'yesterday' is not a date"),
        ("0001-01-01T00:00+01:00", "is not a date"),
    ],
)
def test_unusable_since_is_one_line(run: Run, since: str, message: str) -> None:
    record(write_profile(), rows())
    code, out, line = run("--since", since)
    assert (code, out) == (2, "")
    assert message in line


def test_empty_folder_is_one_line(run: Run) -> None:
    write_profile()
    code, _, line = run()
    assert code == 2
    assert line.endswith("0 rows, and monitor.min_rows = 100 are needed; nothing was recorded there.")


def test_missing_profile_is_one_line(run: Run) -> None:
    code, _, line = run()
    assert code == 2
    assert "reports/reference.json is missing; stage evaluate makes it" in line


def test_files_that_cannot_be_used_are_left_out_and_counted(run: Run) -> None:
    reference = write_profile()
    folder = record(reference, rows()).parent
    (folder / "half.parquet").write_bytes(record(reference, rows(50)).read_bytes()[:1000])
    (folder / ".writing.parquet").write_bytes(b"")
    pd.DataFrame({"a": [1]}).to_parquet(folder / "other.parquet")
    record(reference, rows(20).assign(**{"number 1": "not a number"}))
    (folder.parent / "notes").mkdir()
    assert run()[0] == 0
    notes = " ".join(result()["notes"])
    assert "1 file damaged or still being written, such as data/requests/2026-11-01/half.parquet" in notes
    assert "2 files of another schema" in notes
    assert result()["rows"]["recorded"] == 350


def test_rows_of_another_model_are_not_compared(run: Run) -> None:
    reference = write_profile()
    record(reference, rows(), "2026-11-01", model="iris/2", model_md5="1" * 32)
    code, _, line = run()
    assert code == 2
    assert "300 rows of iris/2 were answered by another model than that of reports/reference.json" in line
    record(reference, rows(), "2026-11-02")
    assert run()[0] == 0
    assert "300 rows of iris/2" in " ".join(result()["notes"])


def test_columns_that_were_not_recorded_are_noted(run: Run) -> None:
    record(write_profile(), rows().drop(columns="city").assign(extra=1.0))
    assert run()[0] == 0
    assert {"Not recorded: city.", "Recorded, but not in the profile: extra."} <= set(result()["notes"])


def test_labels_give_the_metric_over_time(run: Run) -> None:
    reference = write_profile()
    for day in ("2026-11-01", "2026-11-02"):
        record(reference, rows(), day)
    ids = [f"{day}/{number}" for day in ("2026-11-01", "2026-11-02") for number in range(300)]
    truth = np.append(predict(rows())[0], np.where(predict(rows())[0] == "yes", "no", "yes"))
    pd.DataFrame({"id": ids, "target": truth}).to_csv(LABELS, index=False)
    code, out, _ = run("--labels", str(LABELS))
    assert code == 1
    assert "more errors than on the test rows" in out
    found = {each["period"]: each["value"] for each in result()["labelled"]}
    assert (found["2026-11-01"], found["2026-11-02"]) == (1.0, 0.0)
    assert 0.4 < found["all"] < 0.6


def test_unknown_class_counts_as_wrong(run: Run) -> None:
    record(write_profile(), rows())
    pd.DataFrame({"id": [f"2026-11-01/{number}" for number in range(300)], "target": "maybe"}).to_csv(LABELS)
    run("--labels", str(LABELS))
    assert result()["labelled"][0]["value"] == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"target": ["yes"]}, "missing column 'id'"),
        ({"id": ["a"], "label": ["yes"]}, "missing column 'target'"),
        ({"id": ["a", "a"], "target": ["yes", "no"]}, "id 'a' appears more than once"),
        ({"id": ["nobody"], "target": ["yes"]}, "none of its 1 ids is among the records"),
        ({"id": ["a"], "target": [None]}, "no row has both an id and a label"),
    ],
)
def test_unusable_labels_are_one_line(run: Run, labels: dict[str, list[str]], message: str) -> None:
    record(write_profile(), rows())
    pd.DataFrame(labels).to_csv(LABELS, index=False)
    code, _, line = run("--labels", str(LABELS))
    assert code == 2
    assert message in line


def test_regression_is_compared_by_its_predicted_numbers(run: Run) -> None:
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["base"]["task"], settings["data_split"]["split"] = "regression", {"kind": "random"}
    settings["train"] |= {"estimator": "ridge", "scoring": "r2", "param_grid": {}}
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    scores = predict(rows(100, seed=5))[1].tolist()
    reference = write_profile(task="regression", labels={}, scores={"target": scores}, losses=[0.1] * 100)
    record(reference, rows())
    truth = predict(rows())[1] + 0.01 * np.arange(300)
    pd.DataFrame({"id": [f"2026-11-01/{number}" for number in range(300)], "target": truth}).to_csv(LABELS)
    code, out, _ = run("--labels", str(LABELS))
    assert code == 1
    assert "more errors" in out
    assert "predicted numbers" in [each["what"] for each in result()["tests"]]


def test_model_without_probabilities_is_compared_by_its_classes(run: Run) -> None:
    record(write_profile(scores={}), rows(), probabilities=False)
    assert run()[0] == 0
    assert [each["what"] for each in result()["tests"] if each["subject"] == "prediction"] == ["predicted classes"]


def test_odd_names_neither_break_the_page_nor_appear_as_markup(run: Run) -> None:
    odd = '<script>alert("$\\x$")</script>\n🐍'
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"number 0": rng.normal(size=300)})
    reference = make_reference(train, train)
    reference = reference.model_copy(
        update={
            "columns": {odd: reference.columns["number 0"], **reference.columns},
            "sample": {odd: reference.sample["number 0"], **reference.sample},
        }
    )
    Path("reports").mkdir()
    Path("reports/reference.json").write_text(write_reference(reference))
    now = pd.DataFrame({"number 0": rng.normal(size=300)})
    record(reference, now.assign(**{odd: rng.normal(2, 1, 300)}))
    code, out, _ = run()
    assert code == 1
    assert out.count("\n") == 1
    assert "<script>" not in Path("reports/drift.html").read_text()


def test_training_rows_and_new_rows_are_exported_with_the_columns_of_the_model(run: Run) -> None:
    record(write_profile(), rows())
    Path("data").mkdir(exist_ok=True)
    rows(500).assign(target="yes").to_parquet("data/train.parquet")
    run("--export", "exported")
    before, now = (pd.read_parquet(f"exported/{name}.parquet") for name in ("reference", "current"))
    assert list(before) == list(now) == list(rows())
    assert (len(before), len(now)) == (500, 300)


@pytest.mark.slow
def test_result_is_a_run_of_its_own_experiment(run: Run) -> None:
    from mlflow import MlflowClient

    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["tracking"]["enabled"] = True
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    record(write_profile(), rows())
    run()
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("pipeline-monitoring")
    assert experiment
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["drift"] == 0
    assert "psi.number 4" in found.data.metrics
    assert {each.path for each in client.list_artifacts(found.info.run_id)} == {"drift.html", "drift.json"}
