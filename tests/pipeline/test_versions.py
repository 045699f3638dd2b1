"""Versions: published, restored, compared, made again and traced, on real git, DVC, GTO and MLflow."""

import json
import platform
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pandas as pd
import pytest

from src.tracking.process import cpu_model
from tests.pipeline.clone import IDENTITY, Clone, copy_clone, signal_group, wait_for
from tests.pipeline.versions import MAKE, add_origin, flip_a_byte, make, md5s, objects, recorded, refs

pytestmark = pytest.mark.slow

# --- publish ---


def test_published_version_is_in_git_gto_dvc_and_mlflow(published: Clone, two_versions: Path) -> None:
    tags = ["model@v1.0.0", "model@v1.1.0", "v1.0.0", "v1.1.0"]
    assert published.git("tag").splitlines() == tags
    assert refs(published) == [f"refs/tags/{tag}" for tag in tags]
    text = published.git("tag", "--list", "--format=%(contents)", "v1.1.0")
    assert "test_f1_macro 0.96" in text
    assert re.search("^CPU: .", text, re.MULTILINE)
    kept = {path.parent.name + path.name for path in (published.path.parent / "dvc-storage/files/md5").glob("*/*")}
    for tag in ("v1.0.0", "v1.1.0"):
        in_git = ("data/processed/schema.json", "reports/metrics.json", "reports/cv_metrics.json")
        assert {md5 for path, md5 in recorded(two_versions, tag).items() if path not in in_git} <= kept
    assert (published.path.parent / "dvc-storage" / "runs").is_dir()
    (parent,) = published.runs("tags.`git.tag` = 'v1.1.0'")
    assert parent.data.params["train.estimator"] == "svm"
    published.run("dvc", "artifacts", "get", ".", "model", "--rev", "v1.0.0", "-o", "got.joblib")
    assert (published.path / "got.joblib").read_bytes() != (published.path / "models/model.joblib").read_bytes()


def test_publishing_commits_nothing(published: Clone) -> None:
    assert published.git("rev-parse", "v1.1.0^{commit}") == published.git("rev-parse", "main")
    assert published.git("log", "-1", "--format=%s") == "Run svm"


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("1.0.0", "no semantic version"),
        ("v1.0", "no semantic version"),
        ("-v1.0.0", "no semantic version"),
        ("v1.0.0 final", "no semantic version"),
        ('v1.0.0"; touch hacked; "', "no semantic version"),
        ("v1.0.0'`touch hacked`", "no semantic version"),
        ("v1.0.0$(shell touch hacked)", "no semantic version"),
        ("v1.1.0", "exists already"),
        ("v2.0.0", "published already, as v1.1.0"),
    ],
)
def test_tag_that_cannot_be_is_refused_and_nothing_is_executed(published: Clone, tag: str, reason: str) -> None:
    before = published.git("tag")
    result = make(published, "publish", code=2, TAG=tag)
    (line, _) = result.stderr.splitlines()
    assert line.startswith("VersionError: ")
    assert reason in line
    assert published.git("tag") == before
    assert not (published.path / "hacked").exists()


def test_state_that_others_could_not_restore_is_refused(origin: Clone) -> None:
    (origin.path / "notes.txt").write_text("todo")
    assert "notes.txt: not committed" in make(origin, "publish", code=2, TAG="v1.0.0").stderr
    (origin.path / "notes.txt").unlink()

    origin.set_param("train.cv", 3)
    origin.commit()
    assert "train: stale or not in the cache" in make(origin, "publish", code=2, TAG="v1.0.0").stderr
    origin.git("reset", "--quiet", "--hard", "HEAD~1")

    (model,) = objects(origin, "models/model.joblib")
    content = model.read_bytes()
    model.unlink()
    assert "train: stale or not in the cache" in make(origin, "publish", code=2, TAG="v1.0.0").stderr

    model.write_bytes(content)
    flip_a_byte(model)
    result = make(origin, "publish", code=2, TAG="v1.0.0")
    assert "models/model.joblib: damaged in DVC's cache" in result.stderr or "train: stale" in result.stderr
    assert refs(origin) == []
    assert origin.git("tag") == ""


