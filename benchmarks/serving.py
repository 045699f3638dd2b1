"""Measure the endpoint beside `mlflow models serve`: `python -m benchmarks.serving [--runs N] [--seconds S]`.

Needs `wrk` on the PATH. Both servers get the same rows at `/invocations`, with the same model and as many workers, and
are loaded in turn; each answers labels and checks the columns of every request. What is measured replaces `serving` in
`benchmarks/results.json`, and is printed and written to `docs/benchmarks.md`.
"""

import argparse
import asyncio
import http.client
import io
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml

from benchmarks.bench import RESULTS
from benchmarks.report import describe_machine, write_report
from benchmarks.serving_report import make_table
from benchmarks.workspace import ROOT, Workspace
from src.data.kinds import convert_columns
from src.versions.load import load_model
from tests.pipeline.server import free_port
from tests.tables import tables

N_CONNECTIONS, N_WORKERS = 32, 2
N_ROWS, N_REQUESTS = 10_000, 15
WARM_UP_SECONDS = 2
JSON, PARQUET = "application/json", "application/vnd.apache.parquet"
NAME, ALIAS = "benchmark", "champion"
BOOSTING = {
    "estimator": "hist_gradient_boosting",
    "param_grid": {"hist_gradient_boosting": {"learning_rate": [0.1], "max_iter": [100]}},
}
SCRIPT = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %%d, "seconds": %%.6f, "p50": %%.3f, "p99": %%.3f, "failed": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""

Figures = dict[str, float]


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        port: On loopback.
        process: The first of its processes.
    """

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the user and system time of all its processes."""
        used = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(times.user + times.system for times in used)


@dataclass(frozen=True)
class Answer:
    """An answer that a client got.

    Attributes:
        at: Seconds of the monotonic clock when it was complete.
        ms: Milliseconds since its request.
        model: What predicted; empty if the request failed.
    """

    at: float
    ms: float
    model: str


def measure(folder: Path, n_runs: int, seconds: int) -> dict[str, Any]:
    """Measure everything.

    Args:
        folder: Where the workspaces are made.
        n_runs: Counted runs, of which medians are taken.
        seconds: Length of a run.
    """
    found: dict[str, Any] = {"machine": describe_machine(), "runs": n_runs, "seconds": seconds, "load": {}, "rows": {}}
    for name in ("iris", "penguins"):
        workspace = make_workspace(folder / name, name)
        versions = register(workspace)
        rows = pd.read_parquet(workspace.path / "data/raw/dataset.parquet", columns=list(read_model(workspace)))
        body = json.dumps({"dataframe_split": json.loads(rows.dropna().head(1).to_json(orient="split", index=False))})
        with serve(workspace) as ours:
            with serve_mlflow(workspace) as theirs:
                found["load"][name] = measure_load({"endpoint": ours, "mlflow": theirs}, body, n_runs, seconds, folder)
            found["rows"][name] = measure_rows(workspace, ours, rows)
            if name == "iris":
                found["swap"] = measure_swaps(workspace, ours, body, versions, n_runs)
    return found


def make_workspace(path: Path, name: str) -> Workspace:
    """Clone the repository, and train the model of a table: `iris` with its settings, others with boosting."""
    changes: dict[str, dict[str, Any]] = {"serve": {"workers": N_WORKERS}}
    if name != "iris":
        changes |= yaml.safe_load((ROOT / "tests" / "tables" / f"{name}.yaml").read_text(encoding="utf-8"))
        changes["train"] |= BOOSTING
    workspace = Workspace.clone(path, changes)
    tables.make_table(name, path)
    workspace.python("-m", "src.utils.start_pipeline")
    return workspace


def read_model(workspace: Workspace) -> list[str]:
    """Return the raw columns of the model."""
    return list(load_model(workspace.path, None).feature_names_in_)


def store_of(workspace: Workspace) -> str:
    """Return where a workspace keeps its runs and models."""
    # MLflow keeps the last setting in the environment, so that `store_uri` would return it for the next workspace.
    return f"sqlite:///{workspace.path / 'mlflow.db'}"


def register(workspace: Workspace) -> list[str]:
    """Register the logged model twice, name the first version champion, and return both versions."""
    import mlflow

    uri = store_of(workspace)
    # The registry asks this setting, and not the client's own store, for the logged model.
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    [model] = client.search_logged_models([each.experiment_id for each in client.search_experiments()])
    client.create_registered_model(NAME)
    source = f"models:/{model.model_id}"
    versions = [client.create_model_version(NAME, source, model_id=model.model_id).version for _ in range(2)]
    client.set_registered_model_alias(NAME, ALIAS, versions[0])
    return [str(version) for version in versions]


