"""Commands: clear errors and exit codes, the same for all."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from src.errors import PipelineError
from src.utils.logs import setup_logging

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130

P = ParamSpec("P")


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Give a function the exit codes of a command: 2 with one line for what a user can mend, 130 after Ctrl-C.

    Any other exception is a bug and keeps its traceback.

    Args:
        main: Gives its exit code, None for 0.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        setup_logging("INFO")
        try:
            return main(*args, **kwargs) or 0
        except (PipelineError, OSError) as error:
            # An OSError is the machine's: a full disk, a file without permission.
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return EXIT_USER_ERROR
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    return run
