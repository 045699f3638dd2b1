"""Change settings in the text of `params.yaml`, and keep its comments, order and layout."""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken
from ruamel.yaml.util import load_yaml_guess_indent
from yaml import SafeLoader, ScalarNode

from src.config.yaml_file import MAX_REASON
from src.errors import ConfigError
from src.text import one_line

# Comments of new lines are aligned, but not farther to the right.
MAX_COMMENT_COLUMN = 60

# Value and comment of each new line, by key.
Block = Mapping[str, tuple[Any, str]]


def rewrite_settings(text: str, values: Mapping[str, Any], blocks: Mapping[str, Block] | None = None) -> str:
    """Replace settings.

    Args:
        text: Content of `params.yaml`.
        values: New value by dotted key, written on one line.
        blocks: New lines by dotted key.

    Raises:
        ConfigError: The text is not YAML.
        KeyError: The text has no such key.
    """
    yaml = YAML()
    yaml.width = 2**20
    yaml.preserve_quotes = True
    # By default, ruamel.yaml writes nothing for null.
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    try:
        settings, indent, offset = load_yaml_guess_indent(text, yaml=yaml)
    # ruamel.yaml refuses some texts that PyYAML reads, and some by the error of a conversion.
    except (YAMLError, LookupError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = one_line(getattr(error, "problem", None) or str(error).splitlines()[0], MAX_REASON)
        raise ConfigError(f"params.yaml{where}: not valid YAML for DVC: {reason}.") from None
    yaml.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
    for dotted, value in values.items():
        _replace(settings, dotted, _on_one_line(value))
    for dotted, block in (blocks or {}).items():
        _replace(settings, dotted, _on_lines(block, indent=2 * len(dotted.split("."))) if block else _on_one_line({}))
    return _dump(yaml, settings)


def _dump(yaml: YAML, content: Any) -> str:
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def _on_one_line(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = CommentedMap((_on_one_line(key), _on_one_line(item)) for key, item in value.items())
    elif isinstance(value, list):
        value = CommentedSeq(map(_on_one_line, value))
    else:
        return DoubleQuotedScalarString(value) if isinstance(value, str) and _needs_quotes(value) else value
    value.fa.set_flow_style()
    return value


def _needs_quotes(text: str) -> bool:
    """Return whether PyYAML would read plain text as something else, such as `yes` as a boolean."""
    tag = SafeLoader("").resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # PyYAML ships no types
    # ruamel.yaml writes `? a` inside brackets without quotes and reads it as a mapping.
    return tag != "tag:yaml.org,2002:str" or text.startswith("?")


def _on_lines(block: Block, indent: int) -> CommentedMap:
    lines = CommentedMap((key, _on_one_line(value)) for key, (value, _) in block.items())
    yaml = YAML()
    yaml.width = 2**20
    width = max(map(len, _dump(yaml, lines).splitlines()))
    for key, (_, comment) in block.items():
        if comment:
            printable = "".join(letter if letter.isprintable() else " " for letter in comment)
            lines.yaml_add_eol_comment(printable, key, column=min(indent + width + 2, MAX_COMMENT_COLUMN))
    return lines


def _replace(settings: Any, dotted: str, value: Any) -> None:
    *parents, key = dotted.split(".")
    for parent in parents:
        settings = settings.get(parent) if isinstance(settings, CommentedMap) else None
    if not isinstance(settings, CommentedMap) or key not in settings:
        raise KeyError(dotted)
    below = _take_comments_below(settings, key)
    settings[key] = value
    _put_comments_below(settings, key, below)


# ruamel.yaml stores blank lines and comments with the line above them. When that line is
# replaced, they have to move to the new line.
def _last_line(parent: Any, key: Any) -> tuple[Any, Any]:
    """Return the collection and the key of the last line of a value."""
    value = parent[key]
    if isinstance(value, CommentedMap | CommentedSeq) and value and not value.fa.flow_style():
        return _last_line(value, list(value)[-1] if isinstance(value, CommentedMap) else len(value) - 1)
    return parent, key


def _take_comments_below(parent: Any, key: Any) -> str:
    node, last = _last_line(parent, key)
    slot = 0 if isinstance(node, CommentedSeq) else 2
    token = node.ca.items.get(last, [None] * 3)[slot]
    if token is None:
        return ""
    beside, _, below = token.value.partition("\n")
    if beside:
        token.value = f"{beside}\n"
    else:
        del node.ca.items[last]
    return str(below)


def _put_comments_below(parent: Any, key: Any, below: str) -> None:
    if not below:
        return
    node, last = _last_line(parent, key)
    comments = node.ca.items.setdefault(last, [None] * 4)
    beside, column = (comments[2].value, comments[2].start_mark.column) if comments[2] else ("", 0)
    comments[2] = CommentToken(beside.rstrip("\n") + "\n" + below, CommentMark(column), None)
