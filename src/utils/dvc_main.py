"""DVC's command line under the launcher, which starts it and gets the outcomes of the stages.

python -m src.utils.dvc_main FD ARGUMENTS
"""

import json
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

# Messages of DVC, and the outcomes they mean. Their first argument is the stage's name.
MESSAGES = {
    "Running stage '%s':": "ran",
    "Stage '%s' didn't change, skipping": "unchanged",
    "Stage '%s' is cached - skipping run, checking out outputs": "restored",
}
# Environment variable with the file for the outcomes.
OUTCOMES_PATH = "PIPELINE_OUTCOMES"


class Outcomes(logging.Handler):
    """Collect the outcome of each stage from DVC's log, and ask for variables before the first one begins."""

    def __init__(self, launcher: TextIO) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._launcher = launcher

    def emit(self, record: logging.LogRecord) -> None:
        """Store the outcome of a stage, if the record is about one."""
        if record.msg not in MESSAGES or not isinstance(record.args, tuple):
            return
        outcome = MESSAGES[record.msg]
        if outcome == "ran" and "ran" not in self.found.values():
            ask_for_variables(self._launcher)
        self.found[str(record.args[0])] = outcome


def ask_for_variables(launcher: TextIO) -> None:
    """Let the launcher open the parent run, and set the variables with its id."""
    launcher.write("?")
    launcher.flush()
    os.environ |= json.loads(launcher.readline() or "{}")


def main(number: int, arguments: list[str]) -> int:
    """Run DVC when the launcher asks for it, and return its exit code.

    Args:
        number: File descriptor of a socket to the launcher. The launcher sends a line with variables
            as JSON to start DVC, and another one for the stages on request.
        arguments: Arguments of DVC.
    """
    os.set_inheritable(number, False)
    # Before DVC runs, Ctrl-C ends this process without a traceback.
    handler = signal.getsignal(signal.SIGINT)
    if handler == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # DVC reports errors when it runs.
    with suppress(Exception):
        from dvc.repo import Repo

        # Reading the repository imports most of what a run needs.
        with Repo() as repo:
            _ = repo.index.graph, repo.cache.local, repo.stage_cache
    with socket.socket(fileno=number).makefile("rw", encoding="utf-8") as launcher:
        first = launcher.readline()
        if not first:
            return 1
        os.environ |= json.loads(first)
        signal.signal(signal.SIGINT, handler)
        from dvc.cli import main as run_dvc

        outcomes = Outcomes(launcher)
        logging.getLogger("dvc").addHandler(outcomes)
        if {"-q", "--quiet"} & set(arguments):
            # DVC does not log the start of a stage then.
            ask_for_variables(launcher)
        sys.argv = ["dvc", *arguments]
        try:
            code: int = run_dvc(arguments)
        finally:
            if path := os.environ.get(OUTCOMES_PATH):
                Path(path).write_text(json.dumps(outcomes.found), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