def test_publisher_without_a_name_is_told_before_anything_is_pushed(origin: Clone, tmp_path: Path) -> None:
    origin.env = {name: value for name, value in origin.env.items() if name not in IDENTITY}
    origin.env |= {"HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    origin.git("config", "user.useConfigOnly", "true")
    result = make(origin, "publish", code=2, TAG="v1.0.0")
    (line, _) = result.stderr.splitlines()
    assert line.startswith("VersionError: git knows no name for you; set `git config user.name …`")
    assert not (origin.path.parent / "dvc-storage").exists()
    origin.git("config", "user.name", "Ann")
    origin.git("config", "user.email", "ann@example.org")
    make(origin, "publish", TAG="v1.0.0")
    assert len(refs(origin)) == 2


def test_push_that_breaks_leaves_no_tag_and_can_be_repeated(origin: Clone, tmp_path: Path) -> None:
    hook = tmp_path / "origin.git" / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in *model@*) echo "no room" >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    result = make(origin, "publish", code=2, TAG="v1.0.0")
    assert "no room" in result.stderr
    assert "VersionError: `git push` failed" in result.stderr
    assert (refs(origin), origin.git("tag")) == ([], "")
    hook.unlink()
    make(origin, "publish", TAG="v1.0.0")
    assert len(refs(origin)) == len(origin.git("tag").splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_publish_that_is_killed_while_it_pushes_leaves_no_tag(
    origin: Clone, tmp_path: Path, number: signal.Signals
) -> None:
    hook = tmp_path / "origin.git" / "hooks" / "update"
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'pushing'}'; sleep 60\n")
    hook.chmod(0o755)
    process = origin.start(*MAKE, "publish", "TAG=v1.0.0")
    wait_for((tmp_path / "pushing").exists, 120)
    assert origin.git("tag").splitlines() == ["model@v1.0.0", "v1.0.0"]
    signal_group(process, number)
    process.communicate(timeout=60)
    wait_for(lambda: origin.git("tag") == "")
    assert refs(origin) == []


def test_remote_that_cannot_be_reached_leaves_no_tag(origin: Clone) -> None:
    # A file where a folder should be, so that root cannot write either.
    (origin.path.parent / "dvc-storage").write_text("")
    result = make(origin, "publish", code=2, TAG="v1.0.0")
    assert "VersionError: `dvc push` failed" in result.stderr
    assert (refs(origin), origin.git("tag")) == ([], "")


def test_two_at_once_publish_once(origin: Clone) -> None:
    first, second = (origin.start(*MAKE, "publish", "TAG=v1.0.0") for _ in range(2))
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert sorted((first.returncode, second.returncode)) == [0, 2], outputs
    refused = outputs[0] if first.returncode else outputs[1]
    assert "another `make publish` runs" in refused or "exists already" in refused
    assert len(refs(origin)) == 2


def test_two_clones_at_once_publish_one_version_and_the_other_keeps_no_tag(origin: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path / "other")
    origin.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(other.path))
    shutil.copytree(origin.path / ".dvc" / "cache", other.path / ".dvc" / "cache")
    other.run("dvc", "checkout", "--quiet")
    clones = (origin, other)
    # Equal words in the same second would make one tag of both, which nobody needs to refuse.
    words = [f"MESSAGE=Of clone {number}" for number in range(2)]
    processes = [clone.start(*MAKE, "publish", "TAG=v1.0.0", word) for clone, word in zip(clones, words, strict=True)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], outputs
    assert "`git push` failed" in outputs[codes.index(2)]
    assert sorted(len(clone.git("tag").split()) for clone in clones) == [0, 2]
    assert len(refs(origin)) == 2


def test_clone_without_a_git_remote_keeps_its_tag(clone: Clone) -> None:
    result = make(clone, "publish", TAG="v1.0.0-rc.1", MESSAGE='It\'s "new"; $(touch hacked) for 5$')
    assert "there is no git remote" in result.stderr
    text = clone.git("tag", "--list", "--format=%(contents:subject)", "v1.0.0-rc.1")
    assert text == 'It\'s "new"; $(touch hacked) for 5$'
    assert not (clone.path / "hacked").exists()


