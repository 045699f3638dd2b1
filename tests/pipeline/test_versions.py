"""Publish, restore, compare and trace versions with real git, DVC, GTO and MLflow."""

import json
import platform
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs

import pandas as pd
import pytest

from src.tracking.process import cpu_model
from tests.pipeline.clone import Clone, copy_clone
from tests.pipeline.versions import MAKE, add_origin, make, md5s, recorded, refs

pytestmark = pytest.mark.slow

# --- publish ---


def test_published_version_is_in_git_gto_dvc_and_mlflow(published: Clone, two_versions: Path) -> None:
    tags = ["model@v1.0.0", "model@v1.1.0", "v1.0.0", "v1.1.0"]
    assert published.git("tag").splitlines() == tags
    assert refs(published) == [f"refs/tags/{tag}" for tag in tags]
    text = published.git("tag", "--list", "--format=%(contents)", "v1.1.0")
    assert "test_f1_macro 1" in text
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


@pytest.mark.parametrize("name", ['v1.0.0"; touch hacked; "', "v1.0.0'`touch hacked`", "v1.0.0$(shell touch hacked)"])
def test_variables_of_make_are_not_executed(published: Clone, name: str) -> None:
    reasons = {
        "publish": "is not a semantic version",
        "restore": "is not a tag",
        "reproduce": "is not a tag",
        "lineage": "is no",
    }
    for target, reason in reasons.items():
        result = make(published, target, code=2, TAG=name, RUN=name, REF=name)
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("VersionError: ")]
        assert reason in line
    assert not (published.path / "hacked").exists()


