"""Warm stages: commands that run as forks of one process that has already imported everything.

Delete this folder, and every command runs as a process of its own.
"""

PIPELINE_WARM = "PIPELINE_WARM"  # environment variable: the folder of the server, or COLD
PIPELINE_CLIENT_PID = "PIPELINE_CLIENT_PID"  # environment variable in a fork: the process that DVC started
COLD = "0"
SOCKET = "socket"
