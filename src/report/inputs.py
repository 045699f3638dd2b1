"""Read what earlier stages wrote for the report, besides their tables and the model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import EmptyDataError
from pydantic import TypeAdapter

from src.config.train import RESULT_COLUMNS
from src.config.yaml_file import read_yaml
from src.data.files import read_json
from src.errors import ConfigError, MissingInputError


def read_candidates(path: Path) -> pd.DataFrame:
    """Read the candidates that stage `train` compared; empty if nothing was searched.

    Returns:
        Columns `estimator`, parameters, `mean`, `std`, `rank` and `chosen`.

    Raises:
        MissingInputError: The file is missing.
    """
    try:
        # Only an empty cell is a parameter that is not set: `null` and `nan` are values.
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except EmptyDataError:
        return pd.DataFrame()
    except FileNotFoundError:
        raise MissingInputError(f"{path} is missing; stage train makes it: run `dvc repro train`.") from None


def sort_candidates(candidates: pd.DataFrame) -> pd.DataFrame:
    """Sort candidates: the chosen one first, and the others by rank."""
    by = [name for name in ("chosen", "rank", "mean") if name in candidates]
    return candidates.sort_values(by, ascending=[name != "chosen" for name in by], ignore_index=True)


def list_candidates(candidates: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """List the estimator and the parameters of each row of `read_candidates`."""
    return [
        (
            str(row["estimator"]),
            {str(name): value for name, value in row.items() if name not in RESULT_COLUMNS and not pd.isna(value)},
        )
        for row in candidates.to_dict("records")
    ]


def read_cv_metrics(path: Path) -> dict[str, float]:
    """Read the scores of the search; empty if nothing was searched.

    Raises:
        MissingInputError: The file is missing or damaged.
    """
    return read_json(path, TypeAdapter(dict[str, float]), made_by="train")


def read_md5s(paths: Iterable[Path], lock_path: Path = Path("dvc.lock")) -> dict[str, str]:
    """Look up the MD5 of files in `dvc.lock`, which DVC updates after each stage.

    Returns:
        MD5 by path, without files of another size than in `dvc.lock`, which a stage wrote without DVC.
    """
    try:
        stages = read_yaml(lock_path).get("stages", {})
        outs = {out["path"]: out for stage in stages.values() for out in stage.get("outs", [])}
    except (ConfigError, AttributeError, KeyError, TypeError):
        # There is none, or it is damaged.
        return {}
    md5s = {}
    for path in paths:
        out = outs.get(path.as_posix(), {})
        if "md5" in out and (path.is_dir() or out.get("size") == path.stat().st_size):
            md5s[path.as_posix()] = out["md5"]
    return md5s
