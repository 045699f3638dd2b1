"""Start MLflow's UI: `python -m src.utils.start_ui [--port PORT]`."""

import argparse
import logging
import os
import socket
import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking.runs import ui_page
from src.tracking.store import open_store
from src.tracking.sync import sync
from src.utils.command import command

logger = logging.getLogger(__name__)


@command
def main(arguments: list[str] | None = None) -> int:
    """Bring MLflow up to date, print the link to the runs, and start the UI.

    A tracking server has its own UI, so then only the link is printed.
    """
    parser = argparse.ArgumentParser(prog="start_ui", description=__doc__)
    parser.add_argument("--port", type=int, help="local port; by default a free one")
    options = parser.parse_args(arguments)
    name = load_config(Path("params.yaml")).tracking.experiment_name
    sync(Path.cwd(), name)
    store = open_store(Path.cwd(), name)
    page = ui_page(f"experiments/{store.experiment_id}")
    if address := store.ui_address:
        sys.stdout.write(f"{address}/{page}\n")
        return 0
    port = options.port or _free_port()
    sys.stdout.write(f"http://127.0.0.1:{port}/{page}  (press Ctrl-C to stop)\n")
    sys.stdout.flush()
    command = ["mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    # Otherwise local clients cannot log to experiments that are created in the UI.
    command += ["--no-serve-artifacts", "--default-artifact-root", (Path.cwd() / "mlruns").as_uri(), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 - no shell is the point
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
