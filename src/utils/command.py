"""Commands: clear errors and exit codes, the same for all."""

import sys
from collections.abc import Callable

from src.errors import PipelineError
from src.utils.logs import setup_logging

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command and exit: 2 with one line for what a user can mend, 130 after Ctrl-C.

    Args:
        main: The command; gives its exit code, None for 0.
    """
    setup_logging("INFO")
    try:
        sys.exit(main())
    except (PipelineError, OSError) as error:
        # An OSError is the machine's: a full disk, a file without permission.
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
