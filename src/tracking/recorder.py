"""Record one execution of a stage: in the journal always, in MLflow if it can be reached."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from src.tracking import names
from src.tracking.candidates import CandidateRecord
from src.tracking.journal import Journal, Session, Visit, now
from src.tracking.lineage import get_param, observe_stage, read_model_paths, read_stages
from src.tracking.names import Status
from src.tracking.parent_run import ensure_parent, log_parent
from src.tracking.process import own_key
from src.tracking.session import Place, find_session
from src.tracking.snapshot import flat_params, read_metrics, take_snapshot, worst_status
from src.tracking.stage_run import close_stage_run, open_stage_run
from src.tracking.store import Store, explain, open_store, store_uri
from src.tracking.yaml_cache import read_yaml

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRecord:
    """What a stage tells of itself beyond what `dvc.yaml` already says.

    Attributes:
        metrics: Numbers that are in no metrics file.
        tags: Facts that are in no settings.
        candidates: What a search tried, the best first.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    candidates: Sequence[CandidateRecord] = ()


class Recorder:
    """Follow one execution of a stage. Nothing here stops or fails the stage.

    Args:
        stage: Name of the stage.
        experiment_name: The MLflow experiment.
    """

    def __init__(self, stage: str, experiment_name: str) -> None:
        self._place = Place.of_this_process()
        self._journal = Journal(self._place.main_root)
        self._experiment_name = experiment_name
        self._visit = Visit(stage=stage, process=own_key())
        self._session: Session | None = None
        self._store: Store | None = None
        self._named_run = os.environ.get(names.MLFLOW_RUN_ID)

    def start(self) -> None:
        """Write that the stage began, and open its nested run."""
        if self._attempt(self._begin):
            self._attempt(self._open_run)

    def finish(self, status: Status, record: StageRecord | None = None, traceback: str | None = None) -> None:
        """Write how the stage ended, and close its nested run."""
        self._visit.status, self._visit.end_time, self._visit.traceback = status, now(), traceback
        if self._session and self._attempt(lambda: self._observe(record or StageRecord())) and self._store:
            self._attempt(self._close_run)
        # Another stage of this process must not take this run for its parent.
        os.environ.pop(names.MLFLOW_RUN_ID, None)
        if self._named_run is not None:
            os.environ[names.MLFLOW_RUN_ID] = self._named_run

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Do what may fail without failing the stage; after a failure MLflow is left alone."""
        try:
            action()
        # Whatever goes wrong with the record, training is worth more: MLflow passes on
        # errors of SQLAlchemy, requests and alembic, which share no base.
        except Exception as error:
            self._store = None
            logger.warning("%s", explain(error, store_uri(self._place.main_root)))
            logger.debug("tracking failed", exc_info=True)
            return False
        return True

    def _begin(self) -> None:
        self._session = find_session(self._journal, self._place)
        # MLflow would resume the parent instead of nesting under it.
        os.environ.pop(names.MLFLOW_RUN_ID, None)
        root = self._place.work_root
        params = read_yaml(root / "params.yaml")
        if stage := read_stages(root).get(self._visit.stage):
            keys = stage.params.get("params.yaml", [])
            self._visit.params = flat_params({key: get_param(params, key) for key in keys})
            self._visit.plots = stage.report
            self._visit.models = read_model_paths(root)
        self._journal.write_visit(self._session.id, self._visit)

    def _open_run(self) -> None:
        assert self._session is not None, "begun before"  # noqa: S101 - start() begins first
        self._store = open_store(self._place.main_root, self._experiment_name)
        self._session = ensure_parent(self._store, self._journal, self._session)
        open_stage_run(self._store, self._session, self._visit)
        self._journal.write_visit(self._session.id, self._visit)
        # A stage that calls mlflow.log_metric, or autologging, finds its own run.
        os.environ[names.MLFLOW_RUN_ID] = self._visit.run_id or ""

    def _observe(self, record: StageRecord) -> None:
        assert self._session is not None, "begun before"  # noqa: S101 - finish() asks first
        root, visit = self._place.work_root, self._visit
        visit.tags, visit.metrics = dict(record.tags), dict(record.metrics)
        visit.candidates = list(record.candidates)
        if stage := read_stages(root).get(visit.stage):
            visit.entry = observe_stage(root, stage)
            if visit.status == "FINISHED":
                visit.metrics |= {
                    key: value for path in stage.metrics for key, value in read_metrics(root / path).items()
                }
        self._journal.write_visit(self._session.id, visit)
        if not self._session.closed_by_owner:
            self._leave_session()

    def _leave_session(self) -> None:
        """Leave the session as if this stage were the last: nobody comes after DVC."""
        with self._journal.locked():
            session = self._journal.read_session(self._session.id) if self._session else None
            if session is None:
                return
            visits = self._journal.visits(session.id)
            session.snapshot = take_snapshot(self._place.work_root, session, visits, finished=False, check=False)
            session.status, session.end_time = worst_status(visits), now()
            self._journal.write_session(session)
            self._session = session

    def _close_run(self) -> None:
        assert self._session is not None, "begun before"  # noqa: S101 - finish() asks first
        assert self._store is not None, "opened before"  # noqa: S101 - finish() asks first
        close_stage_run(self._store, self._place, self._visit)
        self._journal.write_visit(self._session.id, self._visit)
        if not self._session.closed_by_owner:
            log_parent(self._store, self._place, self._session)
