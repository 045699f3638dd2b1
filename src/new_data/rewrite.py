"""Settings changed in the text of `params.yaml`, so that comments and order stay."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

# One line of a block: key, value and the comment behind it.
Line = tuple[str, Any, str]
PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def rewrite_settings(text: str, changes: Mapping[str, Any]) -> str:
    """Replace values by dotted key.

    Args:
        text: YAML of two or more levels, in block style on the way to the keys.
        changes: New values; a list of `Line` becomes a block of its own.

    Raises:
        KeyError: The text has no such key.
    """
    for dotted, value in changes.items():
        text = _replace(text, dotted.split("."), value)
    return text


def flow(value: Any) -> str:
    """Write a value on one line, quoted only where YAML would take it for something else.

    >>> flow({"kind": "ordinal", "order": ["low", "no", 3]})
    '{kind: ordinal, order: [low, "no", 3]}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False)


def _replace(text: str, keys: Sequence[str], value: Any) -> str:
    key_node, value_node, indent = _find(text, keys)
    if isinstance(value_node, yaml.ScalarNode) and not isinstance(value, list):
        before, behind = text[: value_node.start_mark.index] + flow(value), text[value_node.end_mark.index :]
        comment = behind.partition("\n")[0]
        if comment.lstrip().startswith("#"):
            column = value_node.end_mark.column + comment.index("#")
            return _with_comment(before, comment.strip(), column) + behind[len(comment) :]
        return before + behind
    lines = text.splitlines(keepends=True)
    first, last = key_node.start_mark.line, max(_last_lines(value_node))
    tail = lines[first][key_node.end_mark.column + 1 :]
    # A block has nothing but a comment behind its key; else it comes behind the value.
    if value_node.start_mark.line == first:
        tail = lines[last][value_node.end_mark.column :]
    comment = tail.strip()
    column = lines[first].find(comment) if comment else 0
    head = f"{lines[first][: key_node.end_mark.column]}:"
    if isinstance(value, list) and value:
        new = [f"{_with_comment(head, comment, column)}\n", *_block(value, indent + 2)]
    else:
        new = [_with_comment(f"{head} {flow({} if value == [] else value)}", comment, column) + "\n"]
    return "".join([*lines[:first], *new, *lines[last + 1 :]])


def _with_comment(text: str, comment: str, column: int) -> str:
    """Put a comment back where it was, or two blanks behind what is longer now."""
    if not comment:
        return text
    width = len(text) - text.rfind("\n") - 1
    return f"{text}{' ' * max(2, column - width)}{comment}"


def _find(text: str, keys: Sequence[str]) -> tuple[yaml.Node, yaml.Node, int]:
    node = key_node = yaml.compose(text, Loader=yaml.SafeLoader) or yaml.MappingNode("", [])
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(name, value) for name, value in pairs if name.value == key]
        if not found:
            raise KeyError(".".join(keys))
        key_node, node = found[0]
    return key_node, node, key_node.start_mark.column


def _last_lines(node: yaml.Node) -> Iterator[int]:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        for item in node.value:
            for child in item if isinstance(item, tuple) else (item,):
                yield from _last_lines(child)
    else:
        yield node.end_mark.line


def _block(lines: Sequence[Line], indent: int) -> Iterator[str]:
    written = [(f"{' ' * indent}{flow(key)}: {flow(value)}", comment) for key, value, comment in lines]
    width = min(60, max(len(text) for text, _ in written))
    for text, comment in written:
        # A line end or a strange letter would end the comment.
        told = re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", comment)
        yield f"{text:<{width}}  # {told}\n" if told else f"{text}\n"