# --- restore ---


@pytest.mark.slow
def test_versions_come_back_in_a_fresh_clone_to_the_byte(
    published: Clone, elsewhere: Clone, two_versions: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    pd.read_parquet(published.path / "data/raw/dataset.parquet").drop(columns="target").to_parquet(rows)
    predictions: dict[str, list[bytes]] = {"v1.0.0": [], "v1.1.0": []}
    for clone, tag in [(published, "v1.0.0"), *((elsewhere, tag) for tag in ("v1.0.0", "v1.1.0", "v1.0.0"))]:
        make(clone, "restore", TAG=tag)
        assert md5s(clone) == recorded(two_versions, tag)
        assert clone.status() == []
        assert "Data and pipelines are up to date" in clone.run("dvc", "repro").stdout
        clone.run("python", "-m", "src.predict", "--input", str(rows), "--output", "predictions.parquet")
        predictions[tag].append((clone.path / "predictions.parquet").read_bytes())
        (clone.path / "predictions.parquet").unlink()
    assert [len(set(made)) for made in predictions.values()] == [1, 1]


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("v9.9.9", "'v9.9.9' is no tag"),
        ("-v1.0.0", "'-v1.0.0' is no tag"),
        ("v1.0.0; touch hacked", "is no tag"),
        ("$(shell touch hacked)", "is no tag"),
        ("v*", "'v*' is no tag"),
        ("main", "'main' is no tag"),
        ("empty", "empty holds no dvc.lock"),
    ],
)
def test_tag_that_is_none_or_holds_nothing_is_refused(published: Clone, tag: str, reason: str) -> None:
    tree = published.run("git", "hash-object", "-t", "tree", "-w", "/dev/null").stdout.strip()
    published.git("tag", "empty", published.git("commit-tree", "-m", "Nothing", tree))
    before = published.git("rev-parse", "HEAD")
    assert reason in make(published, "restore", code=2, TAG=tag).stderr
    if tag == "empty":
        for target in ("reproduce", "lineage"):
            assert reason in make(published, target, code=2, RUN=tag, REF=tag).stderr
    assert published.git("rev-parse", "HEAD") == before
    assert not (published.path / "hacked").exists()


def test_work_that_would_be_lost_is_refused(published: Clone) -> None:
    published.set_param("train.cv", 3)
    assert "params.yaml: not committed" in make(published, "restore", code=2, TAG="v1.0.0").stderr
    published.git("checkout", "--quiet", "params.yaml")
    model = published.path / "models/model.joblib"
    model.chmod(0o644)
    model.write_bytes(b"my own")
    assert "models/model.joblib: changed since DVC saved it" in make(published, "restore", code=2, TAG="v1.0.0").stderr
    assert model.read_bytes() == b"my own"
    assert published.git("branch", "--show-current") == "main"


def test_run_whose_settings_were_thrown_away_is_dropped_as_the_message_says(
    published: Clone, two_versions: Path
) -> None:
    published.set_param("train.estimator", "knn")
    published.launch()
    published.git("checkout", "--quiet", ".")
    message = make(published, "restore", code=2, TAG="v1.0.0").stderr
    first, _ = re.findall(r"`(dvc \w+)`", message)
    published.run(*first.split())
    assert md5s(published) == recorded(two_versions, "v1.1.0")
    make(published, "restore", TAG="v1.0.0")


def test_damage_in_the_cache_is_mended_from_the_remote(published: Clone, two_versions: Path) -> None:
    make(published, "restore", TAG="v1.0.0")
    cached, _ = objects(published, "models/model.joblib")
    make(published, "restore", TAG="v1.1.0")
    flip_a_byte(cached)
    make(published, "restore", TAG="v1.0.0")
    assert md5s(published) == recorded(two_versions, "v1.0.0")


def lose(remote: Path) -> None:
    remote.unlink()


