"""Start a Dask cluster on this machine: `python -m src.utils.start_cluster [--workers 2] [--memory 1GB]`."""

import argparse
import ipaddress
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from src.config.load import load_config
from src.errors import ComputeError, ConfigError
from src.utils.command import command
from src.utils.start_ui import ended_by_signals

logger = logging.getLogger(__name__)

LOGS, SCRATCH = Path(".dvc/tmp/cluster"), Path(".dvc/tmp/cluster/spill")
START_SECONDS, END_SECONDS, POLL_SECONDS = 60.0, 10.0, 0.2


@command
def main(arguments: list[str] | None = None) -> int:
    """Start a scheduler and workers, and stop them at Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m src.utils.start_cluster", description=__doc__)
    parser.add_argument("--workers", default=str(os.cpu_count() or 1), help="processes; by default, one for each core")
    parser.add_argument(
        "--memory", default="auto", help="limit for each worker, such as 1GB; auto divides the memory of this machine"
    )
    options = parser.parse_args(arguments)
    if not re.fullmatch("[1-9][0-9]{0,3}", options.workers):
        raise ConfigError(f"--workers {options.workers} (WORKERS of `make cluster`) is not a number of processes.")
    if not re.fullmatch(r"auto|[0-9]+(\.[0-9]+)? ?[MGT]i?B", options.memory):
        raise ConfigError(f"--memory {options.memory} (MEMORY of `make cluster`) is not a size, such as 1GB.")
    scheduler = load_config(Path("params.yaml")).compute.scheduler
    url = urlsplit(scheduler)
    if not _is_loopback(url.hostname or "") and url.scheme == "tcp":
        logger.warning(
            "anyone who can reach %s can run code as you: use a private network, or tls:// with certificates",
            scheduler,
        )
    _check_free(scheduler, str(url.hostname), int(url.port or 0))
    SCRATCH.mkdir(parents=True, exist_ok=True)
    address = ["--host", str(url.hostname), "--port", str(url.port), "--protocol", url.scheme]
    # By default, the dashboard listens on all addresses.
    address += ["--dashboard-address", f"{url.hostname}:8787"]
    workers = [scheduler, "--nworkers", options.workers, "--nthreads", "1", "--memory-limit", options.memory]
    # Anyone who can reach a worker can run code, too.
    workers += ["--host", str(url.hostname), "--dashboard-address", f"{url.hostname}:0"]
    with ended_by_signals(), ExitStack() as stack:
        commands = {"scheduler": address, "worker": [*workers, "--local-directory", str(SCRATCH)]}
        running = {name: stack.enter_context(_running(name, extra)) for name, extra in commands.items()}
        _wait_for_workers(scheduler, int(options.workers), running)
        sys.stdout.write(f"{scheduler} has {options.workers} workers  (press Ctrl-C to stop)\n")
        sys.stdout.flush()
        while True:
            _check(running)
            time.sleep(POLL_SECONDS)


def _check_free(scheduler: str, host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        # Python adds the address in brackets.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ComputeError(
            f"params.yaml: compute.scheduler = '{scheduler}': cannot listen there ({reason}); stop what runs there, "
            "perhaps another cluster, or choose an address of this machine and a free port."
        ) from None


@contextmanager
def _running(name: str, arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `dask NAME` in its own process group, and stop it at the end."""
    # Both import the code of this project, and each task uses one core.
    environ = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    with (LOGS / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", name, *arguments],
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for_workers(scheduler: str, n_workers: int, running: dict[str, "subprocess.Popen[bytes]"]) -> None:
    from src.compute.cluster import count_workers

    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        _check(running)
        if count_workers(scheduler) >= n_workers:
            return
        time.sleep(POLL_SECONDS)
    raise ComputeError(f"{scheduler} does not have {n_workers} workers after {START_SECONDS:.0f} s; see {LOGS}/*.log.")


def _check(running: dict[str, "subprocess.Popen[bytes]"]) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            lines = (LOGS / f"{name}.log").read_text(encoding="utf-8", errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if re.match(r"\w*(Error|Exception)\b", line)), "")
            raise ComputeError(
                f"dask {name} ended with exit code {process.returncode}{f' ({reason})' if reason else ''}; "
                f"see {LOGS}/{name}.log."
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
