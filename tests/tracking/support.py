"""Sessions, executions and small repositories of real git and DVC, for the tests of tracking and its shell."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# At the first import its handlers take the stream that is current, which must outlive the test.
from dvc.repo import Repo

from src.tracking.git import GitState
from src.tracking.journal import Execution, Session
from src.tracking.lock import LockEntry, digests, read_lock
from src.tracking.process import ProcessKey, boot_id, own_key
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
}
UNREACHABLE = "http://127.0.0.1:9"
UNKNOWN_STORE = "foo://nowhere"

PARAMS = """\
base:
  target_column: target
data_split:
  size: 0.25
train:
  estimator: logreg
"""
DVC_YAML = """\
stages:
  data_split:
    cmd: mkdir -p data && cp table.parquet data/train.parquet
    deps: [table.parquet]
    params: [base.target_column, data_split.size]
    outs: [data/train.parquet]
  train:
    cmd:
      - mkdir -p models reports
      - cp fitted.joblib models/model.joblib
      - cp scores.json reports/metrics.json
      - cp -r pictures reports/plots
    deps: [fitted.joblib, pictures, scores.json, data/train.parquet]
    params: [train.estimator]
    outs: [models/model.joblib]
    metrics:
      - reports/metrics.json: {cache: false}
    plots: [reports/plots]
artifacts:
  model: {path: models/model.joblib, type: model}
  table: {path: data/train.parquet, type: dataset}
"""
SCORES = {"test_f1_macro": 0.5, "rows": {"train": 4}, "note": "text"}


def dead_key() -> ProcessKey:
    """Return the key of a process of this host that has ended."""
    return ProcessKey(2**22 + 1, 1.0, boot_id(), socket.gethostname())


def foreign_key() -> ProcessKey:
    """Return the key of a process of another host."""
    return ProcessKey(1, 1.0, "another boot", "another-host.example")


def make_session(root: Path, session_id: str = "some", **changes: Any) -> Session:
    """Describe a session that runs in this process, with some attributes changed."""
    values: dict[str, Any] = {
        "name": "by test",
        "work_root": str(root),
        "owner": own_key(),
        "launched": True,
        "before": digests(read_lock(root)),
        "git": GitState("c0ffee", "main", "false"),
        "start_time": 1_000,
    }
    return Session(id=session_id, **values | changes)


def ended_session(root: Path, session_id: str = "some", **changes: Any) -> Session:
    """Describe a session that has finished, and whose process is gone."""
    values: dict[str, Any] = {"owner": dead_key(), "status": "FINISHED", "end_time": 9_000}
    return make_session(root, session_id, **values | changes)


def make_execution(stage: str = "train", **changes: Any) -> Execution:
    """Describe an execution that has finished, with some attributes changed."""
    values: dict[str, Any] = {"process": dead_key(), "start_time": 2_000, "end_time": 5_500, "status": "FINISHED"}
    return Execution(stage=stage, **values | changes)


def run_by_dvc(root: Path, stage: str = "train", **changes: Any) -> Execution:
    """Describe an execution as DVC's lock has it: with the sizes of its outputs and its entry."""
    entry: LockEntry = read_lock(root)[stage]
    sizes = {path: size or 0 for path, size in entry.sizes.items()}
    return make_execution(stage, **{"sizes": sizes, "reads": list(entry.deps), "entry": entry} | changes)


def search(store: Store, kind: str | None = None) -> "list[Run]":
    """Search the active runs of the experiment, oldest first."""
    query = f"tags.`pipeline.kind` = '{kind}'" if kind else ""
    return list(store.client.search_runs([store.experiment_id], query, order_by=["start_time ASC"]))


def list_artifacts(store: Store, run_id: str | None, folder: str | None = None) -> set[str]:
    """List all artifacts of a run, also those in folders."""
    found: set[str] = set()
    for item in store.client.list_artifacts(run_id, folder):
        found |= list_artifacts(store, run_id, item.path) if item.is_dir else {item.path}
    return found


def read_artifact(store: Store, run_id: str | None, path: str) -> str:
    return Path(store.client.download_artifacts(run_id, path)).read_text(encoding="utf-8")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, env=os.environ | IDENTITY, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(root: Path, message: str = "Change") -> str:
    """Commit everything; returns the commit."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(root, "rev-parse", "HEAD")


def init_repository(root: Path) -> None:
    """Create an empty repository of git and DVC."""
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").touch()
    (root / ".dvc" / ".gitignore").write_text("tmp\ncache\nconfig.local\n")
    git(root, "init", "--quiet", "--initial-branch", "main")


def reproduce(root: Path, targets: Sequence[str] = (), **options: Any) -> None:
    """Run `dvc repro` in this process, which saves the import of DVC."""
    with contextlib.chdir(root), Repo() as repo:
        repo.reproduce(list(targets) or None, **options)


def write_repository(root: Path) -> None:
    """Write a repository of the stages `data_split` and `train`, run it and commit it."""
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    init_repository(root)
    (root / "pictures" / "deep").mkdir(parents=True)
    (root / "pictures" / "a c.svg").write_text("<svg>é</svg>", encoding="utf-8")
    (root / "pictures" / "deep" / "é.svg").write_text("<svg/>")
    for name in ("__init__.py", "errors.py", "atomic.py", "text.py", "config/__init__.py", "data/__init__.py",
                 "featurize/__init__.py", "featurize/features.py"):  # fmt: skip
        (root / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "src" / name).touch()
    (root / "requirements.txt").write_text("dvc==3.67.1\nnumpy==2.4.0\nscikit-learn==1.9.1 ; python_version < '4'\n")
    (root / "scores.json").write_text(json.dumps(SCORES))
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text("/data\n/models\n/reports/plots\n/mlruns\n")
    table = pd.DataFrame({"a": [0.5, 1.0, 2.0, 3.0], "b": [1, 1, 2, 2], "target": ["x", "x", "y", "y"]})
    table.to_parquet(root / "table.parquet", index=False)
    joblib.dump(make_pipeline(LogisticRegression()).fit(table[["a", "b"]], table["target"]), root / "fitted.joblib")
    reproduce(root)
    commit(root, "Begin")
