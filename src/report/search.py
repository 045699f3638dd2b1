"""How the candidates of the search compare."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from pandas.errors import EmptyDataError

from src.config.train import RESULT_COLUMNS
from src.errors import MissingInputError
from src.report.figures import COLOURS, fit_labels, new_axes

N_SHOWN = 30


def read_candidates(path: Path) -> pd.DataFrame:
    """Read the candidates that stage `train` compared; an empty table if there were none.

    Raises:
        MissingInputError: The file is absent.
    """
    try:
        # `null`, `None` and `nan` are values of parameters; where one has none the cell is empty.
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except EmptyDataError:
        return pd.DataFrame()
    except FileNotFoundError:
        raise MissingInputError(f"{path} is missing; stage train makes it: run `dvc repro train`.") from None


def plot_search(candidates: pd.DataFrame, scoring: str) -> Figure | None:
    """Draw the score of the best candidates, with the standard deviation over the folds.

    Args:
        candidates: Columns `estimator`, parameters, perhaps `n_rows`, `mean`, `std` and `rank`.
        scoring: What was measured.

    Returns:
        None if there were not two to compare.
    """
    if "mean" not in candidates or candidates["mean"].notna().sum() < 2:
        return None
    scored = candidates[candidates["mean"].notna()].sort_values(["rank", "mean"], kind="stable")
    shown = scored.head(N_SHOWN)
    of_all = f"best {len(shown)} of {len(scored)}" if len(scored) > len(shown) else f"{len(shown)}"
    title = f"Search: {of_all} candidates"
    x_label = f"{scoring}, mean ± standard deviation over the folds"
    figure, axes = new_axes(8, 1.6 + 0.28 * len(shown), title, x_label, "")
    estimators = list(dict.fromkeys(scored["estimator"]))
    for place, (_, row) in enumerate(shown.iterrows()):
        colour = COLOURS[estimators.index(row["estimator"]) % len(COLOURS)]
        spread = 0.0 if pd.isna(row["std"]) else row["std"]
        axes.errorbar(row["mean"], place, xerr=spread, marker="o", color=colour, capsize=2, linestyle="")
    # What all have alike tells nothing.
    alike = [name for name in scored.columns if name != "estimator" and scored[name].nunique(dropna=False) == 1]
    named = shown.drop(columns=alike)
    names = fit_labels([describe_candidate(row) for _, row in named.iterrows()], 60)
    axes.set_yticks(range(len(shown)), names, parse_math=False, fontsize="small")
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    return figure


def describe_candidate(row: "pd.Series[Any]") -> str:
    """Name a candidate: its estimator and what was set of it."""
    params = {name: value for name, value in row.items() if name not in RESULT_COLUMNS and not pd.isna(value)}
    words = [f"{name}={_short(value)}" for name, value in params.items()]
    return " ".join([str(row["estimator"]).rpartition(".")[2], *words])


def list_params(candidates: pd.DataFrame) -> list[str]:
    """List the parameters that were searched."""
    return [name for name in candidates.columns if name not in RESULT_COLUMNS]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
