"""Add labelled rows, train, and promote: `python -m src.service.retraining.retrain --data FILE`.

The pipeline runs in a temporary clone that shares DVC's cache and the MLflow store. Only a result that passes
reaches this clone, by a fast-forward.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

from src.config.load import load_config
from src.config.schema import Config
from src.errors import DataError, TrackingError, VersionError
from src.service.registry.gate import PASSED, REFUSED, Verdict
from src.service.registry.promote import promote
from src.service.registry.register import GATE, explained, list_versions, published_tag, register
from src.service.retraining.rows import add_rows, check_appendable
from src.tracking import names
from src.tracking.git import clean_environment
from src.tracking.store import open_store, store_uri
from src.utils.command import command
from src.utils.exclusive import exclusive
from src.versions.commands import (
    SEMANTIC_VERSION,
    find_commit,
    find_remote,
    git,
    refuse_changes,
    show_and_run,
)
from src.versions.publish import publish
from src.versions.revision import WORKSPACE, open_revision, read_data_remote, refuse_stale

logger = logging.getLogger(__name__)

PARAMS = Path("params.yaml")
# Mark the commit with the results, and the model version that was promoted, so that the next call completes what a
# process that was killed left undone.
TRAILER, COMPLETED = "Retrained-With", "retrain.completed"
EXIT_PROMOTED, EXIT_REFUSED = 0, 1


def retrain(root: Path, data: Path) -> int:
    """Add rows to the table, run the pipeline, and publish and promote the model if it passes the gate.

    If it does not pass, git, the workspace and the aliases stay as they were.

    Args:
        root: Root of the repository, which is the working directory.
        data: File with the new rows.

    Returns:
        0 if the model is the champion, 1 if the gate refused it.

    Raises:
        PipelineError: The rows, or the state of the clone, cannot be used; a step failed; or the branch has moved.
    """
    with exclusive(root, "retrain"):
        config = load_config(PARAMS)
        if version := find_unfinished(root, config):
            logger.info("completing an interrupted retraining")
            return complete(root, version, config)
        check_retrainable(root, config)
        data = data.expanduser().resolve()
        # The experiment must not be created in the temporary clone, which uses the store of this one.
        open_store(root, config.tracking.experiment_name)
        os.environ[names.MLFLOW_TRACKING_URI] = store_uri(root)
        with tempfile.TemporaryDirectory(prefix="retrain-") as folder:
            clone = Path(folder) / "clone"
            _make_clone(root, clone)
            with chdir(clone):
                n_added = add_rows(config, data)
            if not n_added:
                logger.info("the table has all rows of %s already; there is nothing to train", data.name)
                return EXIT_PROMOTED
            judged = _train(clone, config, n_added)
            sys.stdout.write(f"{judged.table.rstrip()}\n")
            if not judged.passed:
                logger.warning(
                    "the gate refused version %s; table, model and champion stay as they were", judged.version
                )
                return EXIT_REFUSED
            git(root, "fetch", "--quiet", "--no-tags", str(clone), "HEAD")
            try:
                git(root, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
            except VersionError as error:
                # Its commit is on no branch, so `make promote` must not take it.
                _refuse(root, judged.version, config)
                raise VersionError(
                    "the branch has moved, or a file has changed, while the model was trained; run `make retrain` "
                    f"again. {error}"
                ) from error
        return complete(root, judged.version, config)


def check_retrainable(root: Path, config: Config) -> None:
    """Check the state of a clone before anything is done.

    Raises:
        PipelineError: A change is not committed, no branch is checked out, DVC has no remote, git's cannot be
            reached, the table is not the user's own, or tracking is disabled.
    """
    path = config.data_load.external_path
    check_appendable(config)
    if not config.tracking.enabled:
        raise TrackingError("tracking.enabled is false in params.yaml, so there is no model to register.")
    refuse_changes(root, "retrain")
    if not git(root, "branch", "--show-current"):
        raise VersionError("no branch is checked out, so there is nowhere to commit; run `git switch main`.")
    if not read_data_remote(root)[1]:
        raise VersionError("DVC has no remote to publish to; set one by `make remote URL=…`.")
    if not Path(f"{path}.dvc").exists():
        raise DataError(f"{path} is not tracked; run `dvc add {path}` and commit {path}.dvc.")
    refuse_stale(root, "retrain")
    # What is trained is published in the end.
    if remote := find_remote(root):
        git(root, "ls-remote", "--tags", remote)


def complete(root: Path, version: str, config: Config) -> int:
    """Publish HEAD, which has a retrained model, and promote version `version` of the model. Idempotent."""
    with open_revision(root, WORKSPACE) as repo:
        is_stale = bool(repo.status())
    if is_stale:
        show_and_run(root, "dvc", "checkout")
    published = published_tag(root, "HEAD")
    tag = published or find_next_version(root)
    # With a git remote, an earlier call may have tagged without pushing.
    if not published or find_remote(root):
        publish(root, tag, None, config.tracking.experiment_name, yes=True)
    promote(root, version)
    store = open_store(root, config.tracking.experiment_name)
    store.client.set_model_version_tag(config.registry.model_name, version, COMPLETED, "true")
    logger.info("version %s of %s is the champion, published as %s", version, config.registry.model_name, tag)
    return EXIT_PROMOTED


def find_unfinished(root: Path, config: Config) -> str:
    """Return the model version of HEAD if an earlier call passed the gate, but was stopped; otherwise empty."""
    if not git(root, "log", "-1", f"--format=%(trailers:key={TRAILER},valueonly)"):
        return ""
    head, name = find_commit(root, "HEAD"), config.registry.model_name
    store = open_store(root, config.tracking.experiment_name)
    found = [
        version
        for version in list_versions(store.client, name)
        if version.tags.get(names.GIT_COMMIT) == head and version.tags.get(GATE) == PASSED
    ]
    return "" if not found or any(COMPLETED in version.tags for version in found) else str(found[0].version)


def find_next_version(root: Path) -> str:
    """Return the version after the highest one, with the next minor number: `v1.3.0` after `v1.2.4`."""
    tags = git(root, "tag", "--list", "v*").splitlines()
    if remote := find_remote(root):
        # Another clone may have published.
        there = git(root, "ls-remote", "--tags", "--refs", remote, "v*").splitlines()
        tags += [line.rpartition("refs/tags/")[2] for line in there]
    published = [tag for tag in tags if SEMANTIC_VERSION.fullmatch(tag)]
    versions = [[int(number) for number in tag[1:].partition("-")[0].split(".")] for tag in published]
    if not versions:
        return "v1.0.0"
    major, minor, _ = max(versions)
    return f"v{major}.{minor + 1}.0"


def _make_clone(root: Path, clone: Path) -> None:
    """Clone a repository without its remotes, with its cache, and with the outputs in the workspace."""
    # The user's hooks are made for other work trees.
    options = ("--quiet", "--shared", "--no-tags", "--config", f"core.hooksPath={os.devnull}")
    show_and_run(root, "git", "clone", *options, str(root), str(clone))
    for name in ("user.name", "user.email"):
        if value := git(root, "config", "--default", "", "--get", name):
            git(clone, "config", name, value)
    # The link avoids letters that DVC cannot write into its config (DVC 3.67: ASCII only).
    link = clone.parent / "cache"
    with open_revision(root, WORKSPACE) as repo:
        link.symlink_to(repo.cache.local_cache_dir)
    show_and_run(clone, "dvc", "cache", "dir", "--local", f"../{link.name}")
    show_and_run(clone, "dvc", "checkout", "--quiet")


def _train(clone: Path, config: Config, n_added: int) -> Verdict:
    """Commit the new table, run the pipeline, register its model, and commit the results."""
    path = config.data_load.external_path
    env = clean_environment()
    show_and_run(clone, "dvc", "add", "--quiet", str(path), env=env)
    git(clone, "commit", "--quiet", "--message", f"Add {n_added} rows to {path.name}", "--", f"{path}.dvc")
    logger.info("running the pipeline on %d more rows", n_added)
    pipeline = [sys.executable, "-m", "src.utils.start_pipeline", "--name", "retrain"]
    result = subprocess.run(pipeline, cwd=clone, env=env, stdout=sys.stderr, check=False)
    if result.returncode:
        raise VersionError(f"the pipeline failed on the new rows with exit code {result.returncode}, see above.")
    message = f"Train with {n_added} more rows\n\n{TRAILER}: {n_added} rows"
    git(clone, "commit", "--quiet", "--all", "--allow-empty", "--message", message)
    with chdir(clone):
        return register(clone, "HEAD")


def _refuse(root: Path, version: str, config: Config) -> None:
    """Mark a version that passed the gate as refused."""
    store = open_store(root, config.tracking.experiment_name)
    with explained(store):
        store.client.set_model_version_tag(config.registry.model_name, version, GATE, REFUSED)


@command
def main() -> int:
    """Retrain, from the command line; exit code 0 if the model was promoted, 1 if the gate refused it."""
    parser = argparse.ArgumentParser(prog="retrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV or Parquet file with labelled rows")
    options = parser.parse_args()
    return retrain(Path.cwd(), options.data)


if __name__ == "__main__":
    sys.exit(main())
