"""Settings of `data_load`: the source, the format of text files, and the columns."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from src.config.section import ColumnName, OutputPath, PublicUrl, RepoPath, Section

# Suffixes of table files.
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz", ".bz2", ".xz", ".zst", ".zip")
# Common marks of a missing value. `None` is not one of them, because it may be a category.
DEFAULT_NA = ("#N/A", "N/A", "NA", "NULL", "NaN", "nan", "null")


class SklearnSource(Section):
    """A dataset of scikit-learn."""

    kind: Literal["sklearn"]
    name: Literal["breast_cancer", "diabetes", "digits", "iris", "wine"]


def _check_separator(separator: str) -> str:
    if separator != "auto" and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n'):
        raise ValueError("must be auto or a single ASCII character other than a quote or a newline, such as ';'")
    return separator


def _check_encoding(encoding: str) -> str:
    try:
        # Unlike `codecs.lookup`, this refuses codecs that do not encode text, such as rot13.
        "".encode(encoding)
    except (LookupError, UnicodeError):
        raise ValueError("is unknown; choose a text encoding such as utf-8, cp1252, latin-1 or utf-16") from None
    return encoding


class TableFile(Section):
    """Format of a text file; Parquet uses only `dates`.

    Attributes:
        separator: Character between fields; `auto` is a tab in `.tsv` files and a comma in others.
        encoding: Name of a Python text encoding.
        decimal: Decimal mark of numbers.
        skip_rows: Number of lines before the header.
        na_values: Marks of a missing value in addition to the empty field and `DEFAULT_NA`.
        default_na_values: False if the marks of `DEFAULT_NA` are values, such as NA for Namibia.
        dates: Columns with dates in ISO 8601; declare a column with a `format` for others.
    """

    separator: Annotated[str, AfterValidator(_check_separator)] = "auto"
    encoding: Annotated[str, AfterValidator(_check_encoding)] = "utf-8"
    decimal: Literal[".", ","] = "."
    skip_rows: Annotated[int, Field(ge=0)] = 0
    na_values: list[str] = Field(default=[])
    default_na_values: bool = True
    dates: list[ColumnName] = Field(default=[])

    @property
    def missing(self) -> list[str]:
        """All marks of a missing value, including the empty field."""
        return ["", *(DEFAULT_NA if self.default_na_values else ()), *self.na_values]


class FileSource(TableFile):
    """A file, or a folder of Parquet parts, at `data_load.external_path`."""

    kind: Literal["file"]


class UrlSource(TableFile):
    """A file that `dvc import-url` downloaded to `data_load.external_path`."""

    kind: Literal["url"]
    url: PublicUrl


class DvcSource(TableFile):
    """A version of a table in a DVC repository.

    Attributes:
        path: Path of the file in that repository.
        repo: Git URL or local path; `.` is this repository.
        rev: Tag, branch or commit.
    """

    kind: Literal["dvc"]
    path: Annotated[str, Field(min_length=1)]
    repo: PublicUrl
    rev: Annotated[str, Field(min_length=1)]


Source = Annotated[SklearnSource | FileSource | UrlSource | DvcSource, Field(discriminator="kind")]
Kind = Literal["number", "category", "ordinal", "high_cardinality", "date", "boolean", "ignore"]


def _check_value(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise ValueError("must be text, a number or a boolean; put a date in quotes")
    return value


# Without PlainValidator, pydantic reports a wrong value once for each type.
Value = Annotated[str | int | float | bool, PlainValidator(_check_value)]


class Column(Section):
    """Declared properties of a column; all are checked.

    Attributes:
        kind: `high_cardinality` is a category with very many levels, such as a postcode; `ignore` is not a feature.
        order: Levels of an ordinal, lowest first.
        format: Format of dates that are not in ISO 8601, such as `%d.%m.%Y`.
        missing: Whether values may be missing.
        values: All allowed values.
    """

    kind: Kind
    order: Annotated[list[Value], Field(min_length=2)] | None = None
    format: Annotated[str, Field(pattern="%")] | None = None
    missing: bool = True
    min: float | None = None
    max: float | None = None
    values: Annotated[list[Value], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check_options_of_kind(self) -> "Column":
        if self.kind == "ordinal" and self.order is None:
            raise ValueError("an ordinal needs order: its levels, lowest first")
        if self.kind != "ordinal" and self.order is not None:
            raise ValueError(f"order applies to kind ordinal only, not to {self.kind}")
        if self.kind != "date" and self.format is not None:
            raise ValueError(f"format applies to kind date only, not to {self.kind}")
        if self.kind != "number" and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max apply to kind number only, not to {self.kind}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is greater than max = {self.max}")
        return self


class DataLoad(Section):
    """The source and its columns.

    Attributes:
        external_path: The user's own file or folder, a dependency of the stage.
        columns: Declared columns; the kinds of others are inferred.
        missing_target: What to do with rows without a target.
    """

    source: Source
    external_path: RepoPath
    columns: dict[ColumnName, Column]
    missing_target: Literal["drop", "error"]
    dataset_path: OutputPath
    schema_path: OutputPath

    @property
    def table_name(self) -> str:
        """Name of the table, such as `iris` or `penguins` for `data/external/penguins.csv`."""
        return name_table(self.source.model_dump(mode="json"), self.external_path.as_posix())


def name_table(source: Mapping[str, Any], external_path: str) -> str:
    """Name a table after its source.

    >>> name_table({"kind": "sklearn", "name": "iris"}, "data/external")
    'iris'
    >>> name_table({"kind": "dvc", "path": "data/raw/sales.parquet"}, "data/external")
    'sales'
    >>> name_table({"kind": "file"}, "data/external/sales.2025.csv.gz")
    'sales.2025'
    """
    if name := source.get("name"):
        return str(name)
    path = str(source.get("path")) if source.get("kind") == "dvc" else external_path
    file = PurePosixPath(path)
    while file.suffix in SUFFIXES:
        file = file.with_suffix("")
    return file.name or "table"
