"""Publish the state of HEAD as a version: `python -m src.versions.publish --tag v1.0.0 [--message TEXT]`.

Data goes first and tags last, in one push: whoever sees the tag can restore it, and a
push that breaks leaves nothing half-published.
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
from src.config.yaml_file import read_yaml
from src.errors import VersionError
from src.tracking.lineage import read_stages
from src.tracking.process import cpu_model
from src.tracking.snapshot import read_metrics
from src.utils.alone import alone
from src.utils.command import command
from src.versions.commands import SEMANTIC_VERSION, ask_dvc, find_commit, git, list_tags, refuse_changes, show_and_run
from src.versions.objects import is_sound, list_files, objects_of
from src.versions.record import tag_parent

logger = logging.getLogger(__name__)


def publish(root: Path, tag: str, message: str | None, experiment_name: str | None) -> None:
    """Push data, tag HEAD, push the tags, and name the tag on the parent run.

    Args:
        root: Root of the repository.
        tag: A semantic version as `v1.0.0`.
        message: First line of the tag; by default the tag itself.
        experiment_name: The MLflow experiment; None records nothing.

    Raises:
        VersionError: The state cannot be published, or a push failed; says why. No tag is left.
        BusyError: Another process publishes, or runs stages.
    """
    if not SEMANTIC_VERSION.fullmatch(tag):
        raise VersionError(f"TAG = {tag!r} is no semantic version; name it as v1.0.0 or v1.0.0-rc.1.")
    with alone(root, "publish"):
        check_publishable(root, tag)
        show_and_run(root, "dvc", "push", "--run-cache")
        models = find_models(root)
        with _all_or_no_tags(root, [tag, *(f"{model}@{tag}" for model in models)]) as tags:
            text = message or f"Version {tag}"
            git(root, "tag", "--annotate", "--message", describe(root, text), tag)
            for model in models:
                # What it prints says to push by hand.
                command = ("gto", "register", model, "HEAD", "--version", tag, "--message", text)
                show_and_run(root, *command, output=subprocess.DEVNULL)
            push_tags(root, tags)
    if experiment_name:
        tag_parent(root, experiment_name, tag)
    logger.info("published %s; anyone restores it with `make restore TAG=%s`", tag, tag)


def check_publishable(root: Path, tag: str) -> None:
    """Refuse what cannot be tagged, or others could not restore.

    Raises:
        VersionError: git knows nobody to make the tag, the tag exists, something is not
            committed, a stage is stale, or the cache lacks an output or holds a damaged one.
    """
    try:
        git(root, "var", "GIT_COMMITTER_IDENT")
    except VersionError as error:
        raise VersionError(
            "git knows no name for you; set `git config user.name …` and `git config user.email …`, then publish."
        ) from error
    if git(root, "tag", "--list", tag):
        raise VersionError(f"tag {tag} exists already; choose the next version.")
    here = [name for name in list_tags(root, "HEAD") if SEMANTIC_VERSION.fullmatch(name)]
    if here:
        raise VersionError(f"this commit is published already, as {here[0]}.")
    refuse_changes(root, "publish")
    stale = ask_dvc(root, "status")
    if stale:
        raise VersionError(f"{', '.join(sorted(stale))}: stale or not in the cache; run `make pipeline`, then publish.")
    damaged = [path for path, md5 in list_files(root, "HEAD").items() if not all(map(is_sound, objects_of(root, md5)))]
    if damaged:
        raise VersionError(
            f"{', '.join(damaged)}: damaged in DVC's cache; delete the file's object there and run "
            "`dvc repro --force` on its stage, then publish."
        )


def find_models(root: Path) -> list[str]:
    """List the artifacts of `dvc.yaml` that are models, by name."""
    artifacts = read_yaml(root / "dvc.yaml").get("artifacts", {})
    return [name for name, artifact in artifacts.items() if artifact.get("type") == "model"]


def describe(root: Path, text: str) -> str:
    """Write the message of the tag: a line, the metrics, and the kind of CPU that made them."""
    metrics = [
        f"{name} {value:.6g}"
        for stage in read_stages(root).values()
        for path in stage.metrics
        for name, value in sorted(read_metrics(root / path).items())
    ]
    return "\n".join([text, "", *metrics, "", f"CPU: {cpu_model()}"])


def push_tags(root: Path, tags: Sequence[str]) -> None:
    """Push tags to the git remote, all or none of them."""
    remotes = git(root, "remote").splitlines()
    if not remotes:
        logger.warning("there is no git remote: the tag stays in this clone until `git push --tags`")
        return
    remote = "origin" if "origin" in remotes else remotes[0]
    show_and_run(root, "git", "push", "--atomic", "--quiet", remote, *(f"refs/tags/{tag}" for tag in tags))


@contextmanager
def _all_or_no_tags(root: Path, tags: list[str]) -> Iterator[list[str]]:
    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    # As Ctrl-C: a terminal that is closed must leave no tag either, or nobody could publish it again.
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield tags
    except BaseException:
        for tag in tags:
            if git(root, "tag", "--list", tag):
                git(root, "tag", "--delete", tag)
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@command
def main() -> None:
    """Publish, from the command line."""
    parser = argparse.ArgumentParser(prog="publish", description=__doc__)
    parser.add_argument("--tag", required=True, help="a semantic version as v1.0.0")
    parser.add_argument("--message", help="first line of the tag")
    options = parser.parse_args()
    find_commit(Path.cwd(), "HEAD")
    tracking = load_config(Path("params.yaml")).tracking
    publish(Path.cwd(), options.tag, options.message, tracking.experiment_name if tracking.enabled else None)


if __name__ == "__main__":
    sys.exit(main())
