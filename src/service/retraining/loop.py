"""Show the whole cycle on iris: `python -m src.service.retraining.loop`.

A model is trained, promoted and served; its requests drift, monitoring finds it, retraining promotes a better model,
and the endpoint changes to it under load. It runs the commands of the make targets, in a temporary clone.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq

from src.errors import PipelineError
from src.new_data.rewrite import rewrite_settings
from src.service.monitoring.monitor import EXIT_DRIFT
from src.utils.command import EXIT_TERMINATED, command
from src.versions.commands import find_commit, git

SEED, N_REQUESTS, SHIFTED, SHIFT, NOISE = 0, 300, "sepal_width", 1.0, 0.1
TARGET, TABLE = "species", Path("data/external/iris.csv")
MODEL = "iris"
# The user's own settings may prevent or slow down what is shown here.
SETTINGS: dict[str, Any] = {
    "train.estimator": "logreg",
    "tracking.enabled": True,
    "serve.poll_seconds": 1,
    "serve.record.sample": 1.0,
}
# Relative to `.dvc`, because DVC can write only ASCII into its config, and a temporary folder may have any name.
DVC_CONFIG = "[core]\n    remote = loop\n['remote \"loop\"']\n    url = ../../storage\n[cache]\n    dir = cache\n"
GIT_CONFIG = "[user]\n    name = Loop\n    email = loop@example.org\n"
PERIOD_SECONDS, WAIT_SECONDS, STOP_SECONDS = 0.1, 120.0, 20.0
# After as many answers of the new model in a row, all workers have it.
N_IN_A_ROW = 10


class Sandbox:
    """A clone in a temporary folder, and the commands that run in it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.path = folder, folder / "clone"
        self._started = time.monotonic()
        # Neither the user's tracking server and keys, nor signatures and hooks of the user's git.
        foreign = ("MLFLOW_", "DVC_", "PIPELINE_", "SERVE_")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "DVC_NO_ANALYTICS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        git(root, "clone", "--quiet", "--no-tags", str(root), str(self.path))
        self._env["GIT_CONFIG_GLOBAL"] = str(folder / "gitconfig")
        (folder / "gitconfig").write_text(GIT_CONFIG)
        self.run("git", "switch", "--quiet", "--force-create", "loop")
        # Otherwise versions would be published into the user's clone.
        self.run("git", "remote", "remove", "origin")
        (self.path / ".dvc" / "config.local").write_text(DVC_CONFIG)

    def say(self, text: str) -> None:
        """Print what happened, with the seconds since the start."""
        seconds = f"{time.monotonic() - self._started:6.1f} s  "
        lines = text.splitlines()
        sys.stdout.write(
            "".join(f"{seconds if i == 0 else ' ' * len(seconds)}{line}\n" for i, line in enumerate(lines))
        )
        sys.stdout.flush()

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run git, or a module of the clone as its make target does, and return what it prints.

        Raises:
            PipelineError: Its exit code is not `code`. Its log was shown.
        """
        with (self.folder / "log").open("w+") as log:
            process = self._start(arguments, subprocess.PIPE, log)
            output = process.communicate()[0]
            if process.returncode != code:
                log.seek(0)
                sys.stderr.write(f"{log.read()}{output}")
                shown = " ".join(arguments)
                raise PipelineError(f"{shown}: exit code {process.returncode} instead of {code}; its log is above.")
        return output

    def serve(self, model: str) -> int:
        """Start the endpoint, and return its port when it answers."""
        path = self.folder / "endpoint.log"
        with path.open("w") as log:
            process = self._start(("src.service.endpoint.start", "--port", "0", "--model", model), log, log)

        def answers() -> bool:
            if process.poll() is not None:
                raise PipelineError(f"the endpoint ended: {path.read_text()}")
            return "serving on http" in path.read_text()

        wait_for(answers, "the endpoint is not ready")
        return int(path.read_text().partition("serving on http://127.0.0.1:")[2].split()[0])

    def _start(self, arguments: Sequence[str], output: IO[str] | int, log: IO[str]) -> "subprocess.Popen[str]":
        program = [*([] if arguments[0] == "git" else [sys.executable, "-m"]), *arguments]
        no_input = subprocess.DEVNULL
        return subprocess.Popen(
            program, cwd=self.path, env=self._env, stdin=no_input, stdout=output, stderr=log, text=True
        )


class Load:
    """Requests at a constant rate in a thread, each with a connection of its own.

    Attributes:
        models: Number of answers by model.
        failures: What failed.
    """

    def __init__(self, send: Callable[[], str]) -> None:
        self.models: Counter[str] = Counter()
        self.failures: list[str] = []
        self._send, self._end = send, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(PERIOD_SECONDS):
            try:
                self.models[self._send()] += 1
            except (PipelineError, OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")


def ask(port: int, path: str, row: Mapping[Any, Any] | None = None, name: str = "load") -> dict[str, Any]:
    """Send one request to the endpoint, a prediction if there is a row."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)) as connection:
        headers = {"Content-Type": "application/json", "X-Request-ID": name}
        connection.request("POST" if row else "GET", path, json.dumps([row]) if row else None, headers)
        response = connection.getresponse()
        content = response.read()
    if response.status != 200:
        raise PipelineError(f"{path} answered {response.status}: {content.decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(content)
    return answer


def make_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return iris, and labelled rows of the same flowers in which one column is measured differently."""
    from sklearn.datasets import load_iris

    data = load_iris(as_frame=True)
    iris = data.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    rng = np.random.default_rng(SEED)
    chosen = rng.integers(len(iris), size=N_REQUESTS)
    drifted = iris.iloc[chosen] + rng.normal(scale=NOISE, size=(N_REQUESTS, iris.shape[1]))
    drifted[SHIFTED] += SHIFT
    species = data.target_names[data.target]
    return iris.assign(**{TARGET: species}), drifted.round(2).assign(**{TARGET: species[chosen]})


def show_cycle(root: Path, sandbox: Sandbox) -> None:
    """Go through the cycle once, and print each step.

    Raises:
        PipelineError: A step failed, or did not do what this cycle is for.
    """
    sandbox.say(f"clone     commit {find_commit(root, 'HEAD')[:9]} into a temporary folder")
    iris, drifted = make_tables()
    path, new = sandbox.folder / TABLE.name, sandbox.folder / "new.csv"
    iris.to_csv(path, index=False)
    drifted.to_csv(new, index=False)
    sandbox.run("src.new_data", "--file", str(path), "--target", TARGET, "--yes")
    params = sandbox.path / "params.yaml"
    params.write_text(rewrite_settings(params.read_text(encoding="utf-8"), SETTINGS), encoding="utf-8")
    sandbox.run("git", "add", f"{TABLE}.dvc", "params.yaml")
    sandbox.run("git", "commit", "--quiet", "--message", "Use iris as a file")
    sandbox.say(f"new-data  set up {TABLE.name}, with {len(iris)} rows")
    sandbox.run("src.utils.start_pipeline", "--name", "loop")
    sandbox.run("git", "commit", "--quiet", "--all", "--message", "Train")
    sandbox.say("pipeline  trained and committed the first model")
    sandbox.say(f"register  the gate judges it\n{sandbox.run('src.service.registry.register')}")
    sandbox.run("src.service.registry.promote")
    sandbox.say(f"promote   {MODEL}/1 is the champion")
    port = sandbox.serve(f"models:/{MODEL}@champion")
    first = ask(port, "/version")["model"]
    sandbox.say(f"serve     {first} answers on port {port}")

    share = share_right(port, drifted)
    sandbox.say(f"traffic   {len(drifted)} requests, {SHIFTED} {SHIFT:g} cm larger than before: {share:.0%} right")
    wait_for(lambda: count_recorded(sandbox.path) >= len(drifted), "the requests were not recorded")
    found = sandbox.run("src.service.monitoring.monitor", code=EXIT_DRIFT)
    sandbox.say(f"monitor   {found.partition('; see ')[0]}")

    row = drifted.drop(columns=TARGET).iloc[0].to_dict()
    with Load(lambda: str(ask(port, "/predict", row)["model"])) as load:
        table = sandbox.run("src.service.retraining.retrain", "--data", str(new))
        tag = sandbox.run("git", "tag", "--list", "v*").strip()
        sandbox.say(f"retrain   {len(drifted)} more labelled rows; the new model is published as {tag}\n{table}")
        streak = 0

        def has_swapped() -> bool:
            nonlocal streak
            streak = streak + 1 if ask(port, "/version")["model"] != first else 0
            return streak == N_IN_A_ROW

        wait_for(has_swapped, f"the endpoint still answers with {first}")
    n_answered = ", ".join(f"{n} by {model}" for model, n in load.models.items())
    sandbox.say(f"swap      under load: {n_answered}, {len(load.failures)} failed")
    if load.failures:
        raise PipelineError(f"{len(load.failures)} requests failed, the first by {load.failures[0]}.")
    about = ask(port, "/version")
    share = share_right(port, drifted)
    sandbox.say(f"version   {about['model']} of commit {about['commit'][:9]}; the same requests: {share:.0%} right")


def share_right(port: int, labelled: pd.DataFrame) -> float:
    """Send each row as a request with an id, and return the share of right predictions."""
    rows = labelled.drop(columns=TARGET).to_dict("records")
    answers = [ask(port, "/predict", row, f"flower-{i}") for i, row in enumerate(rows)]
    return float((labelled[TARGET] == [answer["predictions"][0]["prediction"] for answer in answers]).mean())


def count_recorded(root: Path) -> int:
    """Count the rows in the records of requests, without hidden files, which are being written."""
    return sum(pq.read_metadata(path).num_rows for path in (root / "data" / "requests").glob("*/[!.]*.parquet"))


def wait_for(condition: Callable[[], bool], problem: str) -> None:
    """Wait until a condition is true.

    Raises:
        PipelineError: It takes too long.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise PipelineError(f"{problem} after {WAIT_SECONDS:.0f} s.")
        time.sleep(PERIOD_SECONDS)


@contextmanager
def stopping_children() -> Iterator[None]:
    """Stop all processes that were started meanwhile, also after SIGTERM and SIGHUP."""

    def stop(*_: object) -> None:
        raise SystemExit(EXIT_TERMINATED)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        children = psutil.Process().children()
        family = {process for child in children for process in (child, *child.children(recursive=True))}
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        for process in psutil.wait_procs(family, timeout=STOP_SECONDS)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@command
def main() -> None:
    """Show the cycle, from the command line."""
    root = Path.cwd()
    find_commit(root, "HEAD")
    with tempfile.TemporaryDirectory(prefix="loop-") as folder, stopping_children():
        show_cycle(root, Sandbox(root, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
