import hashlib
import platform
import shutil
from pathlib import Path

import pytest

from src.tracking.cache import md5_of
from src.tracking.git import GitState
from src.tracking.runs import create_run, fit_key, log_file, log_values
from src.tracking.session import Place
from src.tracking.store import Store, open_store
from tests.tracking.workspace import artifacts, dvc, make_session


@pytest.fixture
def run_id(store: Store) -> str:
    return str(store.client.create_run(store.experiment_id).info.run_id)


def test_run_carries_what_every_run_of_a_session_carries(store: Store, root: Path) -> None:
    session = make_session(root, "some", exp_name="brave-fox", exp_baseline="abc")
    run = store.client.get_run(create_run(store, session, "train", 1234, {"dvc.stage": "train"}))
    assert (run.info.run_name, run.info.start_time, run.info.status) == ("train", 1234, "RUNNING")
    expected = {
        "pipeline.session": "some",
        "git.commit": "c0ffee",
        "git.branch": "main",
        "git.dirty": "false",
        "pipeline.host": session.owner.host,
        "pipeline.python": platform.python_version(),
        "dvc.exp.name": "brave-fox",
        "dvc.exp.baseline": "abc",
        "dvc.stage": "train",
    }
    assert {key: run.data.tags.get(key) for key in expected} == expected
    assert run.data.tags["pipeline.cpu"]


def test_run_outside_of_an_experiment_has_no_tag_of_one(store: Store, root: Path) -> None:
    run = store.client.get_run(create_run(store, make_session(root), "train", 1, {}))
    assert "dvc.exp.name" not in run.data.tags


@pytest.mark.parametrize("length", [6000, 6001, 100_000])
def test_long_param_is_kept_or_says_that_it_was_cut(store: Store, run_id: str, length: int) -> None:
    log_values(store, run_id, params={"grid": "x" * length})
    value = store.client.get_run(run_id).data.params["grid"]
    if length <= 6000:
        assert value == "x" * length
    else:
        assert len(value) <= 6000
        assert value.startswith("x" * 5900)
        assert value.endswith(f"… (cut, {length} characters)")


@pytest.mark.parametrize("length", [5000, 8001, 100_000])
def test_long_tag_is_kept_or_says_that_it_was_cut(store: Store, run_id: str, length: int) -> None:
    log_values(store, run_id, tags={"note": "x" * length})
    value = store.client.get_run(run_id).data.tags["note"]
    if length <= 5000:
        assert value == "x" * length
    else:
        assert len(value) <= 8000
        assert value.endswith(f"… (cut, {length} characters)")


def test_many_values_are_logged_completely(store: Store, run_id: str) -> None:
    params = {f"p{i}": str(i) for i in range(250)}
    metrics = {f"m{i}": float(i) for i in range(101)}
    tags = {f"t{i}": str(i) for i in range(350)}
    log_values(store, run_id, params=params, metrics=metrics, tags=tags)
    data = store.client.get_run(run_id).data
    assert data.params == params
    assert data.metrics == metrics
    assert {key: data.tags.get(key) for key in tags} == tags


def test_nothing_to_log_is_logged(store: Store, run_id: str) -> None:
    log_values(store, run_id)
    log_values(store, run_id, params={}, metrics={}, tags={"empty": ""})
    data = store.client.get_run(run_id).data
    assert (data.params, data.metrics, "empty" in data.tags) == ({}, {}, False)


def test_same_values_can_be_logged_again(store: Store, run_id: str) -> None:
    for _ in range(2):
        log_values(store, run_id, params={"a": "x" * 7000}, metrics={"m": 1.0}, tags={"t": "y" * 9000})
    assert store.client.get_run(run_id).data.params["a"].endswith("(cut, 7000 characters)")


