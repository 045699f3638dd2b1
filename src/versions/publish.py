"""Publish the state of HEAD as a version: `python -m src.versions.publish --tag v1.0.0 [--message TEXT]`.

Data is pushed before the tags, so that anyone who sees a tag can restore it.
"""

import argparse
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from src.config.load import load_config
from src.errors import VersionError
from src.tracking import names
from src.tracking.process import cpu_model
from src.tracking.store import explain, log_traceback, open_store, store_uri
from src.tracking.sync import sync
from src.utils.command import command
from src.utils.exclusive import exclusive
from src.versions.commands import SEMANTIC_VERSION, find_commit, git, list_tags, refuse_changes, show_and_run
from src.versions.lineage import find_parents
from src.versions.revision import WORKSPACE, find_damaged, open_revision, read_revision

logger = logging.getLogger(__name__)


def publish(root: Path, tag: str, message: str | None, experiment_name: str | None) -> None:
    """Push the data, tag HEAD, push the tags, and set the tag on the parent run.

    Args:
        message: First line of the tag; by default `Version` and the tag.
        experiment_name: The MLflow experiment; None records nothing.

    Raises:
        VersionError: The state cannot be published, or a push failed; no tag is left.
        BusyError: Another process publishes or runs stages.
    """
    if not SEMANTIC_VERSION.fullmatch(tag):
        raise VersionError(f"TAG = {tag!r} is not a semantic version; use one such as v1.0.0 or v1.0.0-rc.1.")
    with exclusive(root, "publish"):
        check_publishable(root, tag)
        show_and_run(root, "dvc", "push", "--run-cache")
        revision, text = read_revision(root, "HEAD"), message or f"Version {tag}"
        metrics = [f"{name} {value:.6g}" for name, value in sorted(revision.metrics.items())]
        annotation = "\n".join([text, "", *metrics, "", f"CPU: {cpu_model()}"])
        with _all_or_no_tags(root, [tag, *(f"{model}@{tag}" for model in revision.models)]) as tags:
            git(root, "tag", "--annotate", "--message", annotation, tag)
            for model in revision.models:
                # GTO prints advice to push by hand.
                register = ("gto", "register", model, "HEAD", "--version", tag, "--message", text)
                show_and_run(root, *register, output=subprocess.DEVNULL)
            push_tags(root, tags)
    if experiment_name:
        tag_parent(root, experiment_name, tag)
    logger.info("published %s; anyone can restore it with `make restore TAG=%s`", tag, tag)


def check_publishable(root: Path, tag: str) -> None:
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
    if git(root, "tag", "--list", tag):
        raise VersionError(f"tag {tag} exists already; choose the next version.")
    if here := [name for name in list_tags(root, "HEAD") if SEMANTIC_VERSION.fullmatch(name)]:
        raise VersionError(f"this commit is published already, as {here[0]}.")
    refuse_changes(root, "publish")
    with open_revision(root, WORKSPACE) as repo:
        stale = sorted(repo.status())
    if stale:
        raise VersionError(f"{', '.join(stale)}: stale or not in the cache; run `make pipeline`, then publish.")
    if damaged := find_damaged(root, "HEAD"):
        raise VersionError(
            f"{', '.join(damaged)}: damaged in DVC's cache; delete the file's object there and run "
            "`dvc repro --force` on its stage, then publish."
        )


def push_tags(root: Path, tags: Sequence[str]) -> None:
    """Push all tags to the git remote, or none."""
    remotes = git(root, "remote").splitlines()
    if not remotes:
        logger.warning("there is no git remote: the tag stays in this clone until `git push --tags`")
        return
    remote = "origin" if "origin" in remotes else remotes[0]
    show_and_run(root, "git", "push", "--atomic", "--quiet", remote, *(f"refs/tags/{tag}" for tag in tags))


def tag_parent(root: Path, experiment_name: str, tag: str) -> None:
    """Set a published tag on the parent run of HEAD; log a warning if the store cannot be used."""
    try:
        # Creates the parent run of a state that was pulled.
        sync(root, experiment_name)
        store = open_store(root, experiment_name)
        parents = find_parents(store, root, find_commit(root, "HEAD"))
        if parents:
            # An earlier version with the same results keeps its own run.
            parent = next((run for run in parents if names.GIT_TAG not in run.data.tags), parents[0])
            store.client.set_tag(parent.info.run_id, names.GIT_TAG, tag)
    # The version is already published.
    except Exception as error:
        logger.warning("the parent run does not carry the tag: %s", explain(error, store_uri(root)))
        log_traceback(error, store_uri(root))


@contextmanager
def _all_or_no_tags(root: Path, tags: list[str]) -> Iterator[list[str]]:
    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    # A tag that is left when a terminal closes would block the next attempt.
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield tags
    except BaseException:
        for tag in git(root, "tag", "--list", *tags).splitlines():
            git(root, "tag", "--delete", tag)
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
    options = parser.parse_args()
    find_commit(Path.cwd(), "HEAD")
    tracking = load_config(Path("params.yaml")).tracking
    publish(Path.cwd(), options.tag, options.message, tracking.experiment_name if tracking.enabled else None)


if __name__ == "__main__":
    sys.exit(main())