@pytest.mark.parametrize("harm", [lose, flip_a_byte])
def test_object_lost_or_damaged_everywhere_is_named_and_all_is_as_before(
    published: Clone, two_versions: Path, harm: Callable[[Path], None]
) -> None:
    make(published, "restore", TAG="v1.0.0")
    cached, remote = objects(published, "models/model.joblib")
    published.git("checkout", "--quiet", "main")
    published.run("dvc", "checkout")
    cached.unlink()
    harm(remote)
    result = make(published, "restore", code=2, TAG="v1.0.0")
    assert "VersionError: " in result.stderr
    assert "models/model.joblib" in result.stderr
    assert published.git("branch", "--show-current") == "main"
    assert md5s(published) == recorded(two_versions, "v1.1.0")


def test_version_is_restored_from_the_remote_that_it_names_when_that_of_today_lacks_it(
    published: Clone, elsewhere: Clone, two_versions: Path, tmp_path: Path
) -> None:
    (tmp_path / "new remote").mkdir()
    make(published, "remote", URL=str(tmp_path / "new remote"))
    published.commit("Keep data elsewhere")
    published.git("push", "--quiet", "origin", "main")
    elsewhere.git("pull", "--quiet")
    result = make(elsewhere, "restore", TAG="v1.0.0")
    assert "Trying the remote of that version" in result.stderr
    assert md5s(elsewhere) == recorded(two_versions, "v1.0.0")


def test_remote_that_is_gone_leaves_the_fresh_clone_as_it_was(elsewhere: Clone) -> None:
    shutil.rmtree(elsewhere.path.parent / "dvc-storage")
    result = make(elsewhere, "restore", code=2, TAG="v1.0.0")
    assert re.search(r"VersionError: DVC's remote \S+/dvc-storage is not there", result.stderr)
    assert elsewhere.git("branch", "--show-current") == "main"
    assert elsewhere.git("status", "--porcelain") == ""


# --- folders with names that mean something to a shell ---


NAME = 'it\'s a "$(touch hacked)"; `touch hacked` #x'


@pytest.mark.slow
def test_repository_remote_and_cache_may_have_any_name(clone: Clone, tmp_path: Path) -> None:
    odd = tmp_path / NAME
    odd.mkdir()
    here = copy_clone(clone.path, odd / "repo")
    add_origin(here, odd / "origin.git")
    make(here, "remote", URL=str(odd / "remote"))
    here.commit("Keep data there")
    here.git("push", "--quiet", "origin", "main")
    make(here, "publish", TAG="v1.0.0")
    there = Clone(odd / "there")
    here.run("git", "clone", "--quiet", str(odd / "origin.git"), str(there.path))
    make(there, "cache", DIR=str(odd / "cache"))
    make(there, "restore", TAG="v1.0.0")
    assert md5s(there) == md5s(here)
    assert (there.path / "models/model.joblib").resolve().is_relative_to(odd / "cache")
    assert list(tmp_path.rglob("hacked")) == []


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        ("remote", "URL", "/some/remöte"),
        ("remote", "URL", "s3://bucket/数据"),
        ("remote", "ENDPOINT", "https://minio.exämple.org"),
        ("cache", "DIR", "/some/cäche"),
    ],
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_letters_that_dvc_cannot_write_are_refused_and_its_config_stays(
    fresh: Clone, target: str, name: str, value: str, locale: str
) -> None:
    config = fresh.read(".dvc/config")
    fresh.env["LC_ALL"] = locale
    result = make(fresh, target, code=2, **{"URL": "s3://bucket/path"} | {name: value})
    assert f"DVC takes ASCII letters only in {name}; " in result.stderr
    assert fresh.read(".dvc/config") == config
    assert not (fresh.path / ".dvc/config.local").exists()


# --- compare and trace ---


