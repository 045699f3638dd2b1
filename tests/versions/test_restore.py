import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from dvc.repo import Repo

from src.errors import VersionError
from src.versions.publish import publish
from src.versions.restore import restore
from tests.versions.project import OUTPUTS, Project, damage


def model_of(project: Project) -> bytes:
    return (project.root / "models/model.joblib").read_bytes()


def stages_that_are_stale(project: Project) -> list[str]:
    with Repo(str(project.root)) as repo:
        return list(repo.status())


def is_v1(project: Project) -> bool:
    """Whether the workspace holds what stage train made of scale 1, and DVC and git see no change."""
    texts = [(project.root / name).read_text() for name in ("plots/points.csv", "metrics.json")]
    is_clean = project.git("status", "--porcelain") == "" and not stages_that_are_stale(project)
    return is_clean and texts[0] == "x,y\n1,1\n" and '"f1": 0.6' in texts[1]


def test_version_comes_back_from_the_cache_and_leads_back(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    before = project.md5s()
    shutil.rmtree(project.root.parent / "storage")
    restore(project.root, "v1.0.0")
    assert is_v1(project)
    assert "restored v1.0.0; go back with `git checkout main && dvc checkout`" in caplog.text
    assert not (project.root / ".dvc/tmp/restore-reserve").exists()
    project.go_to("main")
    assert project.md5s() == before


def test_version_comes_back_in_a_fresh_clone_and_from_a_detached_head(fresh: Project) -> None:
    restore(fresh.root, "v1.1.0")
    model = model_of(fresh)
    restore(fresh.root, "v1.0.0")
    assert is_v1(fresh)
    restore(fresh.root, "v1.1.0")
    assert model_of(fresh) == model


def test_cache_of_the_users_own_configuration_is_used(
    fresh: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "config"))
    fresh.dvc("config", "--global", "cache.dir", str(tmp_path / "shared"))
    restore(fresh.root, "v1.0.0")
    assert is_v1(fresh)
    assert len(list((tmp_path / "shared" / "files" / "md5").rglob("*"))) > len(OUTPUTS)
    assert not (fresh.root / ".dvc/cache/files").exists()


@pytest.mark.parametrize("tag", ["v9.9.9", "-v1.0.0", "v1.0.0; touch hacked", "v*", "main"])
def test_anything_but_a_tag_is_refused(project: Project, tag: str) -> None:
    with pytest.raises(VersionError, match=r"is not a tag of this repository; the newest tags are v1.1.0, v1.0.0\."):
        restore(project.root, tag)


def test_tag_without_results_is_refused(project: Project) -> None:
    project.git("rm", "--quiet", "dvc.lock")
    project.commit("Start over")
    project.git("tag", "empty")
    with pytest.raises(VersionError, match=r"^empty has no dvc\.lock"):
        restore(project.root, "empty")


def test_tag_without_a_dependency_is_refused(project: Project, fresh: Project) -> None:
    (project.root / "external").mkdir()
    (project.root / "external/rows.csv").write_text("ignored by git")
    project.depend_on("external/rows.csv")
    project.commit()
    project.git("tag", "by-hand")
    project.dvc("push", "--quiet")
    project.git("push", "--quiet", "origin", "by-hand")
    fresh.git("fetch", "--quiet", "--tags")
    with pytest.raises(
        VersionError, match=r"^by-hand cannot be restored: its stages need external/rows\.csv, and neith"
    ):
        restore(fresh.root, "by-hand")
    assert fresh.git("branch", "--show-current") == "main"


@pytest.mark.parametrize("name", ["models/model.joblib", "plots/points.csv"])
def test_data_that_was_not_saved_is_refused(project: Project, name: str) -> None:
    path = project.root / name
    path.chmod(0o644)
    path.write_bytes(b"my own")
    with pytest.raises(VersionError, match=f"^{name.split('/')[0]}.*: changed since DVC saved it"):
        restore(project.root, "v1.0.0")
    assert path.read_bytes() == b"my own"
    assert project.git("branch", "--show-current") == "main"


