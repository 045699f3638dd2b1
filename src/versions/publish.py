"""Publish the state of HEAD as a version: `python -m src.versions.publish --tag v1.0.0 [--message TEXT] [--yes]`.

Data is pushed before the tags, so that anyone who sees a tag can restore it.
"""

import argparse
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from src.config.load import load_config
from src.errors import VersionError
from src.tracking import names
from src.tracking.process import cpu_model
from src.tracking.store import explain, log_traceback, open_store, store_uri, without_password
from src.tracking.sync import sync
from src.utils.command import command, confirm
from src.utils.exclusive import exclusive
from src.versions.commands import (
    SEMANTIC_VERSION,
    find_commit,
    find_remote,
    git,
    list_tags,
    refuse_changes,
    show_and_run,
)
from src.versions.lineage import find_parents
from src.versions.revision import (
    find_damaged,
    find_uncommitted,
    read_cpu,
    read_data_remote,
    read_revision,
    refuse_stale,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is still to be done for a version.

    Attributes:
        tags: Tags of the version: of the commit, and of each model.
        missing: Those that this clone does not have yet.
        remote: The git remote; None if there is none.
        is_published: Whether the git remote has all tags.
    """

    tags: list[str]
    missing: list[str]
    remote: str | None
    is_published: bool


def publish(root: Path, tag: str, message: str | None, experiment_name: str | None, *, yes: bool = False) -> None:
    """Push the data, tag HEAD, push the tags, and set the tag on the parent run.

    What an earlier attempt has left undone is completed.

    Args:
        message: First line of the tag; by default `Version` and the tag.
        experiment_name: The MLflow experiment; None records nothing.
        yes: Do not ask, even if there is a terminal.

    Raises:
        VersionError: The state cannot be published, the user does not agree, or a push failed; no tag of this
            process is left.
        BusyError: Another process publishes or runs stages.
    """
    if not SEMANTIC_VERSION.fullmatch(tag):
        raise VersionError(f"TAG = {tag!r} is not a semantic version; use one such as v1.0.0 or v1.0.0-rc.1.")
    with exclusive(root, "publish"):
        plan = check_publishable(root, tag)
        if not plan.is_published:
            _confirm(_describe(root, plan), yes)
            show_and_run(root, "dvc", "push", "--run-cache")
            _tag_and_push(root, plan, message or f"Version {tag}")
    if experiment_name:
        tag_parent(root, experiment_name, tag)
    logger.info("published %s; anyone can restore it with `make restore TAG=%s`", tag, tag)
    branch = git(root, "branch", "--show-current")
    if plan.remote and branch and not _is_pushed(root, plan.remote):
        logger.info("branch %s is not in %s yet; push it: git push %s %s", branch, plan.remote, plan.remote, branch)


def check_publishable(root: Path, tag: str) -> Plan:
    """Check that HEAD can be tagged, and that others could restore it.

    Raises:
        VersionError: git does not know the user's name, the tag exists, a file is not committed, a
            stage is stale, or DVC's cache is incomplete or damaged.
    """
    try:
        git(root, "var", "GIT_COMMITTER_IDENT")
    except VersionError as error:
        raise VersionError(
            "git does not know your name; set `git config user.name …` and `git config user.email …`, then publish."
        ) from error
    # Before the remote is asked, which may be slow.
    refuse_changes(root, "publish")
    plan = _plan(root, tag)
    if plan.is_published:
        return plan
    refuse_stale(root, "publish")
    if uncommitted := find_uncommitted(root):
        raise VersionError(
            f"{', '.join(uncommitted[:5])}: DVC uses it, but git ignores it, so others could not restore this version; "
            "commit it after `git add --force`, track it by `dvc add`, or name it in .dvcignore, then publish."
        )
    if damaged := find_damaged(root, "HEAD"):
        raise VersionError(
            f"{', '.join(damaged)}: damaged in DVC's cache; delete the file's object there and run "
            "`dvc repro --force` on its stage, then publish."
        )
    return plan


def _plan(root: Path, tag: str) -> Plan:
    """Compare the tags of a version in this clone with those in the git remote.

    A process that was killed may have left tags in this clone, or in both.
    """
    head, remote = find_commit(root, "HEAD"), find_remote(root)
    tags = [tag, *(f"{model}@{tag}" for model in read_revision(root, "HEAD").models)]
    here = _hashes(git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags/"))
    there = _hashes(git(root, "ls-remote", "--tags", "--refs", remote)) if remote else here
    for name in tags:
        if name in there and there[name] != here.get(name):
            raise VersionError(f"tag {name} exists already in {remote}; choose the next version.")
        if name in here and (not read_cpu(root, tag) or find_commit(root, name, kind="tag") != head):
            finish = f"; or finish it by `make restore TAG={tag}` and `make publish TAG={tag}`"
            unpushed = read_cpu(root, tag) and tag not in there
            raise VersionError(f"tag {name} exists already; choose the next version{finish if unpushed else ''}.")
    for name in list_tags(root, "HEAD"):
        if SEMANTIC_VERSION.fullmatch(name) and name != tag:
            if name in there:
                raise VersionError(f"this commit is published already, as {name}.")
            raise VersionError(
                f"this commit has the tag {name}, which is not in {remote}: finish it by `make publish TAG={name}`, or "
                f"delete it by `git tag --delete {name}`, then publish."
            )
    if remote is None and tag in here:
        raise VersionError(f"tag {tag} exists already; choose the next version.")
    return Plan(tags, [name for name in tags if name not in here], remote, all(name in there for name in tags))


def _hashes(lines: str) -> dict[str, str]:
    """Return the hash of each tag, from lines with a hash and a ref."""
    return {ref.removeprefix("refs/tags/"): md5 for md5, ref in (line.split() for line in lines.splitlines())}


def _describe(root: Path, plan: Plan) -> str:
    """Describe what is pushed where."""
    commit, tags = find_commit(root, "HEAD")[:9], ", ".join(plan.tags)
    name, url = read_data_remote(root)
    data = f"data to DVC's remote {name} ({without_password(url)})"
    if not plan.remote:
        return f"commit {commit}: {data}, tags {tags} in this clone"
    address = without_password(git(root, "remote", "get-url", "--push", plan.remote))
    return f"commit {commit}: {data}, tags {tags} to {plan.remote} ({address})"


def _confirm(plan: str, yes: bool) -> None:
    """Show a plan, and raise a `VersionError` unless the user, if there is a terminal, agrees."""
    answer = True if yes else confirm(f"Publish {plan}?")
    if answer is False:
        raise VersionError("nothing was published.")
    logger.info("publishing %s", plan)


def _tag_and_push(root: Path, plan: Plan, text: str) -> None:
    revision = read_revision(root, "HEAD")
    metrics = [f"{name} {value:.6g}" for name, value in sorted(revision.metrics.items())]
    annotation = "\n".join([text, "", *metrics, "", f"CPU: {cpu_model()}"])
    with _all_or_no_tags(root) as made:
        for name in plan.missing:
            model, _, version = name.rpartition("@")
            if model:
                # GTO prints advice to push by hand.
                register = ("gto", "register", model, "HEAD", "--version", version, "--message", text)
                show_and_run(root, *register, output=subprocess.DEVNULL)
            else:
                git(root, "tag", "--annotate", "--message", annotation, name)
            made.append(name)
        if plan.remote:
            refs = [f"refs/tags/{name}" for name in plan.tags]
            show_and_run(root, "git", "push", "--atomic", "--no-follow-tags", "--quiet", plan.remote, *refs)
        else:
            logger.warning("there is no git remote: the tag stays in this clone until `git push --tags`")


def _is_pushed(root: Path, remote: str) -> bool:
    """Return whether a branch of the remote contains HEAD, as far as this clone knows."""
    return bool(git(root, "for-each-ref", "--count=1", "--contains", "HEAD", f"refs/remotes/{remote}/"))


def tag_parent(root: Path, experiment_name: str, tag: str) -> None:
    """Set a published tag on the parent run and the registered models of HEAD; log a warning if the store fails."""
    try:
        # Creates the parent run of a state that was pulled.
        sync(root, experiment_name)
        store = open_store(root, experiment_name)
        head = find_commit(root, "HEAD")
        parents = find_parents(store, root, head)
        if parents:
            # An earlier version with the same results keeps its own run.
            parent = next((run for run in parents if names.GIT_TAG not in run.data.tags), parents[0])
            store.client.set_tag(parent.info.run_id, names.GIT_TAG, tag)
        for version in store.client.search_model_versions(f"tags.`{names.GIT_COMMIT}` = '{head}'"):
            store.client.set_model_version_tag(version.name, version.version, names.GIT_TAG, tag)
    # The version is already published.
    except Exception as error:
        logger.warning(
            "the parent run and the registered model do not carry the tag: %s", explain(error, store_uri(root))
        )
        log_traceback(error, store_uri(root))


@contextmanager
def _all_or_no_tags(root: Path) -> Iterator[list[str]]:
    """Yield a list for the tags that this process makes; they are deleted if it fails."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    made: list[str] = []
    try:
        yield made
    except BaseException:
        for name in made:
            git(root, "tag", "--delete", name)
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@command
def main() -> None:
    """Publish, from the command line."""
    parser = argparse.ArgumentParser(prog="publish", description=__doc__)
    parser.add_argument("--tag", required=True, help="a semantic version such as v1.0.0")
    parser.add_argument("--message", help="first line of the tag")
    parser.add_argument("--yes", action="store_true", help="do not ask in a terminal")
    options = parser.parse_args()
    find_commit(Path.cwd(), "HEAD")
    tracking = load_config(Path("params.yaml")).tracking
    experiment_name = tracking.experiment_name if tracking.enabled else None
    publish(Path.cwd(), options.tag, options.message, experiment_name, yes=options.yes)


if __name__ == "__main__":
    sys.exit(main())
