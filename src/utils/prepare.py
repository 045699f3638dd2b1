"""Check the settings and repair damaged files before `dvc repro` runs: `python -m src.utils.prepare`."""

import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking.repair import repair
from src.utils.command import command


@command
def main() -> None:
    """Check and repair the repository in the working folder."""
    load_config(Path("params.yaml"))
    repair(Path.cwd())


if __name__ == "__main__":
    sys.exit(main())
