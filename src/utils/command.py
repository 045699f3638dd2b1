"""Run a function as a command, with exit codes and errors in one line."""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from src.config.load import load_config
from src.errors import PipelineError
from src.text import one_line
from src.tracking import names
from src.tracking.git import LOCAL_VARIABLES
from src.tracking.lock import refuse_replaced
from src.utils.logs import setup_logging
from src.utils.mlflow_run_decorator import StageFunction, Terminated
from src.utils.outputs import check_outputs

# Names and values of a table may be of any length.
MAX_LENGTH = 1000
EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143

P = ParamSpec("P")


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Turn a function into a command: one line on stderr and exit code 2 for what a user can fix, 130 after Ctrl-C.

    Any other exception is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        # Also for what opens a repository in this process, and for its children.
        for name in LOCAL_VARIABLES:
            os.environ.pop(name, None)
        setup_logging("INFO")
        name_user()
        # It is None if it is closed, as by `>&-`.
        sys.stdout = sys.stdout or sys.stderr
        try:
            return main(*args, **kwargs) or 0
        except (PipelineError, OSError) as error:
            # An OSError is for example a full disk.
            lines = f"{type(error).__name__}: {error}".splitlines()
            sys.stderr.writelines(f"{one_line(line, MAX_LENGTH)}\n" for line in lines)
            return EXIT_USER_ERROR
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    return run


def name_user() -> None:
    """Give a name and a home folder to a user that the system does not know, as in `docker run --user 54321`.

    DVC and MLflow end with an error without. Child processes inherit both.
    """
    # As `getpass.getuser` does, which asks the system only if none is set.
    if os.environ.get("HOME") and any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        # Private to this clone, unlike a folder in /tmp.
        for name, value in (("USER", str(os.getuid())), ("HOME", str(Path.cwd() / ".dvc" / "tmp" / "home"))):
            os.environ[name] = os.environ.get(name) or value


def confirm(question: str) -> bool | None:
    """Ask the user a question on stderr; None if there is no terminal to ask in."""
    # Python sets it to None if it is closed.
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def run_stage(stage: StageFunction) -> None:
    """Run a stage as a `command` and exit, with 143 after SIGTERM."""
    parser = argparse.ArgumentParser(prog=f"python -m src.stages.{stage.__name__}", description=stage.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="file with the settings, usually params.yaml")
    sys.exit(_run(stage, parser.parse_args().config))


@command
def _run(stage: StageFunction, config_path: Path) -> int:
    try:
        config = load_config(config_path)
        setup_logging(config.base.log_level)
        if names.DVC_STAGE in os.environ:
            # Outputs of later stages, which DVC has not deleted yet.
            check_outputs(config)
            if stage.__name__ == "evaluate":
                refuse_replaced(Path(), config.train.model_path)
        stage(config)
    except Terminated:
        return EXIT_TERMINATED
    return 0