def test_result_whose_settings_were_thrown_away_is_dropped_as_the_message_says(project: Project) -> None:
    before = project.md5s()
    project.set_scale(9)
    project.dvc("repro", "--quiet")
    project.git("checkout", "--quiet", ".")
    with pytest.raises(VersionError, match="drop the change by `dvc checkout`, or run `make pipeline`"):
        restore(project.root, "v1.0.0")
    project.dvc("checkout")
    assert project.md5s() == before
    restore(project.root, "v1.0.0")
    assert is_v1(project)


def test_uncommitted_work_is_refused(project: Project) -> None:
    project.set_scale(5)
    with pytest.raises(VersionError, match=r"^params.yaml: not committed; commit or discard them, then restore"):
        restore(project.root, "v1.0.0")


@pytest.mark.parametrize(("harm", "name"), [(damage, "plots"), (os.unlink, "plots"), (damage, "models/model.joblib")])
def test_damaged_cache_is_repaired_from_the_remote(project: Project, harm: Callable[[Path], None], name: str) -> None:
    harm(project.stored(name, "v1.0.0"))
    restore(project.root, "v1.0.0")
    assert is_v1(project)


@pytest.mark.parametrize("harm", [damage, os.unlink])
def test_object_lost_or_damaged_everywhere_is_named_and_nothing_changes(
    project: Project, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = project.md5s()
    project.stored("models/model.joblib", "v1.0.0").unlink()
    harm(project.stored("models/model.joblib", "v1.0.0", remote=True))
    with pytest.raises(
        VersionError, match=r"^models/model\.joblib: missing or damaged in DVC's cache and in its remote"
    ):
        restore(project.root, "v1.0.0")
    assert "fetching what is missing in DVC's cache: models/model.joblib\n" in caplog.text
    assert project.git("branch", "--show-current") == "main"
    assert project.md5s() == before


def test_remote_of_the_version_is_used_where_that_of_today_lacks_it(
    project: Project, fresh: Project, caplog: pytest.LogCaptureFixture
) -> None:
    (project.root.parent / "empty").mkdir()
    fresh.dvc("remote", "modify", "storage", "url", "../empty")
    fresh.commit("Move the data")
    restore(fresh.root, "v1.0.0")
    assert is_v1(fresh)
    assert "Trying the remote of that version" in caplog.text


def test_missing_remote_folder_is_named_and_the_fresh_clone_stays_empty(fresh: Project) -> None:
    shutil.rmtree(fresh.root.parent / "storage")
    with pytest.raises(VersionError, match=r"^DVC's remote \S+/storage does not exist; mount it"):
        restore(fresh.root, "v1.0.0")
    assert fresh.git("branch", "--show-current") == "main"
    assert list(fresh.md5s()) == ["metrics.json"]


def test_missing_package_of_the_remote_is_named_and_the_fresh_clone_stays_empty(fresh: Project) -> None:
    fresh.dvc("remote", "modify", "--local", "storage", "url", "oss://bucket/storage")
    with pytest.raises(VersionError, match=r"^DVC cannot read \w+: oss is supported, but requires 'dvc-oss'"):
        restore(fresh.root, "v1.0.0")
    assert fresh.git("branch", "--show-current") == "main"
    assert list(fresh.md5s()) == ["metrics.json"]


def fail_after_checkout(project: Project) -> None:
    hook = project.root / ".git/hooks/post-checkout"
    hook.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    hook.chmod(0o755)


def test_hook_that_fails_after_the_checkout_is_a_warning(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    fail_after_checkout(project)
    restore(project.root, "v1.0.0")
    assert is_v1(project)
    assert "its post-checkout hook failed, see above; going on" in caplog.text


def test_checkout_that_fails_at_the_same_commit_is_no_hook(project: Project) -> None:
    project.git("checkout", "--quiet", "-b", "same", "v1.0.0")
    project.dvc("checkout", "--quiet")
    (project.root / ".git/index.lock").touch()
    with pytest.raises(VersionError, match="`git checkout"):
        restore(project.root, "v1.0.0")
    assert project.git("branch", "--show-current") == "same"


def test_hook_that_fails_does_not_stop_the_way_back(fresh: Project) -> None:
    fail_after_checkout(fresh)
    (fresh.root / ".git/info/exclude").write_text("/models\n")
    (fresh.root / "models").write_text("in the way")
    with pytest.raises(VersionError, match="`dvc checkout` failed"):
        restore(fresh.root, "v1.0.0")
    assert fresh.git("branch", "--show-current") == "main"
    assert list(fresh.md5s()) == ["metrics.json"]


def test_hook_of_dvc_does_no_harm(project: Project) -> None:
    project.dvc("install")
    restore(project.root, "v1.0.0")
    assert is_v1(project)


@pytest.mark.parametrize("name", ["mine.txt", "folder/mine.txt"])
def test_file_that_git_ignores_now_but_the_tag_has_is_not_overwritten(project: Project, name: str) -> None:
    path = project.root / name.split("/")[0]
    path.write_text("published")
    project.commit()
    publish(project.root, "v2.0.0", None, None)
    project.git("rm", "--quiet", "--cached", path.name)
    with (project.root / ".gitignore").open("a") as file:
        file.write(f"/{path.name}\n")
    project.commit()
    path.unlink()
    mine = project.root / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("my own")
    before = project.md5s()
    with pytest.raises(VersionError, match="`git checkout` failed"):
        restore(project.root, "v2.0.0")
    assert mine.read_text() == "my own"
    assert (project.git("branch", "--show-current"), project.md5s()) == ("main", before)


@pytest.mark.parametrize("name", ["other.csv", "tables/mine.csv", "models/mine.txt"])
def test_file_that_is_in_the_way_of_data_is_kept(project: Project, name: str) -> None:
    config, script = project.root / "dvc.yaml", "mkdir -p tables; echo a > other.csv; cp other.csv tables/a.csv"
    text = config.read_text()
    stage = f"stages:\n  other: {{cmd: {script}, outs: [other.csv, tables]}}"
    config.write_text(text.replace("stages:", stage))
    with (project.root / ".gitignore").open("a") as file:
        file.write("/other.csv\n/tables\n")
    project.dvc("repro", "--quiet")
    project.commit()
    publish(project.root, "v2.0.0", None, None)
    config.write_text(text)
    for out in ("other.csv", "tables/a.csv"):
        (project.root / out).unlink()
    project.dvc("repro", "--quiet")
    project.commit()
    mine = project.root / name
    mine.write_text("my own")
    # Nothing of the version is at the last one.
    with nullcontext() if name == "models/mine.txt" else pytest.raises(VersionError):
        restore(project.root, "v2.0.0")
    assert mine.read_text() == "my own"


def test_file_that_is_in_the_way_of_data_is_kept_in_a_fresh_clone(fresh: Project) -> None:
    mine = fresh.root / "table.parquet"
    mine.write_text("my own")
    with pytest.raises(VersionError, match=r"^table\.parquet: changed since DVC saved it"):
        restore(fresh.root, "v1.0.0")
    assert mine.read_text() == "my own"


def test_failed_checkout_goes_back(fresh: Project, caplog: pytest.LogCaptureFixture) -> None:
    # DVC creates no file inside of what is a file.
    (fresh.root / ".git/info/exclude").write_text("/models\n")
    (fresh.root / "models").write_text("in the way")
    with pytest.raises(VersionError, match="`dvc checkout` failed"):
        restore(fresh.root, "v1.0.0")
    assert "going back to main" in caplog.text
    assert fresh.git("branch", "--show-current") == "main"
    assert list(fresh.md5s()) == ["metrics.json"]
    assert (fresh.root / "models").read_text() == "in the way"
    assert not (fresh.root / ".dvc/tmp/restore-reserve").exists()


def test_space_that_cannot_be_reserved_is_refused(project: Project) -> None:
    # A folder where the file should be fails as a full disk does.
    (project.root / ".dvc/tmp/restore-reserve").mkdir()
    with pytest.raises(VersionError, match=r"needs at least 1 MB besides the data: .*; make room, then restore\.$"):
        restore(project.root, "v1.0.0")
    assert project.git("branch", "--show-current") == "main"
