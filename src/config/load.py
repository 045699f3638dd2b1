"""Read `params.yaml` once and refuse it with every fault at once."""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from src.config.consistency import find_conflicts
from src.config.schema import Config
from src.config.section import Section
from src.config.yaml_file import read_yaml
from src.errors import ConfigError

# Settings that an earlier version of this project called otherwise.
RENAMED = {"data_split.traps": "data_split.checks", "data_split.traps_path": "data_split.checks_path"}


def load_config(path: Path) -> Config:
    """Read and check all settings.

    Args:
        path: The YAML file, usually `params.yaml`.

    Returns:
        The checked settings, one frozen section per stage.

    Raises:
        ConfigError: With every fault: file, key, value got, what is allowed.
    """
    content = read_yaml(path)
    try:
        config = Config.model_validate(content)
        faults = find_conflicts(config)
    except ValidationError as error:
        faults = [line for detail in error.errors() for line in _describe(detail, content)]
    if not faults:
        return config
    if len(faults) == 1:
        raise ConfigError(f"{path}: {faults[0]}.")
    raise ConfigError(f"{path} has {len(faults)} faults:\n" + "\n".join(f"  {fault}" for fault in faults))


def _describe(detail: ErrorDetails, content: dict[str, Any]) -> list[str]:
    """Turn one of pydantic's errors into lines `key = value: what is allowed`."""
    keys = _keys_in_file(detail["loc"], content)
    key = ".".join(map(str, keys))
    kind, got = detail["type"], f"{_without_credentials(repr(detail['input'])):.80}"
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
        if "\n" in message or isinstance(detail["input"], dict):
            prefix = f"{key}." if key else ""
            return [prefix + line for line in message.splitlines()]
        return [f"{key} = {got}: {message}"]
    if kind == "extra_forbidden":
        if new := RENAMED.get(key):
            return [f"{key} is called {new} now; rename it"]
        allowed = sorted({name for model in _sections_at(keys[:-1], content) for name in model.model_fields})
        close = difflib.get_close_matches(str(keys[-1]), allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return [f"{key} = {got}: unknown; {hint}allowed here: {', '.join(allowed)}"]
    if kind == "missing":
        return [f"{key} is missing"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        *kinds, last = [repr(name) for model in _sections_at(keys, content) for name in _kinds(model)]
        chosen = detail["input"].get("kind")
        what = "is missing" if chosen is None else f"= {_without_credentials(repr(chosen)):.80}"
        return [f"{key}.kind {what}: must be {', '.join(kinds)} or {last}"]
    message = detail["msg"].removeprefix("Input ").replace("should be", "must be")
    return [f"{key} = {got}: {message[0].lower()}{message[1:]}"]


def _without_credentials(text: str) -> str:
    text = re.sub(r"(?<=://)[^/\s]*@", "***@", text)
    return re.sub(r"(?<=[?&;])([^=&;\s'\"]+=)[^&;\s'\"]*", r"\1***", text)


def _keys_in_file(loc: tuple[int | str, ...], content: dict[str, Any]) -> tuple[int | str, ...]:
    """Drop what pydantic adds to a location: the chosen kind of a union."""
    keys: list[int | str] = []
    here: Any = content
    for position, key in enumerate(loc):
        present = (isinstance(here, dict) and key in here) or (isinstance(here, list) and isinstance(key, int))
        if not present and position < len(loc) - 1:
            continue
        keys.append(key)
        here = here[key] if present else None
    return tuple(keys)


def _sections_at(keys: tuple[int | str, ...], content: dict[str, Any]) -> list[type[Section]]:
    """Find what the section at `keys` may be; of a union, the kind that was chosen, or all if none was."""
    models: list[type[Section]] = [Config]
    here: Any = content
    for key in keys:
        here = here[key]
        fields = [model.model_fields[str(key)] for model in models if str(key) in model.model_fields]
        models = [model for field in fields for model in _sections_of(field.annotation)] or models
        chosen = [model for model in models if here["kind"] in _kinds(model)] if "kind" in here else []
        models = chosen or models
    return models


def _kinds(model: type[Section]) -> tuple[Any, ...]:
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()


def _sections_of(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _sections_of(part)]
