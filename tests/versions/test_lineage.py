import pytest

from src.errors import VersionError
from src.tracking import names
from src.tracking.runs import MD5S
from src.versions.lineage import find_parents, format_text, trace
from src.versions.reproduce import find_record
from tests.versions.project import Project
from tests.versions.runs import EXPERIMENT, SOURCE, add_run, open_runs, parent_of, parent_tags

MODEL = "models/model.joblib"
SETTINGS = {"data_load.source.kind": "file", "data_load.source.path": "rows.csv", "data_load.source.separator": ";"}


def test_tag_names_its_run_its_files_and_its_settings(project: Project) -> None:
    assert trace(project.root, "v1.0.0", EXPERIMENT) == {
        "run": {
            "id": parent_of(project, "v1.0.0").info.run_id,
            "name": parent_of(project, "v1.0.0").info.run_name,
            "status": "FINISHED",
        },
        "git": {"commit": project.git("rev-parse", "v1.0.0^{commit}"), "tags": ["model@v1.0.0", "v1.0.0"]},
        "source": SOURCE,
        "files": project.recorded("v1.0.0"),
        "made on": {"cpu": "Chip 1", "python": "3.12.1"},
        "params": {
            "train.scale": "1",
            "train.model_path": MODEL,
            "train.options": "{}",
            "train.grid": "[1, 2]",
            **SETTINGS,
        },
        "metrics": {"f1": 0.6, "classes.a": 1.0},
    }


@pytest.mark.parametrize("kind", ["parent", "nested", "model"])
def test_run_and_logged_model_lead_to_their_parent(project: Project, kind: str) -> None:
    store, parent = open_runs(project), parent_of(project, "v1.1.0")
    reference = parent.info.run_id
    if kind == "nested":
        reference = parent.data.tags["stage.train.run_id"]
    if kind == "model":
        model = store.client.create_logged_model(store.experiment_id, "model", source_run_id=reference)
        reference = model.model_id
    lineage = trace(project.root, reference, EXPERIMENT)
    assert lineage["run"]["id"] == parent.info.run_id
    assert lineage["git"] == {
        "commit": project.git("rev-parse", "v1.1.0^{commit}"),
        "branch": "main",
        "dirty": "false",
        "tags": ["model@v1.1.0", "v1.1.0"],
    }
    assert lineage["source"] == SOURCE
    assert lineage["files"] == project.recorded("v1.1.0")
    assert lineage["made on"] == {"cpu": "Chip 1", "python": "3.12.1"}
    assert lineage["params"] == {"train.scale": "1"}
    assert lineage["metrics"] == {"f1": 0.5}


def test_run_made_before_its_results_were_committed_names_the_tag_of_the_results(project: Project) -> None:
    tags = parent_tags(project, "v1.0.0") | {names.GIT_TAG: "v1.1.0"}
    run_id = add_run(open_runs(project), tags)
    assert trace(project.root, run_id, EXPERIMENT)["git"]["tags"] == ["model@v1.1.0", "v1.1.0"]


@pytest.mark.parametrize(("published", "tags"), [({names.GIT_TAG: "v7.0.0"}, ["v7.0.0"]), ({}, [])])
def test_run_of_another_clone_names_what_is_known(project: Project, published: dict[str, str], tags: list[str]) -> None:
    run_id = add_run(open_runs(project), {names.KIND: "parent", names.GIT_COMMIT: "1" * 40, **published})
    lineage = trace(project.root, run_id, EXPERIMENT)
    assert lineage["git"] == {"commit": "1" * 40, "branch": "unknown", "dirty": "unknown", "tags": tags}
    assert lineage["made on"] == {"cpu": "unknown", "python": "unknown"}
    assert lineage["source"] == {}


