"""What a fitted model does to its columns and its target, in words."""

from collections.abc import Sequence
from typing import Any

# What each step of scikit-learn does; any other is told by its class.
_WORDS = {
    "FunctionTransformer": "as it is",
    "OneHotEncoder": "one-hot",
    "OrdinalEncoder": "as codes",
    "TargetEncoder": "target encoded",
    "RobustScaler": "scaled (RobustScaler)",
    "StandardScaler": "scaled (StandardScaler)",
}


def describe_preparation(steps: Sequence[Any]) -> str:
    """Tell what is done to each kind of column.

    Args:
        steps: Fitted steps before the estimator; a ColumnTransformer is told by its parts.

    Returns:
        As `number: missing by median, scaled (StandardScaler); category: one-hot`.
    """
    return "; ".join(words for step in steps for words in _of_step(step)) or "none"


def describe_target(estimator: Any) -> str | None:
    """Tell what is done to the target before the fit and undone after it; None for nothing."""
    transformer = getattr(estimator, "transformer_", None)
    return None if transformer is None else _words(transformer)


def _of_step(step: Any) -> list[str]:
    parts = getattr(step, "transformers_", None)
    if parts is None:
        return [_words(step)]
    # A part without columns does nothing.
    return [f"{name.replace('_', ' ')}: {_words(part)}" for name, part, columns in parts if len(columns)]


def _words(step: Any) -> str:
    if isinstance(step, str):
        return {"drop": "left out", "passthrough": "as it is"}[step]
    if hasattr(step, "steps"):
        return ", ".join(_words(part) for _, part in step.steps)
    name, params = type(step).__name__, step.get_params(deep=False)
    if name == "SimpleImputer":
        return f"missing by {params['strategy'].replace('_', ' ')}"
    if name == "FunctionTransformer" and params["func"] is not None and params["func"].__module__ != "numpy":
        return f"by {params['func'].__name__}"
    limit = params.get("max_categories")
    return _WORDS.get(name, name) + (f", at most {limit} levels" if limit else "")