def test_two_versions_are_shown_side_by_side(published: Clone) -> None:
    result = make(published, "compare", A="v1.0.0", B="v1.1.0")
    assert re.search(r"train.estimator +logreg +svm", result.stdout)
    assert re.search(r"test_f1_macro +0.93\d+ +0.96\d+", result.stdout)
    runs = [published.runs(f"tags.`git.tag` = '{tag}'")[0].info for tag in ("v1.0.0", "v1.1.0")]
    link = re.search(r"^Runs: .*/#/compare-runs\?(.*)$", result.stdout, re.MULTILINE)
    assert link
    assert parse_qs(link[1]) == {
        "runs": [json.dumps([run.run_id for run in runs])],
        "experiments": [json.dumps([runs[0].experiment_id])],
        "workflowType": ["machine_learning"],
    }
    page = (published.path / "reports/compare/index.html").read_text()
    assert "confusion_matrix.png" in page
    assert published.git("status", "--porcelain") == ""
    assert "'--help' is no tag" in make(published, "compare", code=2, A="v1.0.0", B="--help").stderr


def test_lineage_is_told_of_a_tag_a_run_a_model_and_a_file(published: Clone) -> None:
    (parent,) = published.runs("tags.`git.tag` = 'v1.1.0'")
    md5 = md5s(published)["models/model.joblib"]
    nested = published.runs("tags.`dvc.stage` = 'train'")[0]
    for reference in ("v1.1.0", "model@v1.1.0", parent.info.run_id, nested.info.run_id, md5):
        lineage = json.loads(make(published, "lineage", REF=reference, JSON="1").stdout)
        assert lineage["run"]["id"] == parent.info.run_id
        assert lineage["files"]["models/model.joblib"] == md5
        assert lineage["params"]["train.estimator"] == "svm"
        assert lineage["metrics"]["test_f1_macro"] == pytest.approx(0.966583, abs=1e-5)
        assert lineage["source"] == {"source.name": "sklearn.datasets.load_iris"}
        assert lineage["git"]["tags"] == ["model@v1.1.0", "v1.1.0"]
    assert re.search(r"train.estimator +svm", make(published, "lineage", REF="v1.1.0").stdout)


def test_commit_without_results_is_compared_and_gets_no_run_of_another(published: Clone) -> None:
    published.git("rm", "--quiet", "dvc.lock")
    published.commit("Begin anew")
    assert "Runs:  unknown: MLflow has no parent run of one" in make(published, "compare", A="HEAD", B="v1.0.0").stdout


def test_lineage_of_a_tag_names_no_later_version(published: Clone) -> None:
    lineage = json.loads(make(published, "lineage", REF="v1.0.0", JSON="1").stdout)
    assert lineage["git"]["tags"] == ["model@v1.0.0", "v1.0.0"]


def test_lineage_of_a_tag_needs_no_mlflow(published: Clone) -> None:
    published.forget_runs()
    lineage = json.loads(make(published, "lineage", REF="v1.0.0", JSON="1").stdout)
    assert (lineage["run"], lineage["params"]["train.estimator"]) == ({}, "logreg")
    assert lineage["source"]["data_load.source.name"] == "iris"


def test_lineage_does_without_a_stage_whose_run_was_deleted_for_good(published: Clone) -> None:
    from mlflow import MlflowClient

    (parent,) = published.runs("tags.`git.tag` = 'v1.1.0'")
    for stage in ("data_load", "train"):
        run_id = parent.data.tags[f"stage.{stage}.run_id"]
        MlflowClient(published.store).delete_run(run_id)
        gc = ("python", "-m", "mlflow", "gc", "--backend-store-uri", published.store, "--run-ids", run_id)
        published.run(*gc, MLFLOW_TRACKING_URI=published.store)
    lineage = json.loads(make(published, "lineage", REF="v1.1.0", JSON="1").stdout)
    assert lineage["run"]["id"] == parent.info.run_id
    assert lineage["source"]["data_load.source.name"] == "iris"
    assert lineage["made on"]["python"] == "unknown"


@pytest.mark.parametrize("carries_tag", [True, False])
def test_run_that_trained_is_named_and_none_that_found_its_results(published: Clone, carries_tag: bool) -> None:
    from mlflow import MlflowClient

    (trained,) = published.runs("tags.`git.tag` = 'v1.0.0'")
    if not carries_tag:
        MlflowClient(published.store).delete_tag(trained.info.run_id, "git.tag")
    make(published, "restore", TAG="v1.0.0")
    published.launch()
    assert published.outcomes() == ["unchanged"] * 5
    lineage = json.loads(make(published, "lineage", REF="v1.0.0", JSON="1").stdout)
    assert lineage["run"]["id"] == trained.info.run_id
    assert lineage["made on"] == {"cpu": cpu_model(), "python": platform.python_version()}
    assert trained.info.run_id in make(published, "compare", A="v1.0.0", B="v1.1.0").stdout


