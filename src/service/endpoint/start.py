"""Serve a model: `python -m src.service.endpoint.start [--model models:/iris@champion | --tag v1.0.0]`."""

import argparse
import contextlib
import ipaddress
import logging
import os
import resource
import socket
import sys
import tempfile
from pathlib import Path

from src.config.load import load_config
from src.errors import ConfigError
from src.utils.command import command

logger = logging.getLogger(__name__)

KEYS = "SERVE_API_KEYS"
BACKLOG, MAX_PORT = 2048, 65_535
# One prediction thread a worker: threads of BLAS and OpenMP would wait for each other.
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# A registry that is down is asked again at the next poll. A progress bar would break the lines of a log.
MLFLOW_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@command
def main() -> None:
    """Serve a model from the command line."""
    parser = argparse.ArgumentParser(prog="python -m src.service.endpoint.start", description=__doc__)
    parser.add_argument("--model", help="registered model, such as models:/iris@champion; an alias is followed")
    parser.add_argument("--tag", help="published version; without either, the model of the workspace")
    parser.add_argument("--host", default="127.0.0.1", help=f"address; any but loopback needs keys in {KEYS}")
    parser.add_argument("--port", default="8000", help="from 1 to 65535, or 0 for any that is free")
    options = parser.parse_args()
    if options.model and options.tag:
        raise ConfigError("set either --model or --tag (MODEL or TAG of `make serve`), not both.")
    config = load_config(Path("params.yaml"))
    keys = [key.strip().encode() for key in os.environ.get(KEYS, "").split(",") if key.strip()]
    if not keys and not _is_loopback(options.host):
        raise ConfigError(
            f"--host {options.host} may be reachable from other machines: set keys, separated by commas, in {KEYS}."
        )
    listener = _listen(options.host, options.port)
    # Each connection is an open file.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for name in SINGLE_THREADED:
        os.environ[name] = "1"
    # Waiting threads of OpenMP spin for microseconds only: by default, two workers with many rows each keep each other
    # from the cores, and take many times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        # What most loads need is imported before the workers fork, and here, because the variables above apply to what
        # is imported after them.
        import skops.io  # noqa: F401 - for the workers

        from src.service.endpoint.workers import Workers

        workers = Workers(listener, config.serve.workers, Path.cwd(), options.model, options.tag, config, keys)
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{listener.getsockname()[1]}"
        workers.run(lambda: logger.info("serving on %s with %d workers", address, config.serve.workers))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: str) -> socket.socket:
    if not (port.isascii() and port.isdecimal() and int(port[:6]) <= MAX_PORT):
        raise ConfigError(f"--port {port} (PORT of `make serve`) is not a port; choose one from 1 to {MAX_PORT}.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds the address in brackets.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}; choose another --port or --host (PORT or HOST of `make serve`)."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
