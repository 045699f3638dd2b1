"""DVC's command line under the launcher, which starts it and gets the outcomes of the stages.

python -m src.utils.dvc_main FD ARGUMENTS
"""

import ctypes
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

import psutil

from src.atomic import atomic_path

# Messages of DVC, and the outcomes they mean. Their first argument is the stage's name.
MESSAGES = {
    "Running stage '%s':": "ran",
    "Stage '%s' didn't change, skipping": "unchanged",
    "Stage '%s' is cached - skipping run, checking out outputs": "restored",
}
ADVICE = "Use `dvc push`"
# Environment variable with the file for the outcomes.
OUTCOMES_PATH = "PIPELINE_OUTCOMES"
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}
STOP_INTERVAL = 0.1  # seconds
# Signals of the launcher, and of a terminal that is closed or gets Ctrl-\\.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Modules of DVC that write dvc.lock, rwlock, .gitignore and the configuration.
WRITERS = ("dvc.dvcfile", "dvc.utils.serialize", "dvc.rwlock", "dvc.config", "scmrepo")
# Releases the lock of the repository, runs a stage and takes the lock again.
RELOCKER = ("dvc.stage.decorators", "unlocked_repo.<locals>.wrapper")
PR_SET_PDEATHSIG = 1


class Stop:
    """End DVC and its stage on a signal, but not while DVC writes a file in place or is about to lock.

    Python's default for SIGTERM ends DVC at once and leaves its stage running; its default for
    SIGINT interrupts DVC anywhere.
    """

    def __init__(self) -> None:
        self.requested = False
        self._is_interrupted = False
        self._terminated: set[psutil.Process] = set()
        # All that ran for a stage that was terminated.
        self._family: set[psutil.Process] = set()

    def request(self, number: int, frame: FrameType | None) -> None:
        """Terminate the running stage; without one, interrupt DVC.

        Raises:
            KeyboardInterrupt: DVC neither runs a stage nor is busy.
        """
        self.requested = True
        if self._is_interrupted:
            # DVC is cleaning up.
            return
        # At Ctrl-C the terminal has signaled the stage, too.
        if number != signal.SIGINT and not self._terminate_stages() and not _is_busy(frame):
            self.interrupt()
        # A stage that DVC is just starting is not found yet, and DVC may be busy.
        signal.setitimer(signal.ITIMER_REAL, STOP_INTERVAL)

    def interrupt(self) -> NoReturn:
        """Interrupt DVC once: it must be able to clean up.

        Raises:
            KeyboardInterrupt: Always.
        """
        self._is_interrupted = True
        raise KeyboardInterrupt

    def end(self) -> None:
        """Ignore requests, since DVC has ended, and kill what terminated stages left."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (*ENDING, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        _apply(psutil.Process.kill, psutil.wait_procs(self._family, timeout=1)[1])

    def _terminate_stages(self) -> bool:
        """Terminate the processes of the running stage; return whether there are any."""
        found = _find_stages()
        # A second signal could interrupt a stage that records how it ended.
        if not self._terminated.issuperset(found):
            # All are suspended first: a shell whose child has ended starts the next command.
            family: set[psutil.Process] = set()
            while new := set(psutil.Process().children(recursive=True)) - family:
                _apply(psutil.Process.suspend, new)
                family |= new
            stages = set(_find_stages()) - self._terminated
            _apply(psutil.Process.terminate, stages)
            _apply(psutil.Process.resume, family)
            self._terminated |= stages
            self._family |= family
        return bool(found)


def _apply(action: Callable[[psutil.Process], None], processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            action(process)


def _is_busy(frame: FrameType | None) -> bool:
    """Return whether DVC writes a file in place, or is about to take the lock that it gave up for a stage."""
    while frame:
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(WRITERS) or (module, frame.f_code.co_qualname) == RELOCKER:
            return True
        frame = frame.f_back
    return False


def _find_stages() -> list[psutil.Process]:
    """List the processes of stages: children of DVC, and of the shells that it started."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        found.append(child)
        with suppress(psutil.NoSuchProcess):
            found += child.children() if child.name() in SHELLS else []
    return found


class Outcomes(logging.Handler):
    """Collect the outcome of each stage from DVC's log, and ask for variables before the first one begins."""

    def __init__(self, launcher: TextIO, stop: Stop) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._launcher = launcher
        self._stop = stop

    def emit(self, record: logging.LogRecord) -> None:
        """Store the outcome of a stage, if the record is about one.

        Raises:
            KeyboardInterrupt: DVC must not begin this stage.
        """
        if record.msg not in MESSAGES or not isinstance(record.args, tuple):
            return
        outcome = MESSAGES[record.msg]
        if outcome == "ran" and "ran" not in self.found.values():
            ask_for_variables(self._launcher, self._stop)
        if self._stop.requested:
            self._stop.interrupt()
        self.found[str(record.args[0])] = outcome
        # At once, since DVC may be killed.
        if path := os.environ.get(OUTCOMES_PATH):
            with atomic_path(Path(path)) as partial:
                partial.write_text(json.dumps(self.found), encoding="utf-8")


def ask_for_variables(launcher: TextIO, stop: Stop) -> None:
    """Let the launcher open the parent run, and set the variables with its id.

    Raises:
        KeyboardInterrupt: The launcher has closed the connection, since it stops DVC.
    """
    answer = ""
    with suppress(OSError):
        launcher.write("?")
        launcher.flush()
        answer = launcher.readline()
    if not answer:
        stop.interrupt()
    os.environ |= json.loads(answer)


def hide_advice() -> None:
    """Hide DVC's advice at the end of a run, because the launcher prints a summary."""
    from dvc.ui import ui

    logging.getLogger("dvc.repo.scm_context").setLevel(logging.WARNING)
    write = ui.write

    def write_all_but_advice(*texts: object, **options: object) -> None:
        if not str(texts[0] if texts else "").startswith(ADVICE):
            write(*texts, **options)

    setattr(ui, "write", write_all_but_advice)  # noqa: B010 - mypy refuses an assignment to a method


def _terminate_with_launcher() -> None:
    """Get SIGTERM when the launcher is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main(number: int, arguments: list[str]) -> int:
    """Run DVC when the launcher asks for it, and return its exit code.

    Args:
        number: File descriptor of a socket to the launcher. The launcher sends a line with variables
            as JSON to start DVC, and another one for the stages on request.
        arguments: Arguments of DVC.
    """
    os.set_inheritable(number, False)
    _terminate_with_launcher()
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
        stop = Stop()
        for each in (*ENDING, signal.SIGALRM):
            signal.signal(each, stop.request)
        # A shell lets its background jobs ignore Ctrl-C.
        signal.signal(signal.SIGINT, handler if handler == signal.SIG_IGN else stop.request)
        from dvc.cli import main as run_dvc

        if OUTCOMES_PATH in os.environ:
            hide_advice()
        outcomes = Outcomes(launcher, stop)
        logging.getLogger("dvc").addHandler(outcomes)
        if {"-q", "--quiet"} & set(arguments):
            # DVC does not log the start of a stage then.
            ask_for_variables(launcher, stop)
        sys.argv = ["dvc", *arguments]
        try:
            code: int = run_dvc(arguments)
        finally:
            stop.end()
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
