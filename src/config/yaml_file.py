"""YAML files, read as DVC reads them."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from src.errors import ConfigError

try:
    # Seven times as fast; PyYAML comes without it where it was built without libyaml.
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]  # of the same behaviour


class _Yaml12Loader(SafeLoader):
    """Read YAML 1.2 as DVC does; PyYAML's 1.1 takes `no` for false and `1e-3` for text."""

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Take `017` for seventeen and `0o17` for fifteen."""
        digits = str(node.value).replace("_", "").lower()
        return int(digits, 0) if re.search("0[box]", digits) else int(digits)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is given twice."""
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if any((key.tag, key.value) == (other.tag, other.value) for other in keys[:position]):
                raise ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
        return super().construct_mapping(node, deep)


# The core schema, https://yaml.org/spec/1.2.2/#103-core-schema, with underscores in
# numbers and binary ones as DVC's parser takes them.
_YAML_1_2 = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9_]+)", "-+0123456789"),
    "float": (
        r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))"
        r"|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _YAML_1_2]
    for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _YAML_1_2.items():
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
        raise ConfigError(f"{path}{where}: not YAML: {reason}.") from None
    if content is None:
        raise ConfigError(f"{path} is empty; `git checkout {shlex.quote(str(path))}` brings it back.")
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not sections with keys.")
    return content