@pytest.mark.parametrize(
    ("key", "fitted"),
    [
        ("train.cv", "train.cv"),
        ("data/raw/a b-c_d:e", "data/raw/a b-c_d:e"),
        ("petal length [cm]", "petal length _cm_"),
        ("größe²", "größe²"),
        ("a\nb'c\"d%", "a_b_c_d_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_key_is_made_of_what_mlflow_allows(store: Store, run_id: str, key: str, fitted: str) -> None:
    assert fit_key(key) == fitted
    log_values(store, run_id, params={key: "1"}, metrics={key: 1.0}, tags={key: "1"})
    data = store.client.get_run(run_id).data
    assert data.params == {fitted: "1"}
    assert data.metrics == {fitted: 1.0}
    assert data.tags[fitted] == "1"


@pytest.mark.parametrize("key", ["a//b", "/a", "../a", "a/./b", "a/../b", "a/", ".", "..", "", "./a", "x" * 249 + "/y"])
def test_key_that_mlflow_would_take_for_another_path_is_made_to_fit(store: Store, run_id: str, key: str) -> None:
    log_values(store, run_id, params={key: "1"}, metrics={key: 1.0}, tags={key: "1"})
    data = store.client.get_run(run_id).data
    assert list(data.params.values()) == ["1"]
    assert list(data.metrics.values()) == [1.0]


def test_keys_that_fit_alike_do_not_lose_the_record(store: Store, run_id: str) -> None:
    log_values(store, run_id, params={"a[cm]": "1", "a(cm)": "2", "b": "3"}, metrics={"a[cm]": 1.0, "a(cm)": 2.0})
    data = store.client.get_run(run_id).data
    assert data.params["b"] == "3"
    assert data.params["a_cm_"] in ("1", "2")


def test_metrics_that_are_no_number_are_logged(store: Store, run_id: str) -> None:
    log_values(store, run_id, metrics={"nan": float("nan"), "infinite": float("inf"), "f1": 0.5})
    metrics = store.client.get_run(run_id).data.metrics
    assert set(metrics) == {"nan", "infinite", "f1"}
    assert metrics["f1"] == 0.5


@pytest.mark.parametrize("path", ["reports/deep/roc.png", "reports/roc.png", "roc.png"])
def test_file_is_logged_under_its_path(store: Store, place: Place, run_id: str, path: str) -> None:
    target = place.work_root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("picture")
    log_file(store, place, run_id, path, md5_of(target))
    downloaded = store.client.download_artifacts(run_id, path)
    assert Path(downloaded).read_text() == "picture"


def test_folder_of_plots_is_logged_under_its_path(store: Store, place: Place, run_id: str) -> None:
    folder = place.work_root / "reports" / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_text("a")
    (folder / "deep" / "b.png").write_text("b")
    log_file(store, place, run_id, "reports/plots", md5_of(folder))
    assert artifacts(store, run_id, "reports/plots") == {"reports/plots/a.png", "reports/plots/deep"}
    assert artifacts(store, run_id, "reports/plots/deep") == {"reports/plots/deep/b.png"}


def test_folder_that_only_dvc_keeps_is_logged_from_its_list(repository: Path) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    run_id = str(store.client.create_run(store.experiment_id).info.run_id)
    md5 = md5_of(repository / "reports" / "train")
    dvc(repository, "gc", "--workspace", "--force", "--quiet")
    shutil.rmtree(repository / "reports" / "train")
    log_file(store, place, run_id, "reports/train", md5)
    folder = Path(store.client.download_artifacts(run_id, "reports/train"))
    found = {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*.svg")}
    assert found == {"b.svg": "<svg/>", "a c.svg": "<svg>é</svg>", "deep/é.svg": ""}


def test_folder_of_which_a_file_is_gone_is_logged_as_far_as_it_is_there(repository: Path) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    run_id = str(store.client.create_run(store.experiment_id).info.run_id)
    folder = repository / "reports" / "train"
    md5, gone = md5_of(folder), md5_of(folder / "b.svg")
    shutil.rmtree(folder)
    assert gone is not None
    (repository / ".dvc" / "cache" / "files" / "md5" / gone[:2] / gone[2:]).unlink()
    log_file(store, place, run_id, "reports/train", md5)
    assert artifacts(store, run_id, "reports/train") == {"reports/train/a c.svg", "reports/train/deep"}


@pytest.mark.parametrize("listing", [None, "[]"])
def test_folder_whose_list_is_gone_or_damaged_is_left_out(repository: Path, listing: str | None) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    run_id = str(store.client.create_run(store.experiment_id).info.run_id)
    md5 = md5_of(repository / "reports" / "train")
    shutil.rmtree(repository / "reports" / "train")
    assert md5 is not None
    kept = repository / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    kept.unlink()
    if listing is not None:
        kept.write_text(listing)
    log_file(store, place, run_id, "reports/train", md5)
    assert artifacts(store, run_id) == set()


@pytest.mark.parametrize(
    ("dirty", "said"),
    [
        ("false", ""),
        ("true", ", with changes that were not committed"),
        ("unknown", ", perhaps with changes that were not committed"),
    ],
)
def test_copy_of_a_report_tells_its_run_and_commit_and_the_report_does_not(
    store: Store, place: Place, dirty: str, said: str
) -> None:
    session = make_session(place.work_root, git=GitState("c0ffee", "main", dirty))
    run_id = create_run(store, session, "evaluate", 1, {})
    (place.work_root / "card.md").write_text("# Card é\n")
    log_file(store, place, run_id, "card.md", md5_of(place.work_root / "card.md"))
    copy = Path(store.client.download_artifacts(run_id, "card.md")).read_text(encoding="utf-8")
    assert copy == f"# Card é\n\nRecorded by MLflow run `{run_id}` at commit `c0ffee`{said}.\n"
    assert (place.work_root / "card.md").read_text(encoding="utf-8") == "# Card é\n"


def test_commit_that_nobody_knows_is_called_unknown(store: Store, place: Place, run_id: str) -> None:
    (place.work_root / "card.md").write_text("")
    log_file(store, place, run_id, "card.md", md5_of(place.work_root / "card.md"))
    copy = Path(store.client.download_artifacts(run_id, "card.md")).read_text(encoding="utf-8")
    assert "at commit `unknown`, perhaps with changes" in copy


def test_file_that_dvc_keeps_is_logged_under_its_own_name(store: Store, place: Place, run_id: str) -> None:
    md5 = hashlib.md5(b"old", usedforsecurity=False).hexdigest()
    cached = place.main_root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"old")
    (place.work_root / "reports").mkdir()
    (place.work_root / "reports" / "roc.png").write_text("new")
    log_file(store, place, run_id, "reports/roc.png", md5)
    assert Path(store.client.download_artifacts(run_id, "reports/roc.png")).read_text() == "old"


@pytest.mark.parametrize("md5", [None, "0" * 32])
def test_file_whose_content_is_gone_is_left_out(store: Store, place: Place, run_id: str, md5: str | None) -> None:
    (place.work_root / "roc.png").write_text("another")
    log_file(store, place, run_id, "roc.png", md5)
    assert artifacts(store, run_id) == set()
