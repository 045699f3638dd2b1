from pathlib import Path

import pandas as pd
import pytest

from src.errors import VersionError
from src.tracking import names
from src.tracking.process import cpu_model
from src.versions.reproduce import (
    Difference,
    Record,
    compare_tables,
    compare_with_record,
    find_record,
    format_report,
    is_reproduced,
    reproduce,
)
from tests.versions.project import Project
from tests.versions.runs import EXPERIMENT, add_run, open_runs, parent_of, parent_tags

TABLE = pd.DataFrame({"size": [1.0, 2.0, None], "color": ["red", None, "green"]})


@pytest.mark.parametrize(
    ("made", "description", "is_close"),
    [
        (TABLE.copy(), "equal values, other bytes", True),
        (TABLE.assign(size=[1.0, 2.0 + 1e-9, None]), "size in 1 of 3 rows, by at most 1e-09", True),
        (TABLE.assign(size=[1.0, 2.5, None]), "size in 1 of 3 rows, by at most 0.5", False),
        (TABLE.assign(size=[1.0, 2.0, 3.0]), "size in 1 of 3 rows, missing in one of them", False),
        (TABLE.assign(color=["red", None, "blue"]), "color in 1 of 3 rows", False),
        (
            TABLE.assign(size=[1.5, 2.0 + 1e-9, None], color=["red", None, "blue"]),
            "size in 2 of 3 rows, by at most 0.5; color in 1 of 3 rows",
            False,
        ),
        (
            TABLE.assign(color=["red", None, "blue"], other=1.0)[["color", "size"]],
            "other columns: in another order",
            False,
        ),
        (TABLE.head(2), "2 rows instead of 3", False),
        (TABLE.rename(columns={"size": "length"}), "other columns: length, size", False),
    ],
)
def test_difference_of_tables_is_described_and_judged(made: pd.DataFrame, description: str, is_close: bool) -> None:
    assert compare_tables(TABLE, made) == (description, is_close)


def test_first_column_out_of_tolerance_is_not_forgotten() -> None:
    recorded = pd.DataFrame({"a": [1.0], "b": [1.0]})
    assert compare_tables(recorded, pd.DataFrame({"a": [2.0], "b": [1.0 + 1e-9]}))[1] is False


MODEL = Difference("models/model.joblib", "differs", None)
SCORE = Difference("test_log_loss", "0.16 instead of 0.16", True, is_output=False)
LOST = Difference("models/model.joblib", "is missing", False)


@pytest.mark.parametrize(
    ("cpu", "differences", "is_same"),
    [
        (None, [], True),
        (cpu_model(), [SCORE], False),
        (None, [MODEL], False),
        ("Another Chip", [MODEL, SCORE], True),
        ("Another Chip", [LOST], False),
        ("Another Chip", [Difference("test_f1_macro", "0.5 instead of 0.9", False, is_output=False)], False),
    ],
)
def test_bytes_must_be_equal_on_this_cpu_and_numbers_close_on_another(
    cpu: str | None, differences: list[Difference], is_same: bool
) -> None:
    record = Record("c0ffee", {"models/model.joblib": "1" * 32, "a.png": "2" * 32}, {}, cpu)
    assert is_reproduced(record, differences) == is_same
    lines = format_report(record, differences).splitlines()
    if cpu == "Another Chip":
        assert lines.pop(0) == (
            f"The record was made on another CPU (Another Chip; here {cpu_model()}): "
            "numbers may differ by a relative 1e-06."
        )
    n_equal = 2 - sum(difference.is_output for difference in differences)
    assert lines[0] == f"{'reproduced' if is_same else 'NOT reproduced'}: {n_equal} of 2 outputs equal to the byte"
    assert lines[1:] == [f"  {difference.name}: {difference.description}" for difference in differences]


def test_version_is_reproduced_from_its_source_and_nothing_here_changes(project: Project) -> None:
    record = find_record(project.root, "v1.0.0", EXPERIMENT)
    assert (record.md5s, record.metrics) == (project.recorded("v1.0.0"), {"f1": 0.6, "classes.a": 1.0})
    assert record.cpu == cpu_model()
    before = project.md5s()
    assert reproduce(project.root, record) == []
    assert (project.md5s(), project.git("status", "--porcelain")) == (before, "")


