"""Whether the user's own table is where the settings say."""

import shlex
from pathlib import Path

from src.config.data_load import FileSource, UrlSource
from src.errors import DataError


def check_exists(source: FileSource | UrlSource, path: Path) -> None:
    """Refuse a table that is missing.

    Raises:
        DataError: Says how to bring it.
    """
    if path.exists():
        return
    quoted, pointer = shlex.quote(str(path)), f"{path}.dvc"
    if Path(pointer).exists():
        known = shlex.quote(pointer)
        raise DataError(f"{path} is missing; bring it back: `dvc checkout {known}`, or `dvc pull {known}`.")
    if isinstance(source, UrlSource):
        raise DataError(f"{path} is missing; bring it: `dvc import-url {shlex.quote(source.url)} {quoted}`.")
    raise DataError(f"{path} is missing; put your table there and run `dvc add {quoted}`.")
