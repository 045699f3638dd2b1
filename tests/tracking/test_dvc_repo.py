import json
import os
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from src.errors import TrackingError
from src.tracking.dvc_repo import DvcRepo, Stage, open_repo
from src.tracking.lock import read_lock
from tests.tracking.support import commit, init_repository, reproduce

PIPELINE = """\
vars: [names.yaml, {suffix: parquet}]
stages:
  copy:
    foreach: {iris: {cv: 3}, wine: {cv: 5}}
    do:
      cmd: mkdir -p data && cat own.csv > data/${key}.${suffix} && echo ${item.cv} >> data/${key}.${suffix}
      deps: [own.csv]
      params: [cv.iris]
      outs: ["data/${key}.${suffix}"]
  fit:
    matrix: {model: [knn], split: [a, b]}
    cmd: mkdir -p ${folder} && echo ${item.model} ${item.split} > ${folder}/${item.split}.joblib
    deps: [data/iris.parquet, data/wine.parquet]
    outs: ["${folder}/${item.split}.joblib"]
  report:
    wdir: sub
    cmd: cp ../models/a.joblib card.md && mkdir -p parts/deep && echo 1 > parts/one && echo 2 > parts/deep/two
    deps: [../models/a.joblib]
    outs: [parts, card.md: {cache: false}]
  score:
    cmd: >-
      echo '{"test": {"f1": 0.5, "n": 3}, "note": "x", "list": [1]}' > scores.json
      && echo '{"own": 1}' > own.json && echo '[0.5]' > odd.json && echo x,y > curve.csv
    deps: [models/b.joblib]
    outs: [own.json: {cache: false}, odd.json]
    metrics: [scores.json: {cache: false}]
    plots: [curve.csv]
metrics: [own.json, odd.json]
plots:
  - curve.csv: {x: x, y: y}
artifacts:
  best: {path: models/b.joblib, type: model}
  table: {path: data/iris.parquet, type: dataset}
"""
NESTED = "stages: {inner: {cmd: cp ../own.csv inner.csv, deps: [../own.csv], outs: [inner.csv]}}\n"
ORDER = ["copy@iris", "copy@wine", "fit@knn-a", "fit@knn-b", "report", "score"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a pipeline that uses most of what `dvc.yaml` offers, and commit it."""
    root = tmp_path_factory.mktemp("dvc") / "root"
    init_repository(root)
    (root / "sub").mkdir()
    for name, text in {
        "dvc.yaml": PIPELINE,
        "sub/dvc.yaml": NESTED,
        "names.yaml": "folder: models\n",
        "params.yaml": "cv: {iris: 3}\nother: 1\n",
        "own.csv": "a\n",
        ".gitignore": "/data\n/models\n/parts\n/sub/*.csv\n/sub/parts\n/curve.csv\n/odd.json\n",
    }.items():
        (root / name).write_text(text)
    with Repo(str(root)) as repo:
        repo.add([str(root / "own.csv")])
    reproduce(root, ["dvc.yaml", "sub/dvc.yaml"])
    commit(root)
    return root


@pytest.fixture
def root(tmp_path: Path, template: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "root", symlinks=True))


def replace(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# --- stages and their entries ---


def test_stages_are_resolved_as_dvc_resolves_them(template: Path) -> None:
    with DvcRepo(template) as repo:
        stages = repo.stages
        assert [name for name in stages if "sub/" not in name] == ORDER
        assert stages["copy@wine"] == Stage("copy@wine", ["own.csv"], ["data/wine.parquet"])
        assert stages["fit@knn-b"].outs == ["models/b.joblib"]
        report = stages["report"]
        assert (report.deps, report.outs, report.reports) == (
            ["models/a.joblib"], ["sub/parts", "sub/card.md"], ["sub/card.md"],
        )  # fmt: skip
        assert stages["score"].reports == ["curve.csv"]
        assert stages["sub/dvc.yaml:inner"] == Stage("sub/dvc.yaml:inner", ["own.csv"], ["sub/inner.csv"])
        assert repo.model_paths == ["models/b.joblib"]
        assert {"own.csv", "data/iris.parquet", "sub/card.md", "scores.json", "curve.csv"} <= repo.data_paths
        assert not {"params.yaml", "names.yaml", "src"} & repo.data_paths


def test_lock_has_the_entry_of_each_stage_with_paths_from_the_root(template: Path) -> None:
    written = read_lock(template)
    with DvcRepo(template) as repo:
        lock = repo.lock
    assert set(lock) == {*ORDER, "sub/dvc.yaml:inner"}
    assert lock["copy@iris"] == written["copy@iris"]
    assert set(lock["report"].outs) == set(lock["report"].sizes) == {"sub/parts", "sub/card.md"}
    assert lock["report"].deps == {"models/a.joblib": lock["fit@knn-a"].outs["models/a.joblib"]}
    assert set(lock["sub/dvc.yaml:inner"].outs) == {"sub/inner.csv"}
    assert lock["copy@iris"].params == {"params.yaml": {"cv.iris": 3}}


def test_commit_is_read_without_its_files(root: Path) -> None:
    first = commit(root)
    replace(root, "params.yaml", "iris: 3", "iris: 4")
    replace(root, "dvc.yaml", '"f1": 0.5', '"f1": 0.75')
    (root / "own.json").write_text('{"own": 9}')
    reproduce(root)
    second = commit(root)
    for name in ("dvc.yaml", "params.yaml", "scores.json"):
        (root / name).unlink()
    for revision, f1, cv in ((first, 0.5, 3), (second, 0.75, 4)):
        with DvcRepo(root, revision) as repo:
            assert [name for name in repo.stages if "sub/" not in name] == ORDER
            assert repo.lock["copy@iris"].params == {"params.yaml": {"cv.iris": cv}}
            assert repo.lock["report"].deps.keys() == {"models/a.joblib"}
            assert repo.read_metrics(without=set()) == {"test.f1": f1, "test.n": 3.0, "own": 1.0}
            assert repo.read_yaml("params.yaml") == {"cv": {"iris": cv}, "other": 1}
            assert repo.read_text("gone.yaml") is None
            assert repo.model_paths == ["models/b.joblib"]
            md5 = repo.lock["fit@knn-b"].outs["models/b.joblib"]
            assert repo.find_files("models/b.joblib", md5)["models/b.joblib"].read_text() == "knn b\n"


@pytest.mark.parametrize("text", ["stages: [\n", "stages: {a: {cmd: '${gone}'}}\n", "stages: {a: {outs: [x]}}\n"])
def test_repository_that_dvc_cannot_read_is_reported_in_one_line(root: Path, text: str) -> None:
    (root / "dvc.yaml").write_text(text)
    with pytest.raises(TrackingError, match=f"^DVC cannot read {root}: .*") as caught:
        DvcRepo(root)
    assert "\n" not in str(caught.value)
    for folder in (root, root.parent):
        with open_repo(folder) as repo:
            assert repo is None


# --- staleness ---


@pytest.mark.parametrize(
    ("name", "old", "new", "stale"),
    [
        ("params.yaml", "other: 1", "other: 2", set()),
        ("params.yaml", "iris: 3", "iris: 4", {"copy@iris", "copy@wine"}),
        ("dvc.yaml", "wine: {cv: 5}", "wine: {cv: 6}", {"copy@wine"}),
        ("models/a.joblib", "knn", "KNN", {"fit@knn-a", "report"}),
        ("names.yaml", "models", "models/../models", {"fit@knn-a", "fit@knn-b"}),
        ("own.csv", "a", "b", {"copy@iris", "copy@wine", "sub/dvc.yaml:inner"}),
    ],
)
def test_stale_stages_are_those_that_dvc_would_run(root: Path, name: str, old: str, new: str, stale: set[str]) -> None:
    replace(root, name, old, new)
    with DvcRepo(root) as repo:
        assert repo.find_stale() == (stale, {})


def test_stage_whose_data_is_missing_is_not_stale_unless_something_changed(root: Path) -> None:
    (root / "models/a.joblib").unlink()
    shutil.rmtree(root / ".dvc" / "cache")
    with DvcRepo(root) as repo:
        stale, missing = repo.find_stale()
        assert (stale, missing["fit@knn-a"]) == (set(), ["models/a.joblib"])
        # The stage that reads it.
        assert "models/a.joblib" in missing["report"]
    text = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(text.replace(str(repo.lock["fit@knn-a"].outs["models/a.joblib"]), "f" * 32, 1))
    for name in ("own.csv", "own.csv.dvc"):
        (root / name).unlink()
    with DvcRepo(root) as repo:
        stale, _ = repo.find_stale()
    # A missing input that DVC does not version is a change, and so is a model that is not the one that was read.
    assert stale is not None
    assert {"report", "copy@iris"} <= stale


def test_staleness_is_unknown_while_another_dvc_is_at_work(root: Path) -> None:
    lock = {"write": {str(root / "own.csv"): {"pid": os.getppid(), "cmd": "dvc repro"}}, "read": {}}
    (root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))
    with DvcRepo(root) as repo:
        assert repo.find_stale() == (None, {})


def test_stages_of_a_commit_are_stale_without_an_entry_or_with_other_inputs(root: Path) -> None:
    revision = commit(root)
    with DvcRepo(root, revision) as repo:
        assert repo.find_stale() == (set(), {})
        md5 = repo.lock["fit@knn-b"].outs["models/b.joblib"]
    # As committed after `dvc repro fit`: another model, and the scores of the former.
    text = (root / "dvc.lock").read_text()
    head, tail = text.split("  fit@knn-b:")
    (root / "dvc.lock").write_text(head + "  fit@knn-b:" + tail.replace(str(md5), "f" * 32, 1))
    replace(root, "dvc.yaml", "iris: {cv: 3}", "iris: {cv: 3}, new: {cv: 1}")
    with DvcRepo(root, commit(root)) as repo:
        assert repo.find_stale() == ({"score", "copy@new"}, {})


# --- metrics ---


def test_metrics_are_the_numbers_of_all_metrics_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "sub")
    with DvcRepo(root) as repo:
        assert repo.read_metrics(without=set()) == {"test.f1": 0.5, "test.n": 3.0, "own": 1.0}
        assert repo.read_metrics(without={"scores.json"}) == {"own": 1.0}


@pytest.mark.parametrize("content", [None, b"", b"{", b"3"])
def test_damaged_metrics_file_does_not_hide_the_others(root: Path, content: bytes | None) -> None:
    (root / "own.json").unlink()
    if content is not None:
        (root / "own.json").write_bytes(content)
    with DvcRepo(root) as repo:
        assert repo.read_metrics(without=set()) == {"test.f1": 0.5, "test.n": 3.0}


# --- content ---


@pytest.mark.parametrize("config", [None, "root/.dvc/config", "root/.dvc/config.local", "global/config"])
def test_content_is_found_wherever_dvc_is_configured_to_keep_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, config: str | None
) -> None:
    if config:
        (root / ".dvc" / "cache").rename(root.parent / "elsewhere")
        (root.parent / "global").mkdir()
        monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(root.parent / "global"))
        (root.parent / config).write_text(f"[cache]\n    dir = {root.parent / 'elsewhere'}\n")
    lock = read_lock(root)
    shutil.rmtree(root / "models")
    (root / "data" / "iris.parquet").write_text("changed since")
    contents = (("fit@knn-a", "models/a.joblib", "knn a\n"), ("copy@iris", "data/iris.parquet", "a\n3\n"))
    with DvcRepo(root) as repo:
        for stage, path, text in contents:
            (file,) = repo.find_files(path, lock[stage].outs[path]).values()
            assert file.read_text() == text


@pytest.mark.parametrize("listing", [None, "{", "x"])
def test_files_of_a_folder_are_found_by_its_listing_if_that_is_there(root: Path, listing: str | None) -> None:
    md5 = str(read_lock(root)["report"].outs["parts"])
    shutil.rmtree(root / "sub" / "parts")
    with DvcRepo(root) as repo:
        found = repo.find_files("sub/parts", md5)
        contents = {name: file.read_text() for name, file in found.items()}
        assert contents == {"sub/parts/one": "1\n", "sub/parts/deep/two": "2\n"}
        found["sub/parts/one"].unlink()
        assert set(repo.find_files("sub/parts", md5)) == {"sub/parts/deep/two"}
        path = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        path.unlink()
        if listing:
            path.write_text(listing)
        assert repo.find_files("sub/parts", md5) == {}


def test_output_that_git_keeps_is_found_in_the_workspace_while_it_is_current(root: Path) -> None:
    md5 = read_lock(root)["score"].outs["scores.json"]
    with DvcRepo(root) as repo:
        assert repo.find_files("scores.json", md5) == {"scores.json": root / "scores.json"}
        assert repo.find_files("scores.json", "0" * 32) == {}
        assert repo.find_files("scores.json", None) == {}
    with DvcRepo(root, commit(root)) as repo:
        assert repo.find_files("scores.json", md5) == {}