def test_hooks_of_the_user_do_not_run_in_the_clone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, config = tmp_path / "hooks/post-checkout", tmp_path / "gitconfig"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o755)
    config.write_text(f"[core]\nhooksPath = {hook.parent}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert reproduce(project.root, find_record(project.root, "v1.0.0", EXPERIMENT)) == []


def test_changed_code_is_found_out_and_the_run_before_it_is_reproduced(project: Project) -> None:
    script = project.root / "make.py"
    script.write_text(script.read_text().replace("scale, 2.5]", "scale + 0.25, 2.5]"))
    project.commit("Change the code behind DVC's back")
    (difference,) = reproduce(project.root, find_record(project.root, "HEAD", EXPERIMENT))
    assert difference == Difference("table.parquet", "size in 1 of 2 rows, by at most 0.25", False)


# pygtrie, within DVC 3.67; only tests turn warnings into errors.
@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning")
def test_table_that_only_the_remote_has_is_fetched_for_the_clone(project: Project, fresh: Project) -> None:
    project.add_table()
    config = project.root / "dvc.yaml"
    config.write_text(config.read_text().replace("[make.py]", "[make.py, external/my table.csv]"))
    project.dvc("repro", "--quiet")
    project.commit("Add my table")
    project.dvc("push", "--quiet")
    project.git("push", "--quiet", "origin", "main")
    fresh.git("pull", "--quiet")
    assert reproduce(fresh.root, find_record(fresh.root, "main", EXPERIMENT)) == []
    objects = [path for path in (fresh.root / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert len(objects) == 1


def test_record_of_a_run_is_its_own(project: Project) -> None:
    parent = parent_of(project, "v1.1.0")
    record = find_record(project.root, parent.info.run_id, EXPERIMENT)
    assert record == Record(project.git("rev-parse", "v1.1.0^{commit}"), project.recorded("v1.1.0"), {"f1": 0.5}, None)


def test_run_of_an_experiment_is_that_of_its_own_commit(project: Project) -> None:
    project.dvc("exp", "run", "--quiet", "--name", "grid", "--set-param", "train.scale=5")
    commit = project.git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/grid")
    project.git("checkout", "--quiet", "--force", "main")
    tags = parent_tags(project, commit, dvc__exp__name="grid", dvc__exp__baseline=project.git("rev-parse", "main"))
    run_id = add_run(open_runs(project), tags | {names.GIT_DIRTY: "true"})
    assert find_record(project.root, run_id, EXPERIMENT).commit == commit


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({names.GIT_DIRTY: "true"}, "was made with changes that are not committed"),
        ({names.GIT_DIRTY: "unknown"}, "was made with changes that are not committed"),
        ({names.GIT_COMMIT: "1" * 40}, "is not a tag, branch or commit"),
        ({names.MD5 + "table.parquet": None}, r"did not write table.parquet: it did not complete \(FINISHED\)"),
    ],
)
def test_run_that_cannot_be_made_again_is_refused(
    project: Project, changed: dict[str, str | None], reason: str
) -> None:
    tags = {key: value for key, value in (parent_tags(project, "v1.0.0") | changed).items() if value}
    run_id = add_run(open_runs(project), tags)
    with pytest.raises(VersionError, match=reason):
        find_record(project.root, run_id, EXPERIMENT)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [("0" * 32, f"has no run {'0' * 32}"), ("-x", "'-x' is not a tag, branch or commit")],
)
def test_unknown_reference_is_refused(project: Project, reference: str, reason: str) -> None:
    with pytest.raises(VersionError, match=reason):
        find_record(project.root, reference, EXPERIMENT)


def test_each_output_and_metric_is_compared(project: Project, fresh: Project) -> None:
    record = find_record(fresh.root, "v1.0.0", EXPERIMENT)
    # The third result, as if it were v1.0.0 made again; the recorded table is in the remote only.
    found = compare_with_record(fresh.root, project.root, record)
    expected = {
        "models/model.joblib": ("differs", None),
        "table.parquet": ("size in 1 of 2 rows, by at most 2", False),
        "plots": ("differs", None),
        "metrics.json": ("differs", None),
        "f1": ("0.8 instead of 0.6", False),
        "classes.a": ("3 instead of 1", False),
    }
    assert {item.name: (item.description, item.is_close) for item in found} == expected
    assert {item.name for item in found if not item.is_output} == {"f1", "classes.a"}
    fresh.stored("table.parquet", "v1.0.0", remote=True).unlink()
    (project.root / "models/model.joblib").unlink()
    found = compare_with_record(fresh.root, project.root, Record("c0ffee", record.md5s, {"gone": 1.0}))
    assert [(item.name, item.description, item.is_close) for item in found if item.is_close is False] == [
        ("models/model.joblib", "is missing", False),
        ("table.parquet", "differs, and the recorded file is in neither cache nor remote", False),
        ("gone", "nan instead of 1", False),
    ]
