"""Where rows come from: scikit-learn, the user's own file, or a version of one in a DVC repository."""

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.data_load import DataLoad, DvcSource, SklearnSource, UrlSource
from src.data_load.presence import check_exists
from src.data_load.read_file import find_parts, read_file
from src.errors import DataError

# A file that DVC put there may be a link into its cache, which may be shared.
_IN_A_DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?$")


def load_source(
    settings: DataLoad, target_column: str, as_text: Iterable[str] = ()
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Load the table that the settings name.

    Args:
        settings: The section `data_load`.
        target_column: Name that a table of scikit-learn gives its target.
        as_text: Columns that a CSV gives as text even if they look like numbers.

    Returns:
        The table, shape (n_rows, n_columns), and what is to be known of its origin.

    Raises:
        DataError: A file, repository or revision cannot be read.
    """
    source, path = settings.source, settings.external_path
    if isinstance(source, SklearnSource):
        return _load_sklearn(source.name, target_column), {"source.name": f"sklearn.datasets.load_{source.name}"}
    if isinstance(source, DvcSource):
        return _load_dvc(source, as_text)
    check_exists(source, path)
    check_inside_repository(path)
    origin = {"source.path": str(path)}
    if isinstance(source, UrlSource):
        origin["source.url"] = source.url
    return read_file(path, source, as_text), origin


def clean_column_name(name: str) -> str:
    """Turn a title into an identifier.

    >>> clean_column_name("sepal length (cm)")
    'sepal_length'
    >>> clean_column_name("od280/od315_of_diluted_wines")
    'od280_od315_of_diluted_wines'
    """
    without_unit = re.sub(r"\s*\([^)]*\)", "", name)
    return re.sub(r"\W+", "_", without_unit).strip("_").lower()


def check_inside_repository(path: Path) -> None:
    """Refuse what leads out of the repository, also by a link: no other clone would have it.

    Raises:
        DataError: Says where it leads.
    """
    root = Path.cwd().resolve()
    for file in [path, *(find_parts(path) if path.is_dir() else [])]:
        real = file.resolve()
        if not real.is_relative_to(root) and not _IN_A_DVC_CACHE.search(real.as_posix()):
            raise DataError(
                f"{file} leads out of the repository, to {real}: no other clone would have it; copy it to {path}."
            )


def _load_sklearn(name: str, target_column: str) -> pd.DataFrame:
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")(as_frame=True)
    table: pd.DataFrame = bunch.data.rename(columns=clean_column_name)
    if target_column in table.columns:
        raise DataError(f"base.target_column = {target_column!r} is a feature of {name}; choose another name.")
    target: pd.Series = bunch.target
    if "target_names" in bunch:
        target = target.map({code: str(label) for code, label in enumerate(bunch.target_names)})
    return table.assign(**{target_column: target})


def _load_dvc(source: DvcSource, as_text: Iterable[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    # DVC takes 0.3 s to import and only this kind of source needs it.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    where = f"{source.path} of {source.repo} at {source.rev}"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(source.path).name
        try:
            files: Any = DVCFileSystem(source.repo, rev=source.rev)
            commit = str(files.repo.get_rev())
            files.get(source.path, str(copy), recursive=files.isdir(source.path))
            table = read_file(copy, source, as_text, name=source.path)
        except (DataError, DvcException, SCMError, OSError, ValueError) as error:
            reason = "; ".join(_reasons(error)).rstrip(".")
            raise DataError(f"data_load.source: cannot read {where} ({reason}); check path, repo and rev.") from error
    return table, {"source.url": source.repo, "source.rev": source.rev, "source.commit": commit}


def _reasons(error: BaseException | None) -> list[str]:
    """Tell what went wrong, outermost first: DVC calls any fault of git an "SCM error" and keeps the rest inside."""
    reasons = []
    while error is not None:
        reasons.append(" ".join(str(error).split()) or type(error).__name__)
        error = error.__cause__
    return list(dict.fromkeys(reasons))
