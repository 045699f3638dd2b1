import os
import pty
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
from src.versions.commands import refuse_changes
from src.versions.publish import publish, tag_parent
from src.versions.restore import restore
from tests.versions.project import IDENTITY, Project, damage, md5_of
from tests.versions.runs import EXPERIMENT, add_run, open_runs, parent_of, parent_tags

TAGS = ["model@v1.0.0", "model@v1.1.0", "v1.0.0", "v1.1.0"]
NEW_TAGS = ["model@v2.0.0", "v2.0.0"]
PUBLISH = "from pathlib import Path; from src.versions.publish import publish; publish"


def environ() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


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


@pytest.mark.parametrize(
    "hide",
    [
        ["update-index", "--skip-worktree", "make.py"],
        ["update-index", "--assume-unchanged", "make.py"],
        ["config", "status.showUntrackedFiles", "no"],
    ],
)
def test_work_that_git_was_told_to_hide_is_refused(project: Project, hide: list[str]) -> None:
    name = "notes.txt" if hide[0] == "config" else "make.py"
    project.git(*hide)
    # A file that is marked but not changed may be published.
    refuse_changes(project.root, "publish")
    with (project.root / name).open("a") as file:
        file.write("\n")
    project.dvc("repro", "--quiet")
    assert project.git("status", "--porcelain", "make.py", "notes.txt") == ""
    with pytest.raises(VersionError, match=f"{name}: not committed"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == TAGS


@pytest.mark.parametrize(("dependency", "reason"), [("external/rows.csv", "external/rows.csv"), ("src", "src/mine.py")])
def test_dependency_that_git_ignores_is_refused(project: Project, dependency: str, reason: str) -> None:
    path = project.root / dependency
    path = path / "mine.py" if path.is_dir() else path
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    (project.root / ".git/info/exclude").write_text(f"{path.name}\n")
    project.depend_on(dependency)
    project.commit()
    with pytest.raises(VersionError, match=f"^{reason}: DVC uses it, but git ignores it"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == TAGS


def test_dependencies_that_git_or_dvc_has_are_published(project: Project, fresh: Project) -> None:
    project.add_table()
    (project.root / "external/.gitkeep").touch()
    (project.root / ".dvcignore").write_text("*.md\n*.log\n")
    (project.root / ".git/info/exclude").write_text("*.log\n")
    for name in ("notes.md", "mine.log"):
        (project.root / "src" / name).touch()
    # git has the link, and not the files below it.
    (project.root / "shared").mkdir()
    (project.root / "shared/code.py").touch()
    (project.root / "src/shared").symlink_to("../shared")
    project.depend_on("external, src, src/shared/code.py")
    project.commit()
    publish(project.root, "v2.0.0", None, None)
    fresh.git("fetch", "--quiet", "--tags")
    restore(fresh.root, "v2.0.0")
    assert fresh.dvc("status") == "Data and pipelines are up to date."


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


def kill_during_push(project: Project, number: signal.Signals) -> None:
    """Publish v2.0.0 in another process, and send a signal while the remote receives the tags."""
    pushing = project.root.parent / "pushing"
    hook = make_hook_of_origin(project, f"touch '{pushing}'; sleep 60")
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", f"{PUBLISH}(Path.cwd(), 'v2.0.0', None, None)"],
        cwd=project.root,
        env=environ(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not pushing.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert project.tags() == sorted(TAGS + NEW_TAGS)
    os.killpg(process.pid, number)
    process.wait(timeout=60)
    hook.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stopped_publication_leaves_no_tag(project: Project, number: signal.Signals) -> None:
    kill_during_push(project, number)
    assert project.tags() == project.remote_tags() == TAGS


def test_publication_that_was_killed_is_finished(project: Project) -> None:
    kill_during_push(project, signal.SIGKILL)
    assert (project.tags(), project.remote_tags()) == (sorted(TAGS + NEW_TAGS), TAGS)
    with pytest.raises(
        VersionError, match=r"v2\.0\.0, which is not in origin: finish it by `make publish TAG=v2\.0\.0`"
    ):
        publish(project.root, "v2.0.1", None, None)
    # It was killed between its two tags.
    project.git("tag", "--delete", "model@v2.0.0")
    publish(project.root, "v2.0.0", None, None)
    assert project.tags() == project.remote_tags() == sorted(TAGS + NEW_TAGS)


def test_killed_publication_of_an_earlier_commit_says_how_to_finish_it(project: Project) -> None:
    kill_during_push(project, signal.SIGKILL)
    (project.root / "notes.txt").write_text("done")
    project.commit()
    finish = r"^tag v2\.0\.0 exists already; .*finish it by `make restore TAG=v2\.0\.0` and `make publish TAG=v2\.0\.0`"
    with pytest.raises(VersionError, match=finish):
        publish(project.root, "v2.0.0", None, None)


def test_publishing_again_completes_the_record(project: Project) -> None:
    publish(project.root, "v2.0.0", None, None)
    add_run(open_runs(project), parent_tags(project, "HEAD", stage__train="ran"))
    publish(project.root, "v2.0.0", None, EXPERIMENT)
    assert parent_of(project, "v2.0.0")


@pytest.mark.parametrize("tag", ["model@v2.0.0", "v2.0.0"])
def test_tag_that_a_user_made_is_refused_and_kept(project: Project, tag: str) -> None:
    project.git("tag", tag)
    with pytest.raises(VersionError, match=f"^tag {tag} exists already; choose the next version\\.$"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == sorted([*TAGS, tag])


def test_tag_that_arrives_meanwhile_is_kept(project: Project) -> None:
    hook = project.root / ".git/hooks/reference-transaction"
    hook.write_text(
        "#!/bin/sh\nread -r old new ref\n"
        'case "$1 $old $ref" in "committed 0"*" refs/tags/v2.0.0") ;; *) exit 0;; esac\n'
        "case $new in 0000*) ;; *) git update-ref refs/tags/model@v2.0.0 HEAD~1;; esac\n"
    )
    hook.chmod(0o755)
    with pytest.raises(VersionError, match="`gto register` failed"):
        publish(project.root, "v2.0.0", None, None)
    assert project.tags() == sorted([*TAGS, "model@v2.0.0"])
    assert project.git("rev-parse", "model@v2.0.0") == project.git("rev-parse", "HEAD~1")


def test_tag_that_only_the_remote_has_is_refused_before_data_is_pushed(project: Project) -> None:
    project.git("push", "--quiet", "origin", "HEAD:refs/tags/v2.0.0")
    with pytest.raises(VersionError, match=r"^tag v2\.0\.0 exists already in origin; choose the next version"):
        publish(project.root, "v2.0.0", None, None)
    assert not project.stored("models/model.joblib", remote=True).exists()


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


def test_publication_says_what_goes_where(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    url = project.root.parent / "origin.git"
    project.git("remote", "set-url", "origin", f"file://me:secret@localhost{url}")
    project.git("remote", "set-url", "--push", "origin", str(url))
    publish(project.root, "v2.0.0", None, None)
    commit, storage = project.git("rev-parse", "HEAD")[:9], project.root.parent / "storage"
    assert caplog.messages[0] == (
        f"publishing commit {commit}: data to DVC's remote storage ({storage}), tags v2.0.0, model@v2.0.0 to origin "
        f"({url})"
    )
    assert "secret" not in caplog.text
    assert "is not in origin yet" not in caplog.text


def test_branch_that_is_not_in_the_remote_is_named(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.git("switch", "--quiet", "--create", "idea")
    project.git("commit", "--quiet", "--allow-empty", "--message", "Try")
    publish(project.root, "v2.0.0", None, None)
    assert caplog.messages[-1] == "branch idea is not in origin yet; push it: git push origin idea"


@pytest.mark.parametrize(("answer", "yes", "code"), [("n\n", False, 1), ("y\n", False, 0), ("", True, 0)])
def test_user_is_asked_in_a_terminal(project: Project, answer: str, yes: bool, code: int) -> None:
    terminal, stdin = pty.openpty()
    os.write(terminal, answer.encode())
    command = f"{PUBLISH}(Path.cwd(), 'v2.0.0', None, None, yes={yes})"
    result = subprocess.run(
        [sys.executable, "-P", "-c", command], cwd=project.root, env=environ(), stdin=stdin, stderr=subprocess.PIPE
    )
    os.close(terminal)
    os.close(stdin)
    assert result.returncode == code
    assert (b"(../origin.git)? [y/N] " in result.stderr) == (not yes)
    assert (b"VersionError: nothing was published." in result.stderr) == bool(code)
    assert project.remote_tags() == (TAGS if code else sorted(TAGS + NEW_TAGS))


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


def test_registered_model_of_the_commit_carries_the_published_tag(project: Project) -> None:
    client = open_runs(project).client
    client.create_registered_model("o'dd")
    for commit in (project.git("rev-parse", "HEAD"), "0" * 40):
        client.create_model_version("o'dd", "none", tags={"git.commit": commit})
    tag_parent(project.root, EXPERIMENT, "v2.0.0")
    tags = [client.get_model_version("o'dd", number).tags.get("git.tag") for number in ("1", "2")]
    assert tags == ["v2.0.0", None]


def test_unusable_store_costs_a_warning_and_not_the_version(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://host")
    publish(project.root, "v2.0.0", None, EXPERIMENT)
    assert "the parent run and the registered model do not carry the tag: MLflow store nonsense://host" in caplog.text
    assert project.remote_tags() == sorted(TAGS + NEW_TAGS)
