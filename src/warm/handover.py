"""A stage's command hands itself over to a warm fork before it imports anything."""

import os
import sys

from src.tracking import names


def hand_over() -> None:
    """Run the command of this process in a warm fork, if there is one, and exit as it did.

    `PIPELINE_WARM` names the folder of the server. Without it, stages of the same DVC process
    share one. Returns where there is none, where this is not `python -m MODULE` without
    options, or where the server refuses: then the command goes on by itself.
    """
    folder = os.environ.get(names.PIPELINE_WARM)
    # While runpy imports the packages above a module, this is what sys.argv begins with.
    if folder == names.COLD or sys.argv[:1] != ["-m"] or sys.orig_argv[1:2] != ["-m"] or sys.platform != "linux":
        return
    # Only here: other platforms lack what it takes.
    from src.warm.client import end_as, run_warm
    from src.warm.driver import server_of_driver
    from src.warm.settings import inherits_files

    if inherits_files():
        return
    folder = folder or server_of_driver()
    if folder == names.COLD:
        return
    status = run_warm(folder, sys.orig_argv[2], sys.orig_argv[3:], forward=True)
    if status is not None:
        end_as(status)
