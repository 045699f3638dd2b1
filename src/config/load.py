"""Read `params.yaml` once and refuse it with every fault at once."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from src.config.schema import Config, Section
from src.errors import ConfigError


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML reads `1e-3` as text (YAML 1.1); DVC reads a number (YAML 1.2)."""


_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: The file is missing, empty, not YAML or not a mapping.
    """
    try:
        # An explicit SafeLoader subclass: it builds plain values only.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Yaml12Loader)  # noqa: S506
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; run this in the root of the repository.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{where}: not YAML: {reason}.") from None
    if content is None:
        raise ConfigError(f"{path} is empty; `git checkout {path}` brings it back.")
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not sections with keys.")
    return content


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
        return Config.model_validate(content)
    except ValidationError as error:
        faults = [line for detail in error.errors() for line in _describe(detail, content)]
    if len(faults) == 1:
        raise ConfigError(f"{path}: {faults[0]}.")
    raise ConfigError(f"{path} has {len(faults)} faults:\n" + "\n".join(f"  {fault}" for fault in faults))


def _describe(detail: ErrorDetails, content: dict[str, Any]) -> list[str]:
    """Turn one of pydantic's errors into lines `key = value: what is allowed`."""
    keys = _keys_in_file(detail["loc"], content)
    key = ".".join(map(str, keys))
    kind, got = detail["type"], f"{detail['input']!r:.80}"
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
        if "\n" in message or isinstance(detail["input"], dict):
            prefix = f"{key}." if key else ""
            return [prefix + line for line in message.splitlines()]
        return [f"{key} = {got}: {message}"]
    if kind == "extra_forbidden":
        allowed = _allowed_keys(keys[:-1])
        close = difflib.get_close_matches(str(keys[-1]), allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return [f"{key} = {got}: unknown; {hint}allowed here: {', '.join(allowed)}"]
    if kind == "missing":
        return [f"{key} is missing"]
    message = detail["msg"].removeprefix("Input ").replace("should be", "must be")
    return [f"{key} = {got}: {message[0].lower()}{message[1:]}"]


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


def _allowed_keys(keys: tuple[int | str, ...]) -> list[str]:
    """List the settings of the section at `keys`, over all kinds of a union."""
    models: list[type[Section]] = [Config]
    for key in keys:
        fields = [model.model_fields[str(key)] for model in models if str(key) in model.model_fields]
        models = [model for field in fields for model in _sections_of(field.annotation)] or models
    return sorted({name for model in models for name in model.model_fields})


def _sections_of(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _sections_of(part)]
