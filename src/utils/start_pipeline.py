"""The launcher: one parent run, `dvc repro` under it, and a summary at the end.

`python -m src.utils.start_pipeline [--name NAME] [arguments of dvc repro]`, or
`MLFLOW_RUN_ID=$(python -m src.utils.start_pipeline --open) dvc repro`.
"""

import argparse
import os
import sys
from pathlib import Path

from src.tracking import names
from src.tracking.store import QUIET
from src.utils.child import prepared_dvc
from src.utils.command import command
from src.utils.logs import setup_logging
from src.warm.launch import warm_server


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; gives the exit code of DVC, or 128 + signal after an interruption."""
    parser = argparse.ArgumentParser(prog="start_pipeline", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", help="name of the parent run; by default its time")
    parser.add_argument("--open", action="store_true", help="only open the parent run and print its id")
    parser.add_argument("--config", type=Path, default=Path("params.yaml"), help="the settings")
    options, dvc_arguments = parser.parse_known_args(arguments)
    os.environ |= {**QUIET, "DVC_NO_ANALYTICS": "true"}
    if options.open:
        return _open(options.config, options.name)
    # A run of somebody else is not the parent of this one.
    environ = {name: value for name, value in os.environ.items() if name != names.MLFLOW_RUN_ID}
    with warm_server(["src.utils.parent"]) as server, prepared_dvc(["repro", *dvc_arguments], environ) as run_dvc:
        # Only now: both import, and this process would keep them waiting.
        from src.config.load import load_config
        from src.utils.alone import alone
        from src.utils.pipeline import run_pipeline

        config = load_config(options.config)
        setup_logging(config.base.log_level)
        with alone(Path.cwd(), "pipeline"):
            return run_pipeline(config, run_dvc, server, options.name, dvc_arguments)


def _open(config_path: Path, name: str | None) -> int:
    from src.config.load import load_config
    from src.utils.pipeline import open_parent

    config = load_config(config_path)
    setup_logging(config.base.log_level)
    sys.stdout.write(f"{open_parent(config, name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
