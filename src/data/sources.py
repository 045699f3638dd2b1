"""Where rows come from: a table of scikit-learn, or a version of one in a DVC repository."""

import re
from typing import Any

import pandas as pd

from src.config.sources import DvcSource, SklearnSource, Source
from src.errors import DataError


def load_source(source: Source, target_column: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Load the table that the settings name.

    Args:
        source: The section `data_load.source`.
        target_column: Name that a table of scikit-learn gives its target.

    Returns:
        The table, shape (n_rows, n_columns), and what is to be known of its origin.

    Raises:
        DataError: A repository, revision or file cannot be read.
    """
    if isinstance(source, SklearnSource):
        return _load_sklearn(source.name, target_column), {"source.name": f"sklearn.datasets.load_{source.name}"}
    assert isinstance(source, DvcSource)
    return _load_dvc(source)


def clean_column_name(name: str) -> str:
    """Turn a title into an identifier.

    >>> clean_column_name("sepal length (cm)")
    'sepal_length'
    >>> clean_column_name("od280/od315_of_diluted_wines")
    'od280_od315_of_diluted_wines'
    """
    without_unit = re.sub(r"\s*\([^)]*\)", "", name)
    return re.sub(r"\W+", "_", without_unit).strip("_").lower()


def _load_sklearn(name: str, target_column: str) -> pd.DataFrame:
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")(as_frame=True)
    table: pd.DataFrame = bunch.data.rename(columns=clean_column_name)
    if target_column in table.columns:
        raise DataError(f"base.target_column = {target_column!r} is a feature of {name}; choose another name.")
    table[target_column] = bunch.target
    if "target_names" in bunch:
        table[target_column] = bunch.target.map({code: str(name) for code, name in enumerate(bunch.target_names)})
    return table


def _load_dvc(source: DvcSource) -> tuple[pd.DataFrame, dict[str, str]]:
    # DVC takes 0.3 s to import and only this kind of source needs it.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    where = f"{source.path} of {source.repo} at {source.rev}"
    try:
        files: Any = DVCFileSystem(source.repo, rev=source.rev)
        commit = str(files.repo.get_rev())
        with files.open(source.path, "rb") as file:
            table = pd.read_parquet(file)
    except (DvcException, SCMError, OSError, ValueError) as error:
        reason = "; ".join(_reasons(error))
        raise DataError(f"data_load.source: cannot read {where} ({reason}); check path, repo and rev.") from error
    return table, {"source.url": source.repo, "source.rev": source.rev, "source.commit": commit}


def _reasons(error: BaseException | None) -> list[str]:
    """Tell what went wrong, outermost first: DVC calls any fault of git an "SCM error" and keeps the rest inside."""
    reasons = []
    while error is not None:
        reasons.append(" ".join(str(error).split()) or type(error).__name__)
        error = error.__cause__
    return list(dict.fromkeys(reasons))