@pytest.mark.parametrize("has_runs", [True, False])
def test_file_leads_to_its_first_commit_and_to_the_tags_that_record_it(project: Project, has_runs: bool) -> None:
    if not has_runs:
        (project.root / "mlflow.db").unlink()
    md5 = project.recorded("v1.0.0")[MODEL]
    lineage = trace(project.root, md5, EXPERIMENT)
    assert lineage["file"] == {"path": MODEL, "md5": md5}
    assert lineage["git"]["commit"] == project.git("rev-parse", "v1.0.0^{commit}")
    assert lineage["git"]["tags"] == ["model@v1.0.0", "v1.0.0"]
    assert lineage["files"] == project.recorded("v1.0.0")
    assert bool(lineage["run"]) == has_runs


def test_input_that_all_versions_share_names_all_their_tags(project: Project) -> None:
    md5 = project.git("show", "HEAD:dvc.lock").partition("path: make.py")[2].partition("md5: ")[2].split()[0]
    lineage = trace(project.root, md5, EXPERIMENT)
    assert lineage["file"]["path"] == "make.py"
    assert lineage["git"]["tags"] == ["model@v1.0.0", "model@v1.1.0", "v1.0.0", "v1.1.0"]


def test_folder_leads_to_its_first_commit(project: Project) -> None:
    md5 = "3" * 32 + ".dir"
    lock = project.root / "dvc.lock"
    lock.write_text(lock.read_text().replace(project.recorded("HEAD")[MODEL], md5))
    commit = project.commit("Write a folder")
    lineage = trace(project.root, md5, EXPERIMENT)
    assert lineage["file"] == {"path": MODEL, "md5": md5}
    assert lineage["git"]["commit"] == commit


def test_file_of_a_run_that_was_never_committed_leads_to_the_run(project: Project) -> None:
    run_id = add_run(open_runs(project), {names.KIND: "parent", f"{names.MD5}{MODEL}": "2" * 32})
    add_run(open_runs(project), {names.KIND: "parent", f"{names.MD5}{MODEL}": "2" * 32})
    lineage = trace(project.root, "2" * 32, EXPERIMENT)
    assert lineage["run"]["id"] == run_id
    assert lineage["files"] == {MODEL: "2" * 32}
    assert "file" not in lineage


def test_table_added_before_the_pipeline_ran_leads_to_its_commit(project: Project) -> None:
    project.git("checkout", "--quiet", "--orphan", "empty")
    project.git("rm", "--quiet", "-r", "--cached", "dvc.lock")
    (project.root / "dvc.lock").unlink()
    md5 = project.add_table()
    commit = project.commit("Add my table")
    assert trace(project.root, md5, EXPERIMENT) == {
        "file": {"path": "external/my table.csv", "md5": md5},
        "git": {"commit": commit, "tags": []},
    }


