"""Whether the user's own table is where the settings say."""

from pathlib import Path

from src.config.sources import FileSource, UrlSource
from src.errors import DataError


def check_it_is_there(source: FileSource | UrlSource, path: Path) -> None:
    """Refuse a table that is missing.

    Raises:
        DataError: Says how to bring it.
    """
    if path.exists():
        return
    if Path(f"{path}.dvc").exists():
        raise DataError(f"{path} is missing; bring it back: `dvc checkout {path}.dvc`, or `dvc pull {path}.dvc`.")
    if isinstance(source, UrlSource):
        raise DataError(f"{path} is missing; bring it: `dvc import-url {source.url} {path}`.")
    raise DataError(f"{path} is missing; put your table there and run `dvc add {path}`.")
