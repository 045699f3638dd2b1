"""Open the report in a browser: `python -m src.utils.open_report`."""

import sys
import webbrowser
from pathlib import Path

from src.config.load import load_config
from src.errors import MissingInputError
from src.utils.command import command


@command
def main() -> int:
    """Print the path of the report, and open it if there is a browser.

    Raises:
        MissingInputError: There is no report.
    """
    path = load_config(Path("params.yaml")).evaluate.report_path
    if not path.is_file():
        raise MissingInputError(f"{path} is missing; run `make pipeline`, or `dvc pull` if it ran elsewhere.")
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
    webbrowser.open(path.resolve().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())
