"""Read YAML files as DVC does."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from src.errors import ConfigError

# DVC reads with ruamel.yaml; PyYAML's C loader, if it was built, is 3 to 5 times as fast.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Yaml12Loader(SafeLoader):  # type: ignore[misc]  # one of two classes
    """Load YAML 1.2; PyYAML implements 1.1, where `no` is false and `1e-3` is text."""

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Read `017` as 17 and `0o17` as 15."""
        digits = str(node.value).replace("_", "").lower()
        return int(digits, 0) if re.search("0[box]", digits) else int(digits)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse duplicate keys."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                seen.add((key.tag, key.value))
        content: dict[Any, Any] = super().construct_mapping(node, deep)
        return content


# The core schema, https://yaml.org/spec/1.2.2/#103-core-schema, plus binary numbers and
# underscores in numbers, which ruamel.yaml accepts.
_CORE_SCHEMA = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9_]+)", "-+0123456789"),
    "float": (
        r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))"
        r"|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _CORE_SCHEMA]
    for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _CORE_SCHEMA.items():
    _Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^({_pattern})$"), list(_first))
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _Yaml12Loader.construct_int)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: The file is missing, empty, not YAML or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; run this in the root of the repository.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """Parse the text of a YAML mapping; `path` names it in errors."""
    try:
        # An explicit SafeLoader subclass: it builds plain values only.
        content = yaml.load(text, Loader=_Yaml12Loader)  # noqa: S506 - see above
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{where}: not valid YAML: {reason}.") from None
    if content is None:
        raise ConfigError(f"{path} is empty; `git checkout {shlex.quote(str(path))}` restores it.")
    if not isinstance(content, dict):
        raise ConfigError(f"{path} contains a {type(content).__name__} instead of sections with keys.")
    return content
