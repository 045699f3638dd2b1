"""Classes of estimators, found by their dotted path."""

import importlib
import importlib.util
from typing import Any

from sklearn.base import is_classifier, is_regressor

from src.config.train import Task
from src.errors import ConfigError

# Extras of pyproject.toml that a path may need.
EXTRAS = ("lightgbm",)


def import_class(path: str, task: Task) -> type[Any]:
    """Import a scikit-learn-compatible class and check that it can be used for a task.

    What `params.yaml` names is imported, and so runs: it is as trusted as the code beside it.

    Args:
        path: Dotted path, as `sklearn.naive_bayes.GaussianNB`.
        task: What it must do.

    Raises:
        ConfigError: Nothing can be imported there, or it is no estimator, needs arguments,
            or does the other task.
    """
    found = _import(path)
    where = f"params.yaml: train.estimator = {path!r}"
    missing = [name for name in ("fit", "predict", "get_params", "set_params") if not hasattr(found, name)]
    if not isinstance(found, type) or missing:
        lacks = f", without {', '.join(missing)}" if missing else ""
        raise ConfigError(
            f"{where}: is no scikit-learn estimator but a {type(found).__name__}{lacks}; name a class as "
            "sklearn.naive_bayes.GaussianNB."
        )
    try:
        estimator = found()
    except TypeError as error:
        raise ConfigError(
            f"{where}: cannot be made without arguments ({error}); write a class that needs none around it."
        ) from error
    does_it = is_classifier(estimator) if task == "classification" else is_regressor(estimator)
    if not does_it:
        raise ConfigError(f"{where}: does no {task}, which is base.task; choose another class or task.")
    return found


def _import(path: str) -> Any:
    where = f"params.yaml: train.estimator = {path!r}"
    module, _, name = path.rpartition(".")
    package = path.partition(".")[0]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if package in EXTRAS and error.name == package:
            raise ConfigError(
                f"{package} is not installed: run `.venv/bin/python -m pip install 'lightgbm>=4.6,<5'`, or choose "
                "hist_gradient_boosting, which needs nothing more."
            ) from error
        raise ConfigError(f"{where}: cannot be imported ({error}); install it, or mend the path.") from error
    except AttributeError as error:
        raise ConfigError(f"{where}: cannot be imported ({error}); mend the path.") from error
    # A module of somebody else may raise anything while it is imported.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{where}: cannot be imported ({reason}); mend what it names.") from error
