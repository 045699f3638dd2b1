"""Columns of a table: declared in `params.yaml`, recorded in `schema.json`, grouped by kind."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from src.atomic import atomic_path
from src.config.data_load import Column, SklearnSource
from src.config.featurize import Feature
from src.config.schema import Config
from src.config.section import Section
from src.data.files import read_json
from src.data.kinds import TEXT_KINDS, has_number_format, text_of
from src.errors import MissingInputError

logger = logging.getLogger(__name__)

# Kind and further properties of each column, as plain values, because the fitted model contains them.
Columns = Mapping[str, Mapping[str, Any]]
FEATURE_KINDS = ("number", "category", "ordinal", "high_cardinality", "boolean", "date", "text")


class Schema(Section):
    """The content of `schema.json`.

    Attributes:
        source: All settings of the source but the revision.
        declared: Columns that were declared in `params.yaml`.
    """

    source: dict[str, Any]
    declared: frozenset[str]
    columns: dict[str, Column]


_SCHEMA = TypeAdapter(Schema)


def features_by_kind(
    columns: Columns, features: Mapping[str, Feature], excluded: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Group raw columns and computed features, which are numbers, by kind.

    Args:
        features: Declared features; a date that one of them uses is no feature itself.
        excluded: Raw columns that are no features.
    """
    kinds: dict[str, list[str]] = {kind: [] for kind in FEATURE_KINDS}
    excluded, sources = set(excluded), {name for feature in features.values() for name in feature.columns}
    for name, column in columns.items():
        kind = column["kind"]
        if kind in kinds and name not in excluded and not (kind == "date" and name in sources):
            kinds[kind].append(name)
    kinds["number"] += features
    return kinds


def declared_columns(config: Config) -> dict[str, dict[str, Any]]:
    """Return the declared columns as plain values, with levels as text."""
    source = config.data_load.source
    dates = () if isinstance(source, SklearnSource) else source.dates
    declared: dict[str, dict[str, Any]] = {name: {"kind": "date"} for name in dates}
    declared |= config.declared_columns
    for column in declared.values():
        if has_number_format(column) and not isinstance(source, SklearnSource):
            column.setdefault("decimal", source.decimal)
        for key in ("order", "values"):
            if column.get(key) is not None and column["kind"] in TEXT_KINDS:
                column[key] = [text_of(level) for level in column[key]]
    return declared


def read_as_text(known: Columns) -> list[str]:
    """List the columns of a CSV to read as text: `007` is not 7, and formats apply to text."""
    return [
        name
        for name, column in known.items()
        if column.get("kind") in TEXT_KINDS or column.get("format") or has_number_format(column)
    ]


def recorded_columns(config: Config) -> dict[str, dict[str, Any]]:
    """Return the columns of an earlier version of the table; none if the source has changed.

    A column that is no longer declared in `params.yaml` has no properties.
    """
    path = config.data_load.schema_path
    if not path.exists():
        return {}
    try:
        schema = read_json(path, _SCHEMA, made_by="data_load")
    except MissingInputError:
        logger.warning("%s is damaged: inferring the kinds of all columns", path)
        return {}
    if schema.source != _source(config):
        logger.info("%s is for another source or target: inferring the kinds of all columns", path)
        return {}
    return {name: {} if name in schema.declared else column for name, column in _plain(schema).items()}


def read_columns(path: Path) -> dict[str, dict[str, Any]]:
    """Read the columns that stage `data_load` wrote.

    Raises:
        MissingInputError: The file is missing or damaged.
    """
    return _plain(read_json(path, _SCHEMA, made_by="data_load"))


def write_columns(columns: Columns, config: Config) -> None:
    """Write the columns and their source, for checks of new versions of the table."""
    path = config.data_load.schema_path
    known = declared_columns(config)
    content = {"source": _source(config), "declared": [name for name in columns if name in known], "columns": columns}
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    logger.info("wrote the kinds of %d columns to %s", len(columns), path)


def _plain(schema: Schema) -> dict[str, dict[str, Any]]:
    return {name: column.model_dump(exclude_unset=True) for name, column in schema.columns.items()}


def _source(config: Config) -> dict[str, Any]:
    """Return all settings of the source but the revision: revisions are versions of one table."""
    source: dict[str, Any] = config.data_load.source.model_dump(mode="json", exclude={"rev"}, exclude_defaults=True)
    if source["kind"] in ("file", "url"):
        source["external_path"] = config.data_load.external_path.as_posix()
    return {**source, "target_column": config.base.target_column}