def test_version_of_the_same_results_leaves_the_earlier_one_its_run(published: Clone) -> None:
    (earlier,) = published.runs("tags.`git.tag` = 'v1.1.0'")
    published.edit("README.md", "^# ", "# My ")
    published.commit("Tell more")
    published.launch()
    make(published, "publish", TAG="v1.1.1")
    (later,) = published.runs("tags.`git.tag` = 'v1.1.1'")
    assert published.runs("tags.`git.tag` = 'v1.1.0'")[0].info.run_id == earlier.info.run_id
    for tag, run in (("v1.1.0", earlier), ("v1.1.1", later)):
        lineage = json.loads(make(published, "lineage", REF=tag, JSON="1").stdout)
        assert lineage["run"]["id"] == run.info.run_id
        assert lineage["made on"]["python"] == platform.python_version()


def test_run_that_found_all_results_tells_of_no_origin_that_it_does_not_know(elsewhere: Clone) -> None:
    make(elsewhere, "restore", TAG="v1.0.0")
    elsewhere.launch()
    for reference in ("v1.0.0", elsewhere.parent().info.run_id):
        lineage = json.loads(make(elsewhere, "lineage", REF=reference, JSON="1").stdout)
        assert lineage["run"]["id"] == elsewhere.parent().info.run_id
        assert lineage["source"]["data_load.source.name"] == "iris"
        assert lineage["made on"]["python"] == "unknown"


@pytest.mark.parametrize("knows_runs", [True, False])
def test_file_that_was_fetched_is_traced_to_its_commit_and_tags(
    published: Clone, elsewhere: Clone, two_versions: Path, knows_runs: bool
) -> None:
    clone = published if knows_runs else elsewhere
    for tag, estimator in (("v1.0.0", "logreg"), ("v1.1.0", "svm")):
        md5 = recorded(two_versions, tag)["models/model.joblib"]
        lineage = json.loads(make(clone, "lineage", REF=md5, JSON="1").stdout)
        assert lineage["file"] == {"path": "models/model.joblib", "md5": md5}
        assert bool(lineage["run"]) == knows_runs
        assert lineage["git"]["tags"] == [f"model@{tag}", tag]
        assert lineage["params"]["train.estimator"] == estimator
        assert lineage["files"]["models/model.joblib"] == md5
        # Not the commit that put another model in its place, of which git's search tells as well.
        assert clone.git("merge-base", "--is-ancestor", lineage["git"]["commit"], tag) == ""
    # What both versions hold.
    raw = recorded(two_versions, "v1.0.0")["data/raw/dataset.parquet"]
    tags = json.loads(make(clone, "lineage", REF=raw, JSON="1").stdout)["git"]["tags"]
    assert tags == ["model@v1.0.0", "model@v1.1.0", "v1.0.0", "v1.1.0"]


def test_table_that_a_user_added_is_traced_before_any_pipeline_ran(published: Clone) -> None:
    published.git("checkout", "--quiet", "--orphan", "empty")
    published.git("rm", "--quiet", "-r", "--cached", "dvc.lock")
    (published.path / "dvc.lock").unlink()
    (published.path / "data/external/mine.csv").write_text("a,b\n1,2\n")
    published.run("dvc", "add", "data/external/mine.csv")
    published.git("add", "data/external/mine.csv.dvc")
    published.commit("Add my table")
    md5 = published.run("md5sum", "data/external/mine.csv").stdout.split()[0]
    lineage = json.loads(make(published, "lineage", REF=md5, JSON="1").stdout)
    assert lineage == {
        "file": {"path": "data/external/mine.csv", "md5": md5},
        "git": {"commit": published.git("rev-parse", "HEAD"), "tags": []},
    }


