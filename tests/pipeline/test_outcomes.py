"""The outcomes on a parent run, for everything that DVC may do with a stage."""

import pytest

from tests.pipeline.clone import LAUNCHER, STAGES, Clone, wait_for

SAME_MODEL = "src/train/fit.py"  # train depends on it, and evaluate does not
FIGURES = "src/report/visualizing.py"  # only evaluate depends on it


def add_comment(clone: Clone, name: str) -> None:
    """Change the code of a stage so that DVC runs it again, with the same result."""
    (clone.path / name).write_text(f"{clone.read(name)}\n# another line\n")


def producers(clone: Clone) -> list[str]:
    """List the runs that the newest parent run links."""
    tags = clone.parent().data.tags
    return [tags[f"stage.{stage}.run_id"] for stage in STAGES]


def nested_ids(clone: Clone) -> list[str]:
    nested = clone.nested(clone.parent())
    return [nested[stage].info.run_id for stage in STAGES]


def test_parent_of_a_run_without_any_stage_is_complete(clone: Clone) -> None:
    from mlflow import MlflowClient

    made_by = nested_ids(clone)
    clone.launch("--name", "second")
    second, first = clone.parents()
    assert (clone.outcomes(first), clone.outcomes(second)) == (["ran"] * 5, ["unchanged"] * 5)
    assert producers(clone) == made_by
    assert second.data.params == first.data.params
    assert second.data.metrics == first.data.metrics
    md5s = {key: value for key, value in first.data.tags.items() if key.startswith("dvc.md5.")}
    assert "dvc.md5.models/model.joblib" in md5s
    assert md5s.items() <= second.data.tags.items()
    note = second.data.tags["mlflow.note.content"]
    assert note.startswith("test_f1_macro is 0.93")
    assert [line.split(" | ")[0] for line in note.splitlines()[4:]] == [f"| {stage}" for stage in STAGES]
    assert not [run_id for run_id in made_by if f"/runs/{run_id}?" not in note]
    assert note.count(" s |") == 5
    client = MlflowClient(clone.store)
    for parent in (first, second):
        files = {item.path for item in client.list_artifacts(parent.info.run_id)}
        plots = {item.path for item in client.list_artifacts(parent.info.run_id, "reports/plots")}
        assert files >= {"dvc.yaml", "dvc.lock", "params.yaml"}
        assert "reports/plots/confusion_matrix.png" in plots


def test_stages_of_bare_dvc_share_a_parent_and_are_restored_from_the_run_cache(clone: Clone) -> None:
    lock, made_by = clone.lock(), nested_ids(clone)
    clone.set_param("train.estimator", "knn")
    clone.repro()
    parent = clone.parent()
    nested = clone.nested(parent)
    assert set(nested) == {"train", "evaluate"}
    assert {run.info.status for run in [parent, *nested.values()]} == {"FINISHED"}
    assert clone.outcomes() == ["unchanged"] * 3 + ["ran"] * 2
    assert producers(clone) == [*made_by[:3], nested["train"].info.run_id, nested["evaluate"].info.run_id]
    assert parent.data.params["train.estimator"] == "knn"

    clone.git("stash", "push", "--quiet", "params.yaml")
    clone.launch()
    assert clone.lock() == lock
    assert clone.outcomes() == ["unchanged"] * 3 + ["restored"] * 2
    assert producers(clone) == made_by
    restored, bare, first = clone.parents()
    assert clone.nested(restored) == {}
    assert restored.data.metrics == first.data.metrics
    assert restored.data.params == first.data.params
    assert restored.data.metrics.keys() == bare.data.metrics.keys()
    assert restored.data.params.keys() == bare.data.params.keys()


def test_evaluation_that_is_skipped_for_an_equal_model_is_unchanged(clone: Clone) -> None:
    made_by = nested_ids(clone)
    first = clone.parent()
    add_comment(clone, SAME_MODEL)
    clone.repro()
    parent = clone.parent()
    assert set(clone.nested(parent)) == {"train"}
    assert clone.outcomes() == ["unchanged"] * 3 + ["ran", "unchanged"]
    assert producers(clone)[4] == made_by[4]
    assert parent.data.metrics == first.data.metrics
    assert parent.data.tags["git.dirty"] == "true"


def test_stages_that_were_not_asked_for_are_stale_and_without_metrics(clone: Clone) -> None:
    clone.set_param("train.estimator", "knn")
    clone.commit()
    clone.repro("train")
    parent = clone.parent()
    assert clone.outcomes() == ["unchanged"] * 3 + ["ran", "stale"]
    assert not [key for key in parent.data.metrics if key.startswith("test_")]
    # DVC deleted reports/cv_metrics.json before train ran, which is not a change by the user.
    assert parent.data.tags["git.dirty"] == "false"


def test_stages_after_a_failure_are_stale_with_keep_going(clone: Clone) -> None:
    clone.in_stage("train", 'raise RuntimeError("the disk caught fire")')
    clone.repro("-k", code=255)
    parent = clone.parent()
    assert parent.info.status == "FAILED"
    assert clone.outcomes() == ["unchanged"] * 3 + ["failed", "stale"]
    assert producers(clone)[3:] == [clone.nested(parent)["train"].info.run_id, "unknown"]


def test_all_stages_after_a_failure_of_the_first_are_stale_and_without_metrics(clone: Clone) -> None:
    clone.in_stage("data_load", 'raise RuntimeError("the disk caught fire")')
    clone.launch(code=255)
    parent = clone.parent()
    assert parent.info.status == "FAILED"
    assert clone.outcomes() == ["failed"] + ["stale"] * 4
    assert parent.data.metrics == {}


def test_launcher_is_refused_and_not_recorded_while_dvc_is_running(clone: Clone) -> None:
    wait = "while not pathlib.Path('go_on').exists():\n        time.sleep(0.1)"
    clone.in_stage("featurize", f"import pathlib, time; pathlib.Path('in_stage').touch()\n    {wait}")
    n_before = len(clone.parents())
    for command, message in ((LAUNCHER, "another `make pipeline` is running"), (("dvc", "repro"), "DVC is running")):
        process = clone.start(*command)
        wait_for((clone.path / "in_stage").exists)
        result = clone.launch(code=2)
        assert (result.stdout, result.stderr.startswith(f"BusyError: {message}")) == ("", True)
        (clone.path / "go_on").touch()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        (clone.path / "in_stage").unlink()
        (clone.path / "go_on").unlink()
        add_comment(clone, "src/featurize/features.py")
    assert len(clone.parents()) == n_before + 2


@pytest.mark.slow
def test_each_dvc_process_has_its_own_parent_even_in_one_shell(clone: Clone) -> None:
    add_comment(clone, FIGURES)
    again = f"echo '# once more' >> {FIGURES}"
    clone.run("sh", "-c", f"dvc repro evaluate; {again}; dvc repro; true")
    wait_for(lambda: all(parent.info.status != "RUNNING" for parent in clone.parents()))
    third, second, _ = clone.parents()
    for parent in (third, second):
        assert parent.info.status == "FINISHED"
        assert set(clone.nested(parent)) == {"evaluate"}
        assert clone.outcomes(parent) == ["unchanged"] * 4 + ["ran"]
