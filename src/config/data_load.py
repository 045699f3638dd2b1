"""Settings of `data_load`: the source, the format of its file, and the columns."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from src.config.section import ColumnName, OutputPath, PublicUrl, RepoPath, Section

# Suffixes of table files.
SUFFIXES = (
    *(".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet", ".pq", ".feather", ".arrow", ".xlsx"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip"),
)
# Common marks of a missing value. `None` is not one of them, because it may be a category.
DEFAULT_NA = ("#N/A", "N/A", "NA", "NULL", "NaN", "nan", "null")


class SklearnSource(Section):
    """A dataset of scikit-learn."""

    kind: Literal["sklearn"]
    name: Literal["breast_cancer", "diabetes", "digits", "iris", "wine"]


def _check_separator(separator: str) -> str:
    is_name = separator in ("auto", "whitespace")
    if not is_name and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n'):
        raise ValueError(
            "must be auto, whitespace or a single ASCII character other than a quote or a newline, such as ';'"
        )
    return separator


def _check_encoding(encoding: str) -> str:
    try:
        # Unlike `codecs.lookup`, this refuses codecs that do not encode text, such as rot13.
        "".encode(encoding)
    except (LookupError, UnicodeError):
        raise ValueError("is unknown; choose a text encoding such as utf-8, cp1252, latin-1 or utf-16") from None
    return encoding


class TableFile(Section):
    """Format of a file. `na_values` and `dates` apply to all of them, the others only to text or Excel.

    Attributes:
        separator: Character between the fields of a text file; `auto` is a tab in `.tsv` files and a comma in others,
            `whitespace` one or more blanks or tabs.
        encoding: Name of a Python text encoding.
        decimal: Decimal mark of numbers in a text file.
        skip_rows: Number of lines before the header of a text file, or of rows in an Excel sheet.
        sheet: Name of the sheet of an Excel workbook; None for the first one.
        na_values: Marks of a missing value. In text and Excel, they add to the empty field and `DEFAULT_NA`.
        default_na_values: False if the marks of `DEFAULT_NA` are values, such as NA for Namibia.
        dates: Columns with dates in ISO 8601; declare a column with a `format` for others.
    """

    separator: Annotated[str, AfterValidator(_check_separator)] = "auto"
    encoding: Annotated[str, AfterValidator(_check_encoding)] = "utf-8"
    decimal: Literal[".", ","] = "."
    skip_rows: Annotated[int, Field(ge=0)] = 0
    sheet: Annotated[str, Field(min_length=1)] | None = None
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
Kind = Literal["number", "category", "ordinal", "high_cardinality", "text", "date", "boolean", "ignore"]


def _check_value(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise ValueError("must be text, a number or a boolean; put a date in quotes")
    return value


def _check_unit(unit: str) -> str:
    if not unit.strip() or set(unit) & set("0123456789.,'()+-"):
        raise ValueError("must be the text before or after each number, such as $, % or kg, without digits and .,'()+-")
    return unit.strip()


def _check_format(value: object) -> object:
    forms = value if isinstance(value, list) else [value]
    if not forms or not all(isinstance(form, str) and ("%" in form or form == "ISO8601") for form in forms):
        raise ValueError("must be a format such as '%d.%m.%Y', or a list of formats")
    return value


# Options that apply to one kind only.
_OPTIONS = {"number": ("decimal", "thousands", "unit", "min", "max"), "date": ("format", "epoch")}
# Without PlainValidator, pydantic reports a wrong value once for each type.
Value = Annotated[str | int | float | bool, PlainValidator(_check_value)]


class Column(Section):
    """Declared properties of a column; all are checked.

    Attributes:
        kind: `high_cardinality` is a category with very many levels, such as a postcode; `text` is free text, such as a
            review; `ignore` is not a feature.
        order: Levels of an ordinal, lowest first.
        decimal: Decimal mark of numbers that are text.
        thousands: Mark between thousands of numbers that are text.
        unit: What is before or after numbers that are text, such as `$`, `%` or `kg`.
        format: Format of dates that are not in ISO 8601, such as `%d.%m.%Y`; of several, such as
            `[ISO8601, "%d.%m.%Y"]`, the first that fits a value.
        epoch: Dates are seconds or milliseconds since 1970-01-01 in UTC.
        missing: Whether values may be missing.
        values: All allowed values.
    """

    kind: Kind
    order: Annotated[list[Value], Field(min_length=2)] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", "'", " "] | None = None
    unit: Annotated[str, AfterValidator(_check_unit)] | None = None
    format: Annotated[str | list[str], PlainValidator(_check_format)] | None = None
    epoch: Literal["s", "ms"] | None = None
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
        for kind, options in _OPTIONS.items():
            if self.kind != kind and (given := [name for name in options if getattr(self, name) is not None]):
                raise ValueError(f"{given[0]} applies to kind {kind} only, not to {self.kind}")
        if self.thousands is not None and self.thousands == (self.decimal or "."):
            raise ValueError(f"thousands = {self.thousands!r} is also the decimal mark; set decimal to the other mark")
        if self.format is not None and self.epoch is not None:
            raise ValueError("has format and epoch; remove one of them")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is greater than max = {self.max}")
        return self


class DataLoad(Section):
    """The source and its columns.

    Attributes:
        external_path: The user's own file or folder, a dependency of the stage.
        columns: Declared columns; the kinds of others are inferred.
        missing_target: What to do with rows without a target.
        rows_per_part: Maximum number of rows in one file; a larger table is a folder of parts.
    """

    source: Source
    external_path: RepoPath
    columns: dict[ColumnName, Column]
    missing_target: Literal["drop", "error"]
    rows_per_part: Annotated[int, Field(ge=1)]
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
