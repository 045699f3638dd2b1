"""Run a command and measure it with everything it started: `python cost.py RESULT COMMAND …`.

Written to the file RESULT: exit code, wall-clock seconds until the command itself ended, CPU seconds (user and
system) of all its processes, also those that outlived it, and the peak memory in MB of the largest one. This script
is small because the kernel counts the peak of a process from that of the one which started it.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def main(result: str, *command: str) -> None:
    """Run the command, wait for all that it left running, and write the result."""
    if sys.platform == "linux":
        # Processes that outlive the command become children of this one.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    code, seconds, cpu_seconds, peak = 0, 0.0, 0.0, 0
    started = time.perf_counter()
    process = subprocess.Popen(command)
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu_seconds += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss)
        if pid == process.pid:
            code = process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - started
    # macOS counts in bytes, Linux in kilobytes.
    megabytes = peak / (2**20 if sys.platform == "darwin" else 2**10)
    Path(result).write_text(
        json.dumps({"code": code, "seconds": seconds, "cpu_seconds": cpu_seconds, "megabytes": megabytes})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
