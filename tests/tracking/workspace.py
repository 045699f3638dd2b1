"""Sessions, executions and a small repository of real git and DVC, for the tests of tracking."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.tracking.git import GitState
from src.tracking.journal import Session, Snapshot, Visit
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

PARAMS = """\
base:
  target_column: target
  log_level: INFO
split:
  size: 0.25
  nested: {name: train, shuffle: true}
paths:
  train: data/train.parquet
  model: models/model.joblib
"""
DVC_YAML = """\
stages:
  data_split:
    cmd: mkdir -p data && cp table.parquet ${paths.train}
    deps: [table.parquet]
    params: [base.target_column, split.size]
    outs:
      - ${paths.train}
  train:
    cmd:
      - mkdir -p models reports
      - cp fitted.joblib ${ paths.model }
      - cp scores.json reports/metrics.json
      - cp -r pictures reports/${split.nested.name}
    deps: [fitted.joblib, pictures, scores.json, "${paths.train}"]
    params: [split]
    outs:
      - ${paths.model}
    metrics:
      - reports/metrics.json:
          cache: false
    plots:
      - reports/${split.nested.name}
artifacts:
  model:
    path: ${paths.model}
    type: model
  table:
    path: ${paths.train}
    type: dataset
"""
SCORES = {"test_f1_macro": 0.5, "rows": {"train": 4}, "note": "text"}


def dead_key() -> ProcessKey:
    """Give the key of a process of this host that has ended."""
    return ProcessKey(2**22 + 1, 1.0, boot_id(), socket.gethostname())


def foreign_key() -> ProcessKey:
    """Give the key of a process of another host."""
    return ProcessKey(1, 1.0, "another boot", "another-host.example")


def make_session(root: Path, session_id: str = "some", **changes: Any) -> Session:
    """Describe a session that goes on in this process, with some attributes changed."""
    values: dict[str, Any] = {
        "name": "by test",
        "work_root": str(root),
        "owner": own_key(),
        "closed_by_owner": True,
        "before": {},
        "git": GitState("c0ffee", "main", "false"),
        "start_time": 1_000,
    }
    return Session(id=session_id, **values | changes)


def ended_session(root: Path, session_id: str = "some", **changes: Any) -> Session:
    """Describe a session whose process is gone."""
    values: dict[str, Any] = {
        "owner": dead_key(),
        "status": "FINISHED",
        "end_time": 9_000,
        "snapshot": Snapshot(outcomes={"train": "ran"}, metrics={"f1": 0.5}),
    }
    return make_session(root, session_id, **values | changes)


def make_visit(stage: str = "train", **changes: Any) -> Visit:
    """Describe an execution that has finished, with some attributes changed."""
    values: dict[str, Any] = {"process": dead_key(), "start_time": 2_000, "end_time": 5_500, "status": "FINISHED"}
    return Visit(stage=stage, **values | changes)


def runs(store: Store, kind: str | None = None) -> "list[Run]":
    """Search the active runs of the experiment, oldest first."""
    query = f"tags.`pipeline.kind` = '{kind}'" if kind else ""
    return list(store.client.search_runs([store.experiment_id], query, order_by=["start_time ASC"]))


def artifacts(store: Store, run_id: str, folder: str | None = None) -> set[str]:
    return {item.path for item in store.client.list_artifacts(run_id, folder)}


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, env=os.environ | IDENTITY, check=True, capture_output=True, text=True
    ).stdout.strip()


def dvc(root: Path, *arguments: str) -> str:
    environ = os.environ | {"DVC_NO_ANALYTICS": "true"}
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, env=environ, check=True, capture_output=True, text=True
    ).stdout


def write_repository(root: Path) -> None:
    """Write a repository of two stages, run it and commit it."""
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    (root / "pictures" / "deep").mkdir(parents=True)
    (root / "pictures" / "b.svg").write_text("<svg/>")
    (root / "pictures" / "a c.svg").write_text("<svg>é</svg>")
    (root / "pictures" / "deep" / "é.svg").write_text("")
    for name in ("src/__init__.py", "src/data/__init__.py", "src/featurize/features.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "requirements.txt").write_text("dvc==3.67.1\nnumpy==2.4.0\nscikit-learn==1.9.1 ; python_version < '4'\n")
    (root / "scores.json").write_text(json.dumps(SCORES))
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text("/data\n/models\n/reports\n/mlflow.db*\n/mlruns\n")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").touch()
    (root / ".dvc" / ".gitignore").write_text("tmp\ncache\n")
    table = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1, 1, 2, 2], "target": ["x", "x", "y", "y"]})
    table.to_parquet(root / "table.parquet", index=False)
    joblib.dump(make_pipeline(LogisticRegression()).fit(table[["a", "b"]], table["target"]), root / "fitted.joblib")
    git(root, "init", "--quiet", "--initial-branch", "main")
    dvc(root, "repro", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
