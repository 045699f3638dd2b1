"""Read YAML files as DVC does."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from src.errors import ConfigError
from src.text import one_line, show

# DVC reads with ruamel.yaml; PyYAML's C loader, if it was built, is 3 to 5 times as fast.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# 10,000 declared columns are 70,000 values. Aliases count as often as they are used: ten in each of eight levels are
# 100 million values. libyaml crashes at 30,000 levels.
MAX_VALUES, MAX_LEVELS, MAX_DIGITS = 300_000, 50, 100
MAX_LETTERS = 20_000_000
MAX_REASON = 200


class _Yaml12Loader(SafeLoader):  # type: ignore[misc]  # one of two classes
    """Load YAML 1.2; PyYAML implements 1.1, where `no` is false and `1e-3` is text."""

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Read `017` as 17 and `0o17` as 15."""
        digits = str(node.value).replace("_", "").lower()
        if len(digits) > MAX_DIGITS:
            raise ValueError(f"it has {len(digits)} digits")
        return int(digits, 0) if re.search("0[box]", digits) else int(digits)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Refuse values that look like a date or a number, but are not."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            problem = f"{show(node.value)} is not a valid {node.tag.rpartition(':')[2]}"
            reason = f": {error}" if isinstance(error, ValueError) else ""
            raise ConstructorError(None, None, problem + reason, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse duplicate keys."""
        seen = set()
        # The parent class refuses other nodes.
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
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
    return parse_yaml(read_text(path), path)


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a text file that is in git, or that DVC writes.

    Args:
        errors: What to do about bytes that are not UTF-8, see `codecs`.

    Raises:
        ConfigError: The file is missing, is no regular file, is very large or is not UTF-8.
    """
    restore = f"`git checkout {shlex.quote(str(path))}` restores it"
    try:
        # Reading a named pipe would wait for ever.
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is a folder or a device instead of a file; move it away, then {restore}.")
        if path.stat().st_size > MAX_LETTERS:
            raise ConfigError(f"{path} has more than {MAX_LETTERS:,} bytes; {restore}.")
        return path.read_text(encoding="utf-8", errors=errors)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; run this in the root of the repository.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}; save it as UTF-8, or {restore}.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """Parse the text of a YAML mapping; `path` names it in errors."""
    check_no_conflict(text, path)
    try:
        content = _construct(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = one_line(getattr(error, "problem", None) or str(error).splitlines()[0], MAX_REASON)
        raise ConfigError(f"{path}{where}: not valid YAML: {reason}.") from None
    if content is None:
        raise ConfigError(f"{path} is empty; `git checkout {shlex.quote(str(path))}` restores it.")
    if not isinstance(content, dict):
        raise ConfigError(f"{path} contains a {type(content).__name__} instead of sections with keys.")
    return content


def check_no_conflict(text: str, path: Path) -> None:
    """Refuse a file in which git left both sides of a merge.

    Raises:
        ConfigError: The file has a line that begins with `<<<<<<<`.
    """
    if re.search("^<<<<<<< ", text, re.MULTILINE):
        side = f"`git checkout --ours {shlex.quote(str(path))}`"
        advice = f"edit it, or take a side with {side}."
        if path.name == "dvc.lock":
            # Results, of which either side leads to the merged ones.
            advice = "take either side with `git checkout --ours dvc.lock data reports`, then run `make pipeline`."
        raise ConfigError(f"{path} has a merge conflict; {advice}")


def _construct(text: str) -> Any:
    has_aliases = _check_size(text)
    # A SafeLoader builds plain values only.
    loader = _Yaml12Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if has_aliases:
            _check_aliases(root, MAX_VALUES, 0)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check_size(text: str) -> bool:
    """Check the number and the nesting of values before they are built, and return whether there are aliases."""
    level, has_aliases = 0, False
    for number, event in enumerate(yaml.parse(text, Loader=_Yaml12Loader)):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        has_aliases |= isinstance(event, yaml.AliasEvent)
        if level > MAX_LEVELS or number > MAX_VALUES:
            raise _too_large(level, event)
    return has_aliases


def _check_aliases(node: yaml.Node, left: int, level: int) -> int:
    """Check the same with each alias in the place of its value, and return the number of values that are left.

    Long texts count as several values.
    """
    left -= 1 + (len(node.value) * MAX_VALUES // MAX_LETTERS if isinstance(node, yaml.ScalarNode) else 0)
    if level > MAX_LEVELS or left < 0:
        raise _too_large(level, node)
    children = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
    for child in children if isinstance(node, yaml.CollectionNode) else ():
        left = _check_aliases(child, left, level + 1)
    return left


def _too_large(level: int, where: Any) -> ConstructorError:
    limit = f"{MAX_LEVELS} nested levels" if level > MAX_LEVELS else f"{MAX_VALUES:,} values or {MAX_LETTERS:,} letters"
    return ConstructorError(None, None, f"there are more than {limit}, with those of aliases", where.start_mark)
