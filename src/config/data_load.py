"""Settings of `data_load`: where rows come from, how a file of rows is written, what its columns are."""

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from src.config.section import ColumnName, PublicUrl, RepoPath, Section

# What writers of tables put for a missing value. The text `None` is not among them: it may be a category.
DEFAULT_NA = ("#N/A", "N/A", "NA", "NULL", "NaN", "nan", "null")


class SklearnSource(Section):
    """A table that comes with scikit-learn."""

    kind: Literal["sklearn"]
    name: Literal["breast_cancer", "diabetes", "digits", "iris", "wine"]


def _one_letter(separator: str) -> str:
    if separator != "auto" and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n'):
        raise ValueError("must be auto or one ASCII letter but a quote or line end, as ';' or '\\t'")
    return separator


# Python calls them encodings of text, of host names and of its own sources.
_NOT_OF_TABLES = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")


def _known_encoding(encoding: str) -> str:
    hint = "try utf-8, cp1252, latin-1 or utf-16"
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(f"names no encoding; {hint}") from None
    try:
        # Encoding refuses rot13 and the like, which codecs knows as well.
        is_of_text = name.replace("_", "-") not in _NOT_OF_TABLES and isinstance("".encode(encoding), bytes)
    except LookupError:
        is_of_text = False
    if not is_of_text:
        raise ValueError(f"is no encoding of text; {hint}")
    return encoding


class TableFile(Section):
    """How a file of rows is written; Parquet ignores all but `dates`.

    Attributes:
        separator: Between the fields of a CSV, one letter; `auto` is a tab for `.tsv`, else a comma.
        encoding: Of the text, as Python names it.
        decimal: Decimal mark of numbers.
        na_values: Further texts that mean a missing value, beside the empty one and `DEFAULT_NA`.
        default_na_values: False if those of `DEFAULT_NA` are values, as NA for Namibia.
        dates: Columns that hold dates as text of ISO 8601; for others declare the column with its format.
    """

    separator: Annotated[str, AfterValidator(_one_letter)] = "auto"
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    decimal: Literal[".", ","] = "."
    na_values: list[str] = Field(default=[])
    default_na_values: bool = True
    dates: list[ColumnName] = Field(default=[])

    @property
    def missing(self) -> list[str]:
        """All texts that mean a missing value; an empty field always does."""
        return ["", *(DEFAULT_NA if self.default_na_values else ()), *self.na_values]


class FileSource(TableFile):
    """The user's own file or folder of Parquet parts, at `data_load.external_path`."""

    kind: Literal["file"]


class UrlSource(TableFile):
    """A file that `dvc import-url` brought to `data_load.external_path`."""

    kind: Literal["url"]
    url: PublicUrl


class DvcSource(TableFile):
    """A version of a table in this or another DVC repository.

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
Value = str | int | float | bool


class Column(Section):
    """What one column is; what is not declared is not checked.

    Attributes:
        kind: `high_cardinality` is a category of very many levels, as a postcode; `ignore` is no feature.
        order: Levels of an ordinal, lowest first.
        format: How a date is written if not as ISO 8601, as `%d.%m.%Y`.
        missing: Whether a value may be missing.
        min: Lowest number allowed.
        max: Highest number allowed.
        values: All values allowed.
    """

    kind: Kind
    order: Annotated[list[Value], Field(min_length=2)] | None = None
    format: Annotated[str, Field(pattern="%")] | None = None
    missing: bool = True
    min: float | None = None
    max: float | None = None
    values: Annotated[list[Value], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Column":
        if (self.kind == "ordinal") != (self.order is not None):
            raise ValueError("order is what an ordinal has, and only an ordinal: list its levels, lowest first")
        if self.kind != "date" and self.format is not None:
            raise ValueError(f"format is for dates, and this is a {self.kind}")
        if self.kind != "number" and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for numbers, and this is a {self.kind}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self


class DataLoad(Section):
    """Where the rows come from, and what their columns are.

    Attributes:
        external_path: The user's own file or folder; DVC watches it.
        columns: What columns are; kinds of the others are inferred.
        missing_target: What is done with rows that lack the target.
    """

    source: Source
    external_path: RepoPath
    columns: dict[ColumnName, Column]
    missing_target: Literal["drop", "error"]
    dataset_path: RepoPath
    schema_path: RepoPath