@contextmanager
def serve(workspace: Workspace) -> Iterator[Server]:
    """Run the endpoint."""
    options = ["-m", "src.service.endpoint.start", "--model", f"models:/{NAME}@{ALIAS}"]
    with running(workspace, options, "/ready") as server:
        yield server


@contextmanager
def serve_mlflow(workspace: Workspace) -> Iterator[Server]:
    """Run MLflow's server on the same model."""
    options = ["-m", "mlflow", "models", "serve", "--model-uri", f"models:/{NAME}@{ALIAS}", "--env-manager", "local"]
    with running(workspace, [*options, "--workers", str(N_WORKERS)], "/ping") as server:
        yield server


@contextmanager
def running(workspace: Workspace, options: list[str], path: str) -> Iterator[Server]:
    """Run `python OPTIONS` until the block ends.

    Args:
        path: Answers 200 when the server is ready.

    Raises:
        RuntimeError: It ended before.
    """
    port = free_port()
    process = workspace.start(*options, "--port", str(port), MLFLOW_TRACKING_URI=store_of(workspace))
    server = Server(port, psutil.Process(process.pid))
    try:
        while not _is_ready(f"http://127.0.0.1:{port}{path}"):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(options)} exited with {process.returncode}")
            time.sleep(0.1)
        yield server
    finally:
        started = server.process.children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait()
        for child in psutil.wait_procs(started, timeout=5)[1]:
            child.terminate()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except OSError:
        return False


def measure_load(servers: dict[str, Server], body: str, n_runs: int, seconds: int, folder: Path) -> dict[str, Figures]:
    """Send single rows on many connections, to each server in turn.

    Returns:
        Medians for each server: those of `parse_wrk`, `cpu_ms` of the server per request, and `others`, the share of
        the machine that processes other than server and `wrk` took.
    """
    script = folder / "post.lua"
    # A text of JSON is one of Lua, as long as it has no escapes of Unicode.
    script.write_text(SCRIPT % json.dumps(body, ensure_ascii=False), encoding="utf-8")
    runs: dict[str, list[Figures]] = {name: [] for name in servers}
    for server in servers.values():
        run_wrk(server, script, WARM_UP_SECONDS)
    for _, (name, server) in itertools.product(range(n_runs), servers.items()):
        before, busy, own, started = server.cpu_seconds(), busy_seconds(), child_seconds(), time.monotonic()
        figures = run_wrk(server, script, seconds)
        cpu_seconds = server.cpu_seconds() - before
        others = busy_seconds() - busy - cpu_seconds - (child_seconds() - own)
        figures["cpu_ms"] = 1000 * cpu_seconds / figures["requests"]
        figures["others"] = others / (time.monotonic() - started) / (psutil.cpu_count() or 1)
        runs[name].append(figures)
        sys.stderr.write(f"  {name}: {figures}\n")
    return {name: medians(figures) for name, figures in runs.items()}


