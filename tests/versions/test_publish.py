import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from src.errors import BusyError, VersionError
from src.utils.exclusive import exclusive
from src.versions.publish import publish, tag_parent
from tests.versions.project import IDENTITY, Project, damage, md5_of
from tests.versions.runs import EXPERIMENT, add_run, open_runs, parent_of, parent_tags

TAGS = ["model@v1.0.0", "model@v1.1.0", "v1.0.0", "v1.1.0"]
NEW_TAGS = ["model@v2.0.0", "v2.0.0"]


def make_hook_of_origin(project: Project, script: str) -> Path:
    hook = project.root.parent / "origin.git" / "hooks" / "update"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    return hook


def test_published_version_is_in_git_in_gto_and_in_the_remote(project: Project) -> None:
    assert project.tags() == project.remote_tags() == TAGS
    for name in ("models/model.joblib", "table.parquet", "plots"):
        assert project.stored(name, "v1.0.0", remote=True).exists()
    assert (project.root.parent / "storage" / "runs").is_dir()
    project.dvc("artifacts", "get", ".", "model", "--rev", "v1.1.0", "-o", "other")
    assert md5_of(project.root / "other") == project.recorded("v1.1.0")["models/model.joblib"]


def test_tag_carries_the_message_the_metrics_and_the_cpu(project: Project) -> None:
    publish(project.root, "v2.0.0", 'It\'s "new"; $(touch hacked)', None)
    text = project.git("for-each-ref", "--format=%(contents)", "refs/tags/v2.0.0")
    assert re.fullmatch(r'It\'s "new"; \$\(touch hacked\)\n\nclasses.a 3\nf1 0.8\n\nCPU: .+', text)
    assert project.git("tag", "--list", "--format=%(contents:subject)", "v1.1.0") == "Version v1.1.0"


def test_publishing_commits_nothing(project: Project) -> None:
    before = project.git("rev-parse", "HEAD")
    publish(project.root, "v2.0.0", None, None)
    assert project.git("rev-parse", "HEAD") == project.git("rev-parse", "v2.0.0^{commit}") == before
    assert project.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("1.0.0", "is not a semantic version"),
        ("v1.0", "is not a semantic version"),
        ("-v1.0.0", "is not a semantic version"),
        ("v1.0.0 final", "is not a semantic version"),
        ("v1.0.0$(touch hacked)", "is not a semantic version"),
        ("v1.1.0", "exists already"),
    ],
)
def test_invalid_or_taken_tag_is_refused(project: Project, tag: str, reason: str) -> None:
    with pytest.raises(VersionError, match=reason):
        publish(project.root, tag, None, None)
    assert project.tags() == TAGS


def test_commit_that_is_published_already_is_refused(project: Project) -> None:
    project.git("checkout", "--quiet", "v1.1.0")
    with pytest.raises(VersionError, match=r"published already, as v1\.1\.0"):
        publish(project.root, "v2.0.0", None, None)


def test_uncommitted_work_is_refused(project: Project) -> None:
    for number in range(7):
        (project.root / f"notes{number}.txt").write_text("todo")
    with pytest.raises(VersionError, match=r"^notes0.txt, .*notes4.txt and 2 more: not committed; .*, then publish"):
        publish(project.root, "v2.0.0", None, None)


def test_stale_stage_is_refused(project: Project) -> None:
    project.set_scale(7)
    project.commit()
    with pytest.raises(VersionError, match=r"^train: stale or not in the cache"):
        publish(project.root, "v2.0.0", None, None)


@pytest.mark.parametrize("name", ["models/model.joblib", "plots"])
def test_cache_without_an_output_is_refused(project: Project, name: str) -> None:
    project.stored(name).unlink()
    with pytest.raises(VersionError, match=r"train: stale or not in the cache"):
        publish(project.root, "v2.0.0", None, None)


def test_damaged_cache_is_refused_although_dvc_trusts_it(project: Project) -> None:
    damage(project.stored("models/model.joblib"))
    with pytest.raises(VersionError, match=r"^models/model\.joblib: damaged in DVC's cache"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == TAGS


def test_damaged_file_of_a_folder_is_refused_by_the_name_of_the_folder(project: Project) -> None:
    md5 = md5_of(project.root / "plots/points.csv")
    damage(project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:])
    with pytest.raises(VersionError, match=r"^plots: damaged in DVC's cache"):
        publish(project.root, "v2.0.0", None, None)


