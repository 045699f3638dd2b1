"""Copy the runs, models and artifacts of this clone to a server: `python -m src.service.server.import_runs`.

Everything is found again by what does not depend on the store: a run by its session, stage and start or by the tag
with its original id. So an import that was stopped continues, and a second one does nothing.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import TrackingError
from src.service.registry.register import list_versions, named
from src.text import message_of, one_line
from src.tracking import names
from src.tracking.runs import identify
from src.tracking.store import QUIET, explain
from src.utils.command import command

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

# What a server that is busy may take; values that the user has set are kept.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
MAX_BATCH, MAX_METRICS = 100, 500
ANY = 3  # MLflow's ViewType.ALL: also deleted runs
ID = re.compile(r"(?<![0-9a-f])(?:m-)?[0-9a-f]{32}(?![0-9a-f])")
# A link in the description of a parent run, labelled with the start of the id.
LINK = re.compile(r"\[[0-9a-f]{8}\]\(#/experiments/\d+/runs/([0-9a-f]{32})")


@command
def main() -> int:
    """Copy what mlflow.db has and the server has not, with progress."""
    root, uri = Path.cwd(), os.environ.get(names.MLFLOW_TRACKING_URI, "")
    if not uri.startswith(("http://", "https://")):
        raise TrackingError("set MLFLOW_TRACKING_URI to the address of the server, such as http://127.0.0.1:5000.")
    if not (root / "mlflow.db").is_file():
        raise TrackingError("this clone has no mlflow.db: there are no runs to import.")
    counts = import_store(f"sqlite:///{root / 'mlflow.db'}", uri)
    logger.info("imported %s", ", ".join(f"{new} of {total} {what}" for what, (new, total) in counts.items()))
    return 0


def import_store(source: str, target: str) -> dict[str, tuple[int, int]]:
    """Copy all runs, logged models and registered models from one store to another.

    Args:
        source: URI of a database.
        target: Address of a tracking server.

    Returns:
        For each kind, how many were copied now, and how many there are.

    Raises:
        TrackingError: A store cannot be used. What was copied stays, and the next import continues.
    """
    os.environ |= {**PATIENCE, **QUIET, **os.environ}
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return _Import(MlflowClient(source), MlflowClient(target)).run()
    # MLflow's errors, those of requests and of artifact stores share no base class.
    except Exception as error:
        text = explain(error, target, "run `make server-import` again, which continues")
        raise TrackingError(text) from error


@dataclass
class _Import:
    """One import, with the new id of each run and model by its old id."""

    source: "MlflowClient"
    target: "MlflowClient"
    ids: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    experiment_of: dict[str, str] = field(default_factory=dict)  # by the new id of a run

    def run(self) -> dict[str, tuple[int, int]]:
        for experiment in _pages(self.source.search_experiments):
            old = [experiment.experiment_id]
            if self.source.search_runs(old, run_view_type=ANY, max_results=1) or self.source.search_logged_models(old):
                self.experiments[experiment.experiment_id] = self._find_or_create_experiment(experiment)
        counts = self._copy_runs_and_models() if self.experiments else {"runs": (0, 0), "logged models": (0, 0)}
        return {**counts, "registered versions": self._copy_registry()}

    def _copy_runs_and_models(self) -> dict[str, tuple[int, int]]:
        from tqdm import tqdm

        old, new = list(self.experiments), list(self.experiments.values())
        found: list[Run] = list(_pages(self.source.search_runs, experiment_ids=old, run_view_type=ANY))
        runs = [run for run in found if run.info.status in ("FINISHED", "FAILED", "KILLED")]
        # They may change yet.
        if n_running := len(found) - len(runs):
            logger.warning("%d runs have not ended and are left out; run `make sync`, then import again", n_running)
        models: list[LoggedModel] = list(_pages(self.source.search_logged_models, experiment_ids=old))
        models = [model for model in models if str(model.status) in ("READY", "FAILED")]
        # `make sync` takes the newest of equal models.
        models.sort(key=lambda model: (model.creation_timestamp, model.model_id))

        # First all ids, which the other runs refer to.
        runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
        open_runs = self._open_runs(runs, _pages(self.target.search_runs, experiment_ids=new, run_view_type=ANY))
        known = list(_pages(self.target.search_logged_models, experiment_ids=new))
        n_models = sum(self._copy_model(model, known) for model in tqdm(models, "models", unit="model", disable=None))
        scores = _scores_by_run(models)
        for run in tqdm(open_runs, "runs", unit="run", disable=None):
            self._copy_run(run, scores.get(run.info.run_id, {}))
        return {"runs": (len(open_runs), len(runs)), "logged models": (n_models, len(models))}

    def _find_or_create_experiment(self, experiment: Any) -> str:
        """Return the id of the experiment of the same name on the server."""
        found = self.target.get_experiment_by_name(experiment.name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"experiment {experiment.name!r} was deleted on the server; restore or rename it there."
            )
        new = found.experiment_id if found else self.target.create_experiment(experiment.name)
        known = found.tags if found else {}
        for key, value in experiment.tags.items():
            if key not in known:
                self.target.set_experiment_tag(new, key, value)
        return str(new)

    def _map(self, text: str) -> str:
        """Replace old ids in a text by new ones; unknown ids stay."""

        def link(found: re.Match[str]) -> str:
            new = self.ids.get(found[1])
            if new is None:
                return found[0]
            return f"[{new[:8]}](#/experiments/{self.experiment_of[new]}/runs/{new}"

        return ID.sub(lambda found: self.ids.get(found[0], found[0]), LINK.sub(link, text))

    # --- runs ---

    def _open_runs(self, runs: "Sequence[Run]", known: "Iterable[Run]") -> "list[Run]":
        """Find or create each run, and return those that are not complete."""
        by_id: dict[str, Run] = {}
        by_identity: dict[Any, Run] = {}
        for run in known:
            if old := run.data.tags.get(names.IMPORT_RUN):
                by_id[old] = run
            elif identity := identify(run):
                # `make sync` has written it.
                by_identity[identity] = run
        open_runs = []
        for run in runs:
            info, experiment_id = run.info, self.experiments[run.info.experiment_id]
            found = by_id.get(info.run_id) or by_identity.get(identify(run) or ())
            if found is None:
                kept = ("mlflow.user", names.SESSION, names.KIND, names.STAGE, names.CANDIDATE)
                tags = {key: run.data.tags[key] for key in kept if key in run.data.tags}
                found = self.target.create_run(
                    experiment_id,
                    start_time=info.start_time,
                    tags=tags | {names.IMPORT_RUN: info.run_id},
                    run_name=info.run_name,
                )
            self.ids[info.run_id] = found.info.run_id
            self.experiment_of[found.info.run_id] = experiment_id
            is_mine = names.IMPORT_RUN in found.data.tags
            is_deleted = info.lifecycle_stage == "deleted" and found.info.lifecycle_stage != "deleted"
            # It is ended, and deleted, last.
            if is_mine and (found.info.status == "RUNNING" or is_deleted):
                open_runs.append(run)
        return open_runs

    def _copy_run(self, run: "Run", scores: Mapping[tuple[Any, ...], str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        old, new, data = run.info.run_id, self.ids[run.info.run_id], run.data
        for params in _batches([Param(key, value) for key, value in data.params.items()], MAX_BATCH):
            self.target.log_batch(new, params=params)
        history = [each for key in data.metrics for each in self.source.get_metric_history(old, key)]
        metrics = []
        for each in history:
            model = scores.get((each.key, each.value, each.timestamp, each.step))
            extra = {"model_id": self.ids.get(model), "run_id": new} if model else {}
            metrics.append(Metric(each.key, each.value, each.timestamp, each.step, **extra))
        for part in _batches(metrics, MAX_METRICS):
            self.target.log_batch(new, metrics=part)
        self._link_inputs_and_outputs(old, new)
        with _artifacts(run.info.artifact_uri, self.source.tracking_uri) as folder:
            if folder:
                self.target.log_artifacts(new, str(folder))
        tags = [RunTag(key, self._map(value)) for key, value in data.tags.items()]
        for some in _batches(tags, MAX_BATCH):
            self.target.log_batch(new, tags=some)
        self.target.set_terminated(new, run.info.status, run.info.end_time)
        if run.info.lifecycle_stage == "deleted":
            self.target.delete_run(new)

    def _link_inputs_and_outputs(self, old: str, new: str) -> None:
        """Link a run with its datasets and logged models, unless an import that was stopped has done so."""
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        # Runs that a search returns lack their models.
        run: Any
        known: Any
        run, known = (client.get_run(run_id) for client, run_id in ((self.source, old), (self.target, new)))
        if datasets := run.inputs.dataset_inputs:
            self.target.log_inputs(new, datasets=datasets)
        # MLflow refuses to link a model twice.
        linked = {each.model_id for each in known.inputs.model_inputs}
        ids = [self.ids.get(each.model_id) for each in run.inputs.model_inputs]
        if inputs := [LoggedModelInput(each) for each in ids if each and each not in linked]:
            self.target.log_inputs(new, models=inputs)
        linked = {each.model_id for each in known.outputs.model_outputs}
        steps = {self.ids.get(each.model_id): each.step for each in run.outputs.model_outputs}
        if outputs := [LoggedModelOutput(each, step) for each, step in steps.items() if each and each not in linked]:
            self.target.log_outputs(new, outputs)

    # --- logged models ---

    def _copy_model(self, model: "LoggedModel", known: "Iterable[LoggedModel]") -> bool:
        """Copy a logged model, unless the server has it; return whether it was copied."""
        source_run = self.ids.get(model.source_run_id or "")
        found = next((each for each in known if each.tags.get(names.IMPORT_MODEL) == model.model_id), None)
        if found is None and source_run:
            # `make sync` has written it.
            same = (each for each in known if (each.source_run_id, each.name) == (source_run, model.name))
            found = next((each for each in same if names.IMPORT_MODEL not in each.tags), None)
        if found is None:
            found = self.target.create_logged_model(
                self.experiments[model.experiment_id],
                name=model.name,
                source_run_id=source_run,
                tags={
                    names.IMPORT_MODEL: model.model_id,
                    **{key: self._map(value) for key, value in model.tags.items()},
                },
                params=model.params,
                model_type=model.model_type,
            )
        self.ids[model.model_id] = found.model_id
        if str(found.status) == "READY" or str(found.status) == str(model.status):
            return False
        with _artifacts(model.artifact_location, self.source.tracking_uri, copied=True) as folder:
            if folder:
                self._rewrite_ids(folder / "MLmodel")
                self.target.log_model_artifacts(found.model_id, str(folder))
        self.target.finalize_logged_model(found.model_id, model.status)
        return True

    def _rewrite_ids(self, path: Path) -> None:
        """Replace the ids in an MLmodel file, which MLflow reads."""
        if path.is_file():
            path.write_text(self._map(path.read_text(encoding="utf-8")), encoding="utf-8")

    # --- registered models ---

    def _copy_registry(self) -> tuple[int, int]:
        from mlflow.exceptions import MlflowException

        n_copied = n_versions = 0
        refused: dict[str, str] = {}
        for model in _pages(self.source.search_registered_models):
            versions = list_versions(self.source, model.name)[::-1]
            existing = self.target.search_registered_models(named(model.name))
            if not existing:
                self.target.create_registered_model(model.name, dict(model.tags), model.description)
            known = {each.tags.get(names.IMPORT_VERSION): each for each in list_versions(self.target, model.name)}
            numbers = {}
            for version in versions:
                try:
                    number, is_new = self._copy_version(version, known.get(_identify_version(version)))
                except MlflowException as error:
                    # Its source is a path, as in MLflow 2, or its model was left out.
                    if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                        raise
                    refused[f"{one_line(version.name, 100)}/{version.version}"] = message_of(error)
                    continue
                numbers[str(version.version)] = number
                n_copied += is_new
            n_versions += len(versions)
            # Who uses the server may have moved an alias since.
            moved = existing[0].aliases if existing else {}
            for alias, number in self.source.get_registered_model(model.name).aliases.items():
                if alias not in moved and str(number) in numbers:
                    self.target.set_registered_model_alias(model.name, alias, numbers[str(number)])
        if refused:
            shown, (reason, *_) = ", ".join(list(refused)[:5]), refused.values()
            more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
            logger.warning("the server refuses %s%s, left out: %s", shown, more, one_line(reason, 400))
        return n_copied, n_versions

    def _copy_version(self, version: "ModelVersion", found: "ModelVersion | None") -> tuple[str, bool]:
        """Copy a version with its number, if that is free on the server; return its number, and whether it is new."""
        is_new = False
        while found is None or int(found.version) < int(version.version):
            if found is not None:
                # A number that was deleted in this clone, too.
                self.target.delete_model_version(version.name, found.version)
            is_new = True
            found = self.target.create_model_version(
                version.name,
                self._map(str(version.source)),
                run_id=self.ids.get(version.run_id or ""),
                tags={
                    names.IMPORT_VERSION: _identify_version(version),
                    **{key: self._map(value) for key, value in version.tags.items()},
                },
                run_link=version.run_link or None,
                description=version.description or None,
                # The registry of an older client has it in the source only.
                model_id=self.ids.get(version.model_id or str(version.source).removeprefix("models:/")),
            )
        if is_new and str(found.version) != str(version.version):
            logger.warning(
                "version %s of %s is version %s on the server, which had versions already",
                version.version, one_line(version.name, 100), found.version,
            )  # fmt: skip
        return str(found.version), is_new


def _identify_version(version: "ModelVersion") -> str:
    """Identify a version of this clone among those of other clones."""
    return f"{version.version} of {version.source}"


def _scores_by_run(models: "Iterable[LoggedModel]") -> dict[str, dict[tuple[Any, ...], str]]:
    """Return by run which of its metrics belong to which logged model."""
    found: dict[str, dict[tuple[Any, ...], str]] = {}
    for model in models:
        for each in model.metrics or []:
            key = (each.key, each.value, each.timestamp, each.step)
            found.setdefault(each.run_id or "", {})[key] = model.model_id
    return found


def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
    """Yield the results of all pages of a search."""
    token = None
    while True:
        page = search(**arguments, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


@contextmanager
def _artifacts(place: str, tracking_uri: str, *, copied: bool = False) -> Iterator[Path | None]:
    """Get a local folder with all artifacts below a place; None if there are none."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(place, tracking_uri=tracking_uri)
    if not repository.list_artifacts():
        yield None
        return
    is_local = not copied and place.startswith(("file:", "/"))
    with tempfile.TemporaryDirectory() as folder:
        # Without a destination, local files are not copied.
        yield Path(repository.download_artifacts("", None if is_local else folder))  # type: ignore[no-untyped-call]  # it has no types


if __name__ == "__main__":
    sys.exit(main())