def test_unusable_store_leaves_the_facts_of_git(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://host")
    lineage = trace(project.root, "v1.0.0", EXPERIMENT)
    assert lineage["run"] == {}
    assert lineage["source"] == SETTINGS
    assert lineage["made on"]["cpu"] != "unknown"
    assert lineage["made on"]["python"] == "unknown"
    assert "MLflow store nonsense://host" in caplog.text
    with pytest.raises(
        VersionError, match="is neither a run or model of MLflow, whose store cannot be used, nor a file"
    ):
        trace(project.root, "0" * 32, EXPERIMENT)


def test_deleted_stage_run_leaves_the_facts_of_git(project: Project) -> None:
    store, parent = open_runs(project), parent_of(project, "v1.0.0")
    for stage in ("train", "data_load"):
        store.client.set_tag(parent.info.run_id, f"stage.{stage}.run_id", "3" * 32)
    lineage = trace(project.root, "v1.0.0", EXPERIMENT)
    assert lineage["run"]["id"] == parent.info.run_id
    assert lineage["source"] == SETTINGS
    assert lineage["made on"]["python"] == "unknown"


@pytest.mark.parametrize("reference", ["v9.9.9", "--json", "0" * 32, "m-" + "0" * 32, "$(touch hacked)"])
def test_unknown_reference_is_refused(project: Project, reference: str) -> None:
    with pytest.raises(VersionError, match=r"is (not a|neither) "):
        trace(project.root, reference, EXPERIMENT)


def test_commit_without_results_is_refused(project: Project) -> None:
    project.git("rm", "--quiet", "dvc.lock")
    project.commit()
    with pytest.raises(VersionError, match=r"^HEAD has no dvc\.lock: nothing is recorded"):
        trace(project.root, "HEAD", EXPERIMENT)
    assert find_parents(open_runs(project), project.root, project.git("rev-parse", "HEAD")) == []


def test_parents_are_ranked_by_tag_then_training_then_commit_then_time(project: Project) -> None:
    store = open_runs(project)
    other, here = parent_tags(project, "v1.1.0", git__commit="4" * 40), parent_tags(project, "v1.1.0")
    newest_last = [
        add_run(store, other),
        add_run(store, here),
        add_run(store, other | {"stage.train": "ran"}),
        add_run(store, here | {"stage.train": "ran"}),
        add_run(store, other),
    ]
    add_run(store, here, status="FAILED")
    add_run(store, here | {names.KIND: "stage"})
    add_run(store, here | {f"{names.MD5}{MODEL}": "5" * 32})
    found = [run.info.run_id for run in find_parents(store, project.root, here[names.GIT_COMMIT])]
    ranked = [newest_last[number] for number in (3, 2, 1, 4, 0)]
    assert found == [parent_of(project, "v1.1.0").info.run_id, *ranked]


def add_parent(project: Project, revision: str, metrics: dict[str, float] | None = None) -> str:
    """Record a parent as it is recorded today: only the hash of the model is a tag, and the others are an artifact."""
    store, md5s = open_runs(project), project.recorded(revision)
    tags = parent_tags(project, revision)
    tags = {key: value for key, value in tags.items() if not key.startswith(names.MD5) or key == names.MD5 + MODEL}
    run_id = add_run(store, tags, metrics={"f1": 0.6, "classes.a": 1.0} if metrics is None else metrics)
    store.client.log_dict(run_id, md5s, MD5S)
    return run_id


def test_parents_have_the_model_and_the_metrics_of_a_commit(project: Project) -> None:
    store, commit = open_runs(project), project.git("rev-parse", "v1.0.0^{commit}")
    older = parent_of(project, "v1.0.0").info.run_id
    same = add_parent(project, "v1.0.0")
    add_parent(project, "v1.0.0", {"f1": 0.6, "classes.a": 2.0})
    add_parent(project, "v1.0.0", {})
    add_parent(project, "v1.1.0")
    assert {run.info.run_id for run in find_parents(store, project.root, commit)} == {older, same}


def test_run_names_its_files_from_its_artifact(project: Project) -> None:
    run_id = add_parent(project, "v1.0.0")
    assert trace(project.root, run_id, EXPERIMENT)["files"] == project.recorded("v1.0.0")
    assert find_record(project.root, run_id, EXPERIMENT).md5s == project.recorded("v1.0.0")


def test_table_that_a_stage_read_leads_to_the_parent(project: Project) -> None:
    from mlflow.entities import Dataset, DatasetInput

    store, parent = open_runs(project), parent_of(project, "v1.0.0")
    nested = parent.data.tags["stage.train.run_id"]
    dataset = Dataset("data/features.parquet", "6" * 32, "local", "{}")
    store.client.log_inputs(nested, [DatasetInput(dataset)])
    assert trace(project.root, "6" * 32, EXPERIMENT)["run"]["id"] == parent.info.run_id


def test_text_has_a_heading_for_each_section() -> None:
    lineage = {"run": {}, "git": {"commit": "c0ffee", "tags": ["v1", "v2"]}}
    assert format_text(lineage) == "run\n  unknown\ngit\n  commit  c0ffee\n  tags    v1, v2\n"
