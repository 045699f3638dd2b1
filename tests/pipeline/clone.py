"""A clone of this repository in which real git, DVC and MLflow run."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

if TYPE_CHECKING:
    from mlflow.entities import Run

# Bare DVC's parent run is complete this long after DVC ends, even under coverage or on a busy machine.
COMPLETE_SECONDS = 60.0
ROOT = Path(__file__).parents[2]
STAGES = ("data_load", "featurize", "data_split", "train", "evaluate")
LAUNCHER = ("python", "-m", "src.utils.start_pipeline")
SYNC = ("python", "-m", "src.utils.sync_runs")
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
}


class Clone:
    """Run commands in a repository, and query its MLflow store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        foreign = ("MLFLOW_", "DVC_", "MAKE")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env |= IDENTITY | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *command: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command; `code=None` accepts any exit code."""
        result = subprocess.run(
            command, cwd=self.path, env=self.env | env, capture_output=True, text=True, timeout=600, check=False
        )
        assert code is None or result.returncode == code, (
            f"{command} gave {result.returncode}:\n{result.stdout}\n{result.stderr}"
        )
        return result

    def start(self, *command: str, **env: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stage(self, name: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-m", f"src.stages.{name}", "--config", "params.yaml", code=code, **env)

    def launch(self, *arguments: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(*LAUNCHER, *arguments, code=code, **env)

    def repro(self, *arguments: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run bare `dvc repro`, and wait until the warm server has completed the parent run."""
        result = self.run("dvc", "repro", *arguments, code=code, **env)
        wait_for(lambda: self.parent().info.status != "RUNNING", seconds=COMPLETE_SECONDS)
        return result

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()

    def commit(self, message: str = "Change") -> None:
        self.git("commit", "--quiet", "--all", "--message", message)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def params(self) -> dict[str, Any]:
        params: dict[str, Any] = yaml.safe_load(self.read("params.yaml"))
        return params

    def set_param(self, key: str, value: object) -> None:
        """Change one setting, given by its dotted key."""
        params = self.params()
        *sections, leaf = key.split(".")
        here = params
        for section in sections:
            here = here[section]
        here[leaf] = value
        (self.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def edit(self, name: str, pattern: str, replacement: str) -> None:
        """Replace a regular expression, which must match, in a file."""
        text, n_changes = re.subn(pattern, replacement, self.read(name), flags=re.MULTILINE)
        assert n_changes, f"{pattern} is not in {name}"
        (self.path / name).write_text(text)

    def in_stage(self, name: str, line: str) -> None:
        """Add a line at the beginning of a stage."""
        self.edit(f"src/stages/{name}.py", r'(^def \w+\(config: Config\).*:\n    """.*"""\n)', rf"\1    {line}\n")

    def lock(self) -> str:
        return self.read("dvc.lock")

    def status(self) -> list[str]:
        """List the stages that `dvc status` reports as changed."""
        return sorted(yaml.safe_load(self.run("dvc", "status", "--json").stdout))

    # --- MLflow ---

    @property
    def store(self) -> str:
        return f"sqlite:///{self.path / 'mlflow.db'}"

    def runs(self, query: str = "", store: str | None = None) -> "list[Run]":
        """Search the runs of the experiment, newest first."""
        from mlflow import MlflowClient

        client = MlflowClient(store or self.store)
        experiment = client.get_experiment_by_name("pipeline")
        return list(client.search_runs([experiment.experiment_id], query)) if experiment else []

    def parents(self, store: str | None = None) -> "list[Run]":
        return self.runs("tags.`pipeline.kind` = 'parent'", store)

    def parent(self, store: str | None = None) -> "Run":
        """Return the newest parent run."""
        return self.parents(store)[0]

    def nested(self, parent: "Run", store: str | None = None) -> "dict[str, Run]":
        """Return the nested runs of a parent run by stage."""
        runs = self.runs(f"tags.mlflow.parentRunId = '{parent.info.run_id}'", store)
        return {run.info.run_name: run for run in runs}

    def outcomes(self, parent: "Run | None" = None) -> list[str]:
        """Return the outcome of each stage from a parent run, by default the newest."""
        tags = (parent or self.parent()).data.tags
        return [tags.get(f"stage.{stage}", "-") for stage in STAGES]

    def logged_model(self) -> Path:
        """Return the folder of the only logged model."""
        from mlflow import MlflowClient

        (model,) = MlflowClient(self.store).search_logged_models([self.parent().info.experiment_id])
        return Path(model.artifact_location.removeprefix("file://"))

    def forget_runs(self) -> None:
        """Delete the store, as a user may."""
        for path in self.path.glob("mlflow.db*"):
            path.unlink()
        shutil.rmtree(self.path / "mlruns", ignore_errors=True)


def fresh_clone(path: Path) -> Clone:
    """Copy all files that git does not ignore, and commit them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    clone = Clone(path)
    clone.git("init", "--quiet", "--initial-branch", "main")
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "Clone")
    return clone


def copy_clone(template: Path, path: Path) -> Clone:
    """Copy a repository with its cache, store and journal, and replace absolute paths in them."""
    shutil.copytree(template, path, symlinks=True)
    old, new = str(template), str(path)
    for file in (path / ".dvc" / "tmp" / "pipeline").rglob("*.json"):
        file.write_text(file.read_text().replace(old, new))
    with closing(sqlite3.connect(path / "mlflow.db")) as store, store:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))  # noqa: S608 - constants
    return Clone(path)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def family(pid: int) -> list[psutil.Process]:
    """List a process and its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def signal_group(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Send a signal to a process group, as Ctrl-C in a terminal does."""
    os.killpg(process.pid, number)
