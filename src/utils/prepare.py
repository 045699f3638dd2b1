"""Check the settings and repair damaged files before `dvc repro` runs: `python -m src.utils.prepare`."""

import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking.repair import repair
from src.utils.command import command
from src.utils.outputs import check_outputs


@command
def main() -> None:
    """Check and repair the repository in the working folder."""
    config = load_config(Path("params.yaml"))
    repair(Path.cwd())
    check_outputs(config)


if __name__ == "__main__":
    sys.exit(main())
