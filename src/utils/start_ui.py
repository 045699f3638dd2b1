"""Start MLflow's UI: `python -m src.utils.start_ui [--port PORT]`."""

import argparse
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from src.atomic import atomic_path
from src.config.load import load_config
from src.errors import TrackingError
from src.tracking.store import Store, open_store
from src.tracking.sync import sync
from src.tracking.views import share_runs
from src.utils.command import command

LOG = Path(".dvc/tmp/pipeline/ui.log")
# The address of the UI that is running, for other commands.
ADDRESS = Path(".dvc/tmp/pipeline/ui.address")
# Importing MLflow takes longer on a busy machine.
START_SECONDS = 120.0
END_SECONDS = 10.0


@command
def main(arguments: list[str] | None = None) -> int:
    """Bring MLflow up to date, start the UI, and print the link to the runs once it answers.

    A tracking server has its own UI, so then only the link is printed.
    """
    parser = argparse.ArgumentParser(prog="start_ui", description=__doc__)
    parser.add_argument("--port", type=int, help="local port; by default, each clone has its own")
    options = parser.parse_args(arguments)
    config = load_config(Path("params.yaml"))
    sync(Path.cwd(), config.tracking.experiment_name)
    store = open_store(Path.cwd(), config.tracking.experiment_name)
    page = share_runs(store, config.train)
    if address := store.ui_address:
        sys.stdout.write(f"{address}/{page}\n")
        return 0
    port = _find_port(options.port) if options.port else _usual_port(Path.cwd())
    address = f"http://127.0.0.1:{port}"
    with ended_by_signals(), _serving(_command(store, address)) as server:
        _wait_until_it_answers(server, address)
        with _published(address):
            sys.stdout.write(f"{address}/{page}  (press Ctrl-C to stop)\n")
            sys.stdout.flush()
            raise TrackingError(f"MLflow's UI ended with exit code {server.wait()}; {LOG} says why.")


def _command(store: Store, address: str) -> list[str]:
    port = address.rpartition(":")[2]
    return [
        *(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri),
        *("--host", "127.0.0.1", "--port", port, "--workers", "1", "--uvicorn-opts", "--no-access-log"),
        # Otherwise local clients cannot log to experiments that are created in the UI.
        *("--no-serve-artifacts", "--default-artifact-root", (Path.cwd() / "mlruns").as_uri()),
    ]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn signals into KeyboardInterrupt, also SIGINT, which a shell lets its background jobs ignore."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _serving(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in a process group of its own, and end the whole group."""
    # Jobs, which evaluate language models, would be eight more processes.
    environ = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with LOG.open("wb") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        yield server
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(server.pid, number)
            with suppress(subprocess.TimeoutExpired):
                server.wait(END_SECONDS)


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        if answers(address):
            return
        time.sleep(0.1)
    raise TrackingError(f"MLflow's UI does not answer at {address}; {LOG} says why.")


def _usual_port(root: Path) -> int:
    """Return the same port for a clone each time, if it is free: a browser keeps settings of the UI by address."""
    with suppress(TrackingError):
        return _find_port(20_000 + zlib.crc32(bytes(root)) % 10_000)
    return _find_port(0)


def answers(address: str) -> bool:
    """Return whether MLflow's server at an address of this machine answers."""
    # The proxies of the user do not lead to this machine, and a certificate need not name it.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(*handlers)
    with suppress(OSError, HTTPException), opener.open(f"{address}/health", timeout=5) as answer:
        return bool(answer.read(3) == b"OK")
    return False


@contextmanager
def _published(address: str) -> Iterator[None]:
    with atomic_path(ADDRESS) as partial:
        partial.write_text(address, encoding="ascii")
    try:
        yield
    finally:
        # Another UI of this clone may have replaced it.
        if _read_address(Path()) == address:
            ADDRESS.unlink(missing_ok=True)


def _read_address(root: Path) -> str | None:
    try:
        text = (root / ADDRESS).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"http://127\.0\.0\.1:\d{1,5}", text) else None


def find_ui(root: Path) -> str | None:
    """Return the address of the UI that `make ui` started in a clone; None if none answers."""
    address = _read_address(root)
    return address if address and answers(address) else None


def _find_port(wanted: int) -> int:
    """Return a port if no process listens on it; 0 stands for any."""
    with socket.socket() as probe:
        # A server that has just ended does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise TrackingError(f"port {wanted} cannot be used ({error.strerror}); choose another.") from None
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