def busy_seconds() -> float:
    """Return the CPU time that the machine has spent."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0) - getattr(times, "guest", 0)


def child_seconds() -> float:
    """Return the CPU time of the children of this process that have ended."""
    times = psutil.Process().cpu_times()
    return times.children_user + times.children_system


def run_wrk(server: Server, script: Path, seconds: int) -> Figures:
    """Load a server with `wrk`."""
    options = ["-t1", f"-c{N_CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
    url = f"http://127.0.0.1:{server.port}/invocations"
    return parse_wrk(subprocess.run(["wrk", *options, url], check=True, capture_output=True, text=True).stdout)


def parse_wrk(output: str) -> Figures:
    """Read what `wrk` and its script wrote.

    Returns:
        `rate` in requests per second, `p50` and `p99` in milliseconds, and the number of `requests`.

    Raises:
        RuntimeError: Requests failed.
    """
    figures: Figures = json.loads(output.splitlines()[-1])
    if failed := figures.pop("failed"):
        raise RuntimeError(f"{failed} requests failed:\n{output}")
    return {"rate": figures["requests"] / figures.pop("seconds")} | figures


def medians(runs: list[Figures]) -> Figures:
    """Return the median of each figure; `failed` is summed."""
    return {
        name: (sum if name == "failed" else statistics.median)(figures[name] for figures in runs) for name in runs[0]
    }


def measure_rows(workspace: Workspace, server: Server, rows: pd.DataFrame) -> Figures:
    """Send many rows in one Parquet request, beside scikit-learn in this process on the same bytes, in turn.

    Returns:
        Medians in milliseconds: `request`, `bare` (read, convert, `model.predict`), and `predict` (the last one alone).
    """
    file = io.BytesIO()
    rows.sample(N_ROWS, replace=True, random_state=0).to_parquet(file, index=False)
    body, model = file.getvalue(), load_model(workspace.path, None)
    columns = model[0].kw_args["columns"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port)

    def request() -> list[Any]:
        connection.request("POST", "/invocations", body, {"Content-Type": PARQUET})
        return list(json.loads(connection.getresponse().read())["predictions"])

    def bare() -> list[Any]:
        return list(model.predict(convert_columns(pd.read_parquet(io.BytesIO(body)), columns)).tolist())

    X = convert_columns(pd.read_parquet(io.BytesIO(body)), columns)
    if request() != bare():
        raise RuntimeError("the endpoint predicts something else")
    ways: dict[str, Callable[[], Any]] = {"request": request, "bare": bare, "predict": lambda: model.predict(X)}
    figures: list[Figures] = []
    for _ in range(N_REQUESTS):
        figures.append({})
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            figures[-1][name] = 1000 * (time.perf_counter() - started)
    connection.close()
    return medians(figures)


def measure_swaps(workspace: Workspace, server: Server, body: str, versions: list[str], n_runs: int) -> Figures:
    """Move the alias to and fro while a client in a process of its own sends single rows.

    Returns:
        Medians of `usual` and `swap`, see `split_swap`, and the numbers of `requests` and `failed`.
    """
    import mlflow

    uri = store_of(workspace)
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    runs = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        for _, version in zip(range(n_runs), itertools.cycle(reversed(versions)), strict=False):
            started = time.monotonic()
            load = process.submit(run_clients, server.port, body, 18)
            time.sleep(8)
            moved = time.monotonic()
            client.set_registered_model_alias(NAME, ALIAS, version)
            answers = load.result()
            # The process, and what it imports, starts in the first run.
            runs.append(split_swap(answers, max(started, answers[0].at) + WARM_UP_SECONDS, moved, f"{NAME}/{version}"))
            sys.stderr.write(f"  swap: {runs[-1]}\n")
    return medians(runs)


def split_swap(answers: list[Answer], since: float, moved: float, new: str) -> Figures:
    """Compare the seconds in which the workers take a new model with those before.

    Args:
        answers: In order of time.
        since: When the load was warm.
        moved: When the alias was moved.
        new: The model that it names now.

    Returns:
        99th percentiles in milliseconds: `usual`, the median of the seconds before, and `swap`, the worst second from
        one before the first answer of the new model to the last answer of the old one. The numbers of `requests` and
        `failed`.

    Raises:
        RuntimeError: No worker took the new model, or one kept the old one.
    """
    first = min((answer.at for answer in answers if answer.model == new), default=None)
    last = max(answer.at for answer in answers if answer.model not in ("", new))
    if first is None or last >= answers[-1].at - 0.5:
        raise RuntimeError(f"not all workers serve {new}")

    def p99s(begin: float, end: float) -> list[float]:
        n_seconds = max(1, int(end - begin))
        seconds = [[each.ms for each in answers if 0 <= each.at - begin - n < 1] for n in range(n_seconds)]
        return [float(np.percentile(second, 99)) for second in seconds if second]

    return {
        "usual": statistics.median(p99s(since, moved)),
        "swap": max(p99s(first - 1, last + 1)),
        "requests": len(answers),
        "failed": sum(not answer.model for answer in answers),
    }


def run_clients(port: int, body: str, seconds: float) -> list[Answer]:
    """Send the same request on many connections, and return the answers in order of time."""
    request = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {len(body.encode())}"
    message = f"{request}\r\n\r\n{body}".encode()
    end, answers = time.monotonic() + seconds, list[Answer]()

    async def run_client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (started := time.monotonic()) < end:
            model = ""
            try:
                writer.write(message)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                content = await reader.readexactly(length)
                if head.startswith(b"HTTP/1.1 200 "):
                    model = json.loads(content)["model"]
            except (OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            now = time.monotonic()
            answers.append(Answer(now, 1000 * (now - started), model))
        writer.close()

    async def run_all() -> None:
        await asyncio.gather(*(run_client() for _ in range(N_CONNECTIONS)))

    asyncio.run(run_all())
    return answers


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, and write the results and the page."""
    parser = argparse.ArgumentParser(prog="serving", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each server")
    parser.add_argument("--seconds", type=int, default=5, help="length of a run")
    parser.add_argument("--dry-run", action="store_true", help="print the table, and write nothing")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        serving = measure(Path(folder), options.runs, options.seconds)
    sys.stdout.write(make_table(serving) + "\n")
    if not options.dry_run:
        results = json.loads(RESULTS.read_text(encoding="utf-8")) | {"serving": serving}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        write_report(results, ROOT / "docs")


if __name__ == "__main__":
    main()