@pytest.mark.parametrize(
    "reference", ["v9.9.9", "--json", "0" * 32, "m-" + "0" * 32, "$(touch hacked)", "$(shell touch hacked)"]
)
def test_lineage_of_nothing_is_refused(published: Clone, reference: str) -> None:
    result = make(published, "lineage", code=2, REF=reference)
    assert "VersionError: " in result.stderr
    assert not (published.path / "hacked").exists()


# --- predict ---


def test_model_of_a_tag_predicts_without_touching_the_workspace(published: Clone, tmp_path: Path) -> None:
    raw = pd.read_parquet(published.path / "data/raw/dataset.parquet").drop(columns="target")
    raw.to_csv(tmp_path / "rows.csv", index=False)
    before = md5s(published)
    # The workspace computes its features in another way by now; the tag keeps its own.
    published.edit("src/featurize/features.py", "ratio = above / below", "ratio = above / below + 9")
    command = ("python", "-m", "src.predict", "--input", str(tmp_path / "rows.csv"), "--output")
    for name in ("p.csv", "p.parquet"):
        published.run(*command, str(tmp_path / name), "--rev", "v1.0.0")
    from_csv, from_parquet = pd.read_csv(tmp_path / "p.csv"), pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(from_csv, from_parquet, rtol=1e-12)
    assert list(from_parquet.columns) == [
        "prediction", "probability_setosa", "probability_versicolor", "probability_virginica"
    ]  # fmt: skip
    target = pd.read_parquet(published.path / "data/raw/dataset.parquet")["target"]
    assert (from_parquet["prediction"] == target).mean() > 0.95
    assert md5s(published) == before
    assert "'v9.9.9' is no tag" in published.run(*command, "x.csv", "--rev", "v9.9.9", code=2).stderr


# --- sources, caches ---


def test_table_of_a_tag_is_a_source(published: Clone) -> None:
    source = {"kind": "dvc", "path": "data/raw/dataset.parquet", "repo": ".", "rev": "v1.0.0"}
    before = md5s(published)["data/raw/dataset.parquet"]
    published.set_param("data_load.source", source)
    published.launch()
    assert md5s(published)["data/raw/dataset.parquet"] == before
    loaded = published.nested(published.parent())["data_load"].data.tags
    assert loaded["source.rev"] == "v1.0.0"
    assert loaded["source.commit"] == published.git("rev-parse", "v1.0.0^{commit}")


def test_table_of_another_repository_is_a_source(published: Clone, fresh: Clone, tmp_path: Path) -> None:
    published.git("push", "--quiet", "origin", "v1.0.0")
    # As from a server: a bare repository, and the remote that its own config names.
    published.run("dvc", "remote", "modify", "storage", "url", str(tmp_path / "dvc-storage"))
    published.commit("Name the remote absolutely")
    published.git("tag", "shared")
    published.git("push", "--quiet", "origin", "shared")
    url = f"file://{tmp_path / 'origin.git'}"
    fresh.set_param(
        "data_load.source", {"kind": "dvc", "path": "data/raw/dataset.parquet", "repo": url, "rev": "shared"}
    )
    fresh.launch("data_load")
    assert md5s(fresh)["data/raw/dataset.parquet"] == md5s(published)["data/raw/dataset.parquet"]
    assert fresh.nested(fresh.parent())["data_load"].data.tags["source.url"] == url


def test_clones_share_a_cache_by_protected_links(published: Clone, elsewhere: Clone, tmp_path: Path) -> None:
    shared = tmp_path / "shared cache"
    make(elsewhere, "cache", DIR=str(shared))
    make(elsewhere, "restore", TAG="v1.1.0")
    make(published, "cache", DIR=str(shared))
    published.run("dvc", "checkout", "--relink", "--force", code=None)
    for clone in (elsewhere, published):
        model = clone.path / "models/model.joblib"
        cached = model.resolve()
        assert cached.is_relative_to(shared)
        # Whoever writes to it by mistake is refused, and the cache is safe.
        assert not model.stat().st_mode & 0o222
        assert cached.parent.stat().st_mode & 0o070 == 0o070
    assert elsewhere.git("status", "--porcelain") == ""
