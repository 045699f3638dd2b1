"""Expand a grid of settings, such as `train.estimator=knn,svm train.cv=3,5`, with DVC's own Hydra code."""

import difflib
import hashlib
import json
import math
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from src.config.load import parse_config
from src.config.schema import Config
from src.config.yaml_file import parse_yaml, read_text
from src.errors import ConfigError
from src.text import message_of, one_line, show

PARAMS = "params.yaml"
EXAMPLE = 'GRID="train.estimator=knn,svm train.cv=3,5"'
# The journal keeps this many sessions, and with them their times.
MAX_TRIALS = 100
MAX_NAME = 60


@dataclass(frozen=True)
class Trial:
    """One combination of settings.

    Attributes:
        name: Name of the experiment.
        overrides: The settings as `dvc exp run --set-param` takes them.
        settings: Text of each value, by a short name of the setting.
        config: All settings.
    """

    name: str
    overrides: list[str]
    settings: dict[str, str]
    config: Config


def expand(grid: str, params_path: Path, taken: Collection[str] = ()) -> list[Trial]:
    """Return every combination of a grid, with unique names.

    Args:
        grid: Settings separated by spaces, in the syntax of `dvc exp run --set-param`.
        params_path: The file with the other settings.
        taken: Names of branches and tags, which must not be names of experiments as well.

    Raises:
        ConfigError: The grid is empty, wrong or too large, or a combination is not valid.
    """
    combinations = _combine(grid)
    text = read_text(params_path)
    configs = [_apply(list(settings), text) for settings in (combination.values() for combination in combinations)]
    values = [{key: _value_of(override) for key, override in combination.items()} for combination in combinations]
    words = _shorten(list(combinations[0]))
    names = list(_name(values, words))
    counts = Counter(names)
    trials = []
    for name, combination, value, config in zip(names, combinations, values, configs, strict=True):
        if len(name) > MAX_NAME or counts[name] > 1 or name in taken or not name or name.endswith(".lock"):
            digest = hashlib.sha256(json.dumps(list(combination.values())).encode()).hexdigest()[:8]
            name = f"{name[: MAX_NAME - 9]}-{digest}".lstrip("-")
        settings = {words[key]: _show(each) for key, each in value.items()}
        trials.append(Trial(name, list(combination.values()), settings, config))
    return trials


def _combine(grid: str) -> list[dict[str, str]]:
    """Return each combination as one override per setting."""
    from dvc.exceptions import DvcException
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides
    from hydra.core.override_parser.types import ValueType
    from hydra.errors import HydraException

    try:
        overrides = to_path_overrides(shlex.split(grid))
        if not overrides:
            raise ConfigError(f"GRID is empty; name settings and their values, such as {EXAMPLE}.")
        if set(overrides) != {PARAMS}:
            raise ConfigError(f"GRID can change only {PARAMS}, not {', '.join({*overrides} - {PARAMS})}.")
        parsed = to_hydra_overrides(overrides[PARAMS])
        keys = [override.key_or_group for override in parsed]
        if repeated := [key for key, count in Counter(keys).items() if count > 1]:
            raise ConfigError(f"GRID has {repeated[0]} twice; separate its values with commas, such as {EXAMPLE}.")
        # A range may have any number of values. DVC refuses a glob.
        n_trials = math.prod(
            len(list(islice(override.sweep_iterator(), MAX_TRIALS + 1)))
            for override in parsed
            if override.is_discrete_sweep() and override.value_type != ValueType.GLOB_CHOICE_SWEEP
        )
        if n_trials > MAX_TRIALS:
            raise ConfigError(f"GRID has more than {MAX_TRIALS} combinations; name fewer values.")
        sweeps = dict.fromkeys(tuple(sweep[PARAMS]) for sweep in get_hydra_sweeps(overrides))
        return [dict(zip(keys, sweep, strict=True)) for sweep in sweeps]
    except (DvcException, HydraException, ValueError) as error:
        reason = one_line(message_of(error).partition(" See https:")[0].rstrip("."), 300)
        raise ConfigError(f"GRID cannot be read: {reason}. Example: {EXAMPLE}.") from None


def _apply(overrides: Sequence[str], text: str) -> Config:
    """Change settings as DVC will, and check them.

    Args:
        text: Content of `params.yaml`.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides, to_hydra_overrides
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            apply_overrides(path, list(overrides))
        except (DvcException, OmegaConfBaseException) as error:
            known = list(_list_keys(parse_yaml(text, Path(PARAMS))))
            for key in (override.key_or_group for override in to_hydra_overrides(list(overrides))):
                if key not in known:
                    close = difflib.get_close_matches(key, known, n=1)
                    hint = f"did you mean {close[0]}?" if close else "a new one needs a plus sign before its name"
                    raise ConfigError(f"GRID: {PARAMS} has no setting {show(key)}; {hint}") from None
            reason = one_line(message_of(error.__cause__ or error).rstrip("."), 300)
            raise ConfigError(f"GRID: {one_line(shlex.join(overrides), 100)}: {reason}.") from None
        return parse_config(read_text(path), Path(f"{PARAMS} with {one_line(shlex.join(overrides), 100)}"))


def _list_keys(params: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in params.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _list_keys(value, f"{prefix}{key}.")


def _value_of(override: str) -> Any:
    from dvc.utils.hydra import to_hydra_overrides

    return to_hydra_overrides([override])[0].value()


def _shorten(keys: Sequence[str]) -> dict[str, str]:
    """Shorten each dotted key to the fewest last words in which no other key ends.

    >>> _shorten(["train.cv", "train.param_grid.knn.p", "train.param_grid.svm.p"])
    {'train.cv': 'cv', 'train.param_grid.knn.p': 'knn.p', 'train.param_grid.svm.p': 'svm.p'}
    """
    short = {}
    for key in keys:
        words = key.split(".")
        tails = [".".join(words[-count:]) for count in range(1, len(words) + 1)]
        others = [f".{other}" for other in keys if other != key]
        short[key] = next((tail for tail in tails if not any(other.endswith(f".{tail}") for other in others)), key)
    return short


def _name(combinations: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> Iterator[str]:
    """Name each combination by its values, with the setting before a value that does not name it."""
    counts = Counter(text for key in words for text in {_show(values[key]) for values in combinations})
    shared = [text for text, count in counts.items() if count > 1]
    for values in combinations:
        parts = []
        for key, value in values.items():
            items = value if isinstance(value, list) else [value]
            text = "+".join(_make_safe(_show(item)) for item in items)
            is_text = all(isinstance(item, str) for item in items) and value not in shared
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            parts.append(text if is_text else f"{_make_safe(words[key])}{'' if is_number else '_'}{text}")
        yield "-".join(filter(None, parts))


def _make_safe(text: str) -> str:
    """Replace all characters that are special to git, DVC or a shell."""
    return re.sub(r"[^A-Za-z0-9_.]+|\.{2,}", "-", text).strip("-.")


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).replace('"', "")