def test_publisher_without_a_name_is_refused_before_anything_is_pushed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in IDENTITY:
        monkeypatch.delenv(name)
    project.git("config", "user.useConfigOnly", "true")
    with pytest.raises(VersionError, match="git does not know your name"):
        publish(project.root, "v2.0.0", None, None)
    assert not project.stored("models/model.joblib", remote=True).exists()


def test_failed_push_leaves_no_tag_and_can_be_repeated(project: Project) -> None:
    hook = make_hook_of_origin(project, 'case "$1" in *model@*) echo "no room" >&2; exit 1;; esac')
    with pytest.raises(VersionError, match="`git push` failed"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == project.remote_tags() == TAGS
    hook.unlink()
    publish(project.root, "v2.0.0", None, None)
    assert project.tags() == project.remote_tags() == sorted(TAGS + NEW_TAGS)


def test_unavailable_remote_leaves_no_tag(project: Project) -> None:
    storage = project.root.parent / "storage"
    storage.rename(storage.with_name("moved"))
    # A file where a folder should be, so that root cannot write either.
    storage.write_text("")
    with pytest.raises(VersionError, match="`dvc push` failed"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == project.remote_tags() == TAGS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stopped_publication_leaves_no_tag(project: Project, number: signal.Signals) -> None:
    pushing = project.root.parent / "pushing"
    make_hook_of_origin(project, f"touch '{pushing}'; sleep 60")
    code = (
        "from pathlib import Path; from src.versions.publish import publish; publish(Path.cwd(), 'v2.0.0', None, None)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code], cwd=project.root, env=env, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not pushing.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert project.tags() == sorted(TAGS + NEW_TAGS)
    os.killpg(process.pid, number)
    process.wait(timeout=60)
    assert project.tags() == project.remote_tags() == TAGS


def test_signals_have_their_handlers_back_after_a_publication(project: Project) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    publish(project.root, "v2.0.0", None, None)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_another_publication_in_this_clone_is_refused(project: Project) -> None:
    errors: list[BaseException] = []

    def try_to_publish() -> None:
        try:
            publish(project.root, "v2.0.0", None, None)
        except BusyError as error:
            errors.append(error)

    with exclusive(project.root, "publish"):
        thread = threading.Thread(target=try_to_publish)
        thread.start()
        thread.join(timeout=60)
    assert len(errors) == 1
    assert project.tags() == TAGS


def test_clone_without_a_git_remote_keeps_its_tag(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.git("remote", "remove", "origin")
    publish(project.root, "v2.0.0", None, None)
    assert "there is no git remote" in caplog.text
    assert project.tags() == sorted(TAGS + NEW_TAGS)


def test_tags_go_to_the_first_remote_if_none_is_called_origin(project: Project) -> None:
    project.git("remote", "rename", "origin", "upstream")
    publish(project.root, "v2.0.0", None, None)
    project.git("remote", "rename", "upstream", "origin")
    assert project.remote_tags() == sorted(TAGS + NEW_TAGS)


def test_parent_run_carries_the_published_tag_and_an_earlier_version_keeps_its_own(project: Project) -> None:
    add_run(open_runs(project), parent_tags(project, "HEAD", stage__train="ran"))
    tag_parent(project.root, EXPERIMENT, "v2.0.0")
    first = parent_of(project, "v2.0.0").info.run_id
    tag_parent(project.root, EXPERIMENT, "v2.0.1")
    assert parent_of(project, "v2.0.0").info.run_id == first
    assert parent_of(project, "v2.0.1").info.run_id != first


def test_unusable_store_costs_a_warning_and_not_the_version(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://host")
    publish(project.root, "v2.0.0", None, EXPERIMENT)
    assert "the parent run does not carry the tag: MLflow store nonsense://host" in caplog.text
    assert project.remote_tags() == sorted(TAGS + NEW_TAGS)
