"""Read `params.yaml` and report all its problems at once."""

import difflib
import re
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from src.config.consistency import find_conflicts
from src.config.schema import Config
from src.config.section import Section
from src.config.url import mask_urls
from src.config.yaml_file import parse_yaml, read_text
from src.errors import ConfigError
from src.text import one_line

# Settings of earlier versions of this project.
RENAMED = {"data_split.traps": "data_split.checks", "data_split.traps_path": "data_split.checks_path"}


MAX_PROBLEMS, MAX_LENGTH = 20, 500


def load_config(path: Path) -> Config:
    """Read and check all settings.

    Raises:
        ConfigError: The file cannot be read, or settings are wrong; the message lists all of them.
    """
    return parse_config(read_text(path), path)


def parse_config(text: str, path: Path) -> Config:
    """Check the settings in a text; `path` names it in errors.

    Raises:
        ConfigError: The text is not YAML, or settings are wrong; the message lists all of them.
    """
    content = parse_yaml(text, path)
    try:
        config = Config.model_validate(content)
        problems = find_conflicts(config)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_describe(detail) for detail in details[:MAX_PROBLEMS]] + [""] * (len(details) - MAX_PROBLEMS)
    if not problems:
        return config
    shown = [one_line(problem, MAX_LENGTH) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) == 1:
        raise ConfigError(f"{path}: {shown[0]}.")
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
    raise ConfigError(f"{path} has {len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in shown))


def _describe(detail: ErrorDetails) -> str:
    """Describe one of pydantic's errors: the setting as the user wrote it, and what is allowed."""
    key, options = _locate(detail["loc"])
    kind, value = detail["type"], detail["input"]
    if kind == "missing":
        return f"{key} is missing"
    if kind == "invalid_key":
        return f"{key}: a name must be text; put it in quotes"
    if kind == "extra_forbidden":
        if key in RENAMED:
            return f"{key} is now called {RENAMED[key]}; rename it"
        allowed = sorted({name for section in _locate(detail["loc"][:-1])[1] for name in section.model_fields})
        close = difflib.get_close_matches(str(detail["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{key} = {_show(value)} is unknown; {hint}allowed here: {', '.join(allowed)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        *choices, last = [repr(name) for section in options for name in _kinds(section)]
        chosen = value.get("kind")
        problem = "is missing" if chosen is None else f"= {_show(chosen)} is unknown"
        return f"{key}.kind {problem}; choose {', '.join(choices)} or {last}"
    if kind == "literal_error":
        return f"{key} = {_show(value)} is unknown; choose {detail['ctx']['expected']}"
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
    else:
        message = re.sub(r"^\w+ | (or instance|or object|for <class) .*| after validation", "", detail["msg"])
        message = message.replace("should", "must", 1)
    # Problems of a key or of a whole section have no value to show.
    subject = key if detail["loc"][-1] == "[key]" or isinstance(value, dict) else f"{key} = {_show(value)}"
    return f"{subject} {message}" if message.startswith("is ") else f"{subject}: {message}"


def _show(value: Any) -> str:
    """Show the start of a value, without the credentials that a URL in it may contain."""
    # Of a long password, the @ at its end may be cut off.
    text = re.sub(r"(?<=://)[^/\s]{200,}", "***@", repr(value)[:2000])
    return one_line(mask_urls(text), 80)


def _locate(loc: tuple[int | str, ...]) -> tuple[str, list[Any]]:
    """Return the dotted key of a setting, and the sections or mappings that the schema allows as its value.

    Besides the keys, `loc` contains what pydantic adds: the kind of a union, `[key]`, the index in a list.
    """
    keys: list[str] = []
    options: list[Any] = [Config]
    for part in loc:
        if len(options) > 1:
            options = [option for option in options if part in _kinds(option)]
        elif options and part != "[key]":
            keys.append(one_line(str(part), 80))
            options = _options_inside(options[0], part)
    return ".".join(keys), options


def _options_inside(annotation: Any, key: int | str) -> list[Any]:
    if get_origin(annotation) is dict:
        return _containers(get_args(annotation)[1])
    field = annotation.model_fields.get(key)
    return _containers(field.annotation) if field else []


def _containers(annotation: Any) -> list[Any]:
    """List the sections and mappings in a type such as a union."""
    if get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, Section)):
        return [annotation]
    return [inner for member in get_args(annotation) for inner in _containers(member)]


def _kinds(section: type[Section]) -> tuple[Any, ...]:
    return get_args(section.model_fields["kind"].annotation)
