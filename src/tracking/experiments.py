"""DVC's experiments, read from git: what they left stays there when their folder is gone."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from src.tracking.git import Experiment, GitState, copy_files, list_experiments
from src.tracking.journal import Session
from src.tracking.lineage import read_lock, read_stages
from src.tracking.process import own_key


def match_experiments(root: Path, sessions: Sequence[Session]) -> list[Session]:
    """Tell sessions which commit holds their experiment.

    Args:
        root: Root of the main repository.
        sessions: All sessions, oldest first; those of experiments learn their commit.

    Returns:
        A new session for each experiment that has none: no stage ran here, since all were
        restored, or it was pulled.
    """
    known = {session.exp_commit for session in sessions}
    added = []
    for experiment in list_experiments(root):
        if experiment.commit in known:
            continue
        session = next((session for session in reversed(sessions) if _is_of(session, experiment)), None)
        if session is None:
            session = _session_of(root, experiment)
            added.append(session)
        session.exp_commit, session.complete = experiment.commit, False
    return added


@contextmanager
def experiment_files(root: Path, commit: str) -> Iterator[Path]:
    """Lay out an experiment's settings, `dvc.lock` and metrics in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_files(root, commit, ["dvc.yaml", "dvc.lock", "params.yaml"], folder)
        if (folder / "dvc.yaml").exists():
            metrics = [path for stage in read_stages(folder).values() for path in stage.metrics]
            copy_files(root, commit, metrics, folder)
        yield folder


def _is_of(session: Session, experiment: Experiment) -> bool:
    names = (session.exp_name, session.exp_baseline) == (experiment.name, experiment.baseline)
    return names and not session.exp_commit


def _session_of(root: Path, experiment: Experiment) -> Session:
    with tempfile.TemporaryDirectory() as folder:
        copy_files(root, experiment.baseline, ["dvc.lock"], Path(folder))
        before = {name: entry.digest for name, entry in read_lock(Path(folder)).items()}
    return Session(
        id=f"exp-{experiment.commit[:16]}",
        name=experiment.name,
        work_root=str(root),
        owner=own_key(),
        closed_by_owner=True,
        before=before,
        git=GitState(commit=experiment.baseline),
        exp_name=experiment.name,
        exp_baseline=experiment.baseline,
        status="FINISHED",
        start_time=experiment.finished,
        end_time=experiment.finished,
    )