def test_of_two_clones_that_publish_at_once_one_is_refused_and_keeps_no_tag(origin: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path / "other")
    origin.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(other.path))
    shutil.copytree(origin.path / ".dvc" / "cache", other.path / ".dvc" / "cache")
    other.run("dvc", "checkout", "--quiet")
    clones = (origin, other)
    # With equal messages in the same second, both would create the same tag.
    messages = [f"MESSAGE=Of clone {number}" for number in range(2)]
    processes = [
        clone.start(*MAKE, "publish", "TAG=v1.0.0", text) for clone, text in zip(clones, messages, strict=True)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], outputs
    # The second may see the tag before it pushes its own.
    assert re.search("`git push` failed|tag v1.0.0 exists already in origin", outputs[codes.index(2)])
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
def test_versions_are_restored_to_the_byte_in_a_fresh_clone(
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


# --- names with special characters ---


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
def test_characters_that_dvc_cannot_write_are_refused(
    fresh: Clone, target: str, name: str, value: str, locale: str
) -> None:
    config = fresh.read(".dvc/config")
    fresh.env["LC_ALL"] = locale
    result = make(fresh, target, code=2, **{"URL": "s3://bucket/path"} | {name: value})
    assert f"{name} must be ASCII, since DVC writes it into its config; " in result.stderr
    assert fresh.read(".dvc/config") == config
    assert not (fresh.path / ".dvc/config.local").exists()


# --- compare and trace ---


def test_two_versions_are_compared(published: Clone) -> None:
    result = make(published, "compare", A="v1.0.0", B="v1.1.0")
    assert re.search(r"train.estimator +logreg +svm", result.stdout)
    assert re.search(r"test_f1_macro +0.93\d+ +1.00\d+", result.stdout)
    runs = [published.runs(f"tags.`git.tag` = '{tag}'")[0].info for tag in ("v1.0.0", "v1.1.0")]
    link = re.search(r"^Runs: .*/#/compare-runs\?(.*)$", result.stdout, re.MULTILINE)
    assert link
    assert parse_qs(link[1]) == {
        "runs": [json.dumps([run.run_id for run in runs])],
        "experiments": [json.dumps([runs[0].experiment_id])],
        "workflowType": ["machine_learning"],
    }
    page = (published.path / "reports/compare/index.html").read_text()
    assert page.count('<img src="data:image/png;base64,') >= 10
    assert "confusion matrix" in page
    assert published.git("status", "--porcelain") == ""


def test_lineage_finds_the_origin_of_a_tag_a_run_and_a_file(published: Clone) -> None:
    (parent,) = published.runs("tags.`git.tag` = 'v1.1.0'")
    md5 = md5s(published)["models/model.joblib"]
    nested = published.runs("tags.`dvc.stage` = 'train'")[0]
    for reference in ("v1.1.0", nested.info.run_id, md5):
        lineage = json.loads(make(published, "lineage", REF=reference, JSON="1").stdout)
        assert lineage["run"]["id"] == parent.info.run_id
        assert lineage["files"]["models/model.joblib"] == md5
        assert lineage["params"]["train.estimator"] == "svm"
        assert lineage["metrics"]["test_f1_macro"] == pytest.approx(1.0)
        assert lineage["source"] == {"source.name": "sklearn.datasets.load_iris"}
        assert lineage["git"]["tags"] == ["model@v1.1.0", "v1.1.0"]
        assert lineage["made on"] == {"cpu": cpu_model(), "python": platform.python_version()}
    assert re.search(r"train.estimator +svm", make(published, "lineage", REF="v1.1.0").stdout)


@pytest.mark.thorough
def test_version_with_the_same_results_does_not_take_the_run_of_the_earlier_one(published: Clone) -> None:
    (earlier,) = published.runs("tags.`git.tag` = 'v1.1.0'")
    published.edit("README.md", "^# ", "# My ")
    published.commit("Change the title")
    published.launch()
    make(published, "publish", TAG="v1.1.1")
    (later,) = published.runs("tags.`git.tag` = 'v1.1.1'")
    assert published.runs("tags.`git.tag` = 'v1.1.0'")[0].info.run_id == earlier.info.run_id
    for tag, run in (("v1.1.0", earlier), ("v1.1.1", later)):
        lineage = json.loads(make(published, "lineage", REF=tag, JSON="1").stdout)
        assert lineage["run"]["id"] == run.info.run_id
        assert lineage["made on"]["python"] == platform.python_version()


@pytest.mark.thorough
def test_lineage_of_restored_results_does_not_invent_where_they_were_made(elsewhere: Clone) -> None:
    make(elsewhere, "restore", TAG="v1.0.0")
    elsewhere.launch()
    for reference in ("v1.0.0", elsewhere.parent().info.run_id):
        lineage = json.loads(make(elsewhere, "lineage", REF=reference, JSON="1").stdout)
        assert lineage["run"]["id"] == elsewhere.parent().info.run_id
        assert lineage["source"]["data_load.source.name"] == "iris"
        assert lineage["made on"]["python"] == "unknown"


# --- predict ---


def test_model_of_a_tag_predicts_without_touching_the_workspace(published: Clone, tmp_path: Path) -> None:
    raw = pd.read_parquet(published.path / "data/raw/dataset.parquet").drop(columns="target")
    raw.to_csv(tmp_path / "rows.csv", index=False)
    before = md5s(published)
    # The tag has its own code of the features.
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
    assert "'v9.9.9' is not a tag" in published.run(*command, "x.csv", "--rev", "v9.9.9", code=2).stderr


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
    # A relative remote has no meaning in a bare repository.
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


def test_clones_share_a_cache_with_read_only_links(published: Clone, elsewhere: Clone, tmp_path: Path) -> None:
    shared = tmp_path / "shared cache"
    make(elsewhere, "cache", DIR=str(shared))
    make(elsewhere, "restore", TAG="v1.1.0")
    make(published, "cache", DIR=str(shared))
    published.run("dvc", "checkout", "--relink", "--force", code=None)
    for clone in (elsewhere, published):
        model = clone.path / "models/model.joblib"
        cached = model.resolve()
        assert cached.is_relative_to(shared)
        # The cache cannot be overwritten by mistake.
        assert not model.stat().st_mode & 0o222
        assert cached.parent.stat().st_mode & 0o070 == 0o070
    assert elsewhere.git("status", "--porcelain") == ""
