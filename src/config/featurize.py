"""Settings of `featurize`: columns computed row by row."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from src.config.section import ColumnName, RepoPath, Section


class DatePart(Section):
    """A number out of a date."""

    column: ColumnName
    part: Literal["year", "quarter", "month", "day", "dayofweek", "dayofyear", "hour", "minute"]


class Bins(Section):
    """The number of the bin that a value falls in, by fixed edges."""

    column: ColumnName
    edges: Annotated[list[float], Field(min_length=1)]

    @model_validator(mode="after")
    def _edges_rise(self) -> "Bins":
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError(f"edges = {self.edges} must rise")
        return self


Pair = Annotated[list[ColumnName], Field(min_length=2, max_length=2)]


class Feature(Section):
    """One new column, a number computed row by row; exactly one of these.

    Attributes:
        ratio: First column divided by the second.
        difference: First column minus the second: numbers, or dates, in days.
        product: Product of two or more columns.
        log: Natural logarithm.
        date_part: Part of a date.
        text_length: Number of letters.
        bins: Number of the bin, from 0.
    """

    ratio: Pair | None = None
    difference: Pair | None = None
    product: Annotated[list[ColumnName], Field(min_length=2)] | None = None
    log: ColumnName | None = None
    date_part: DatePart | None = None
    text_length: ColumnName | None = None
    bins: Bins | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Feature":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError(f"must be exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that it is computed from."""
        (declaration,) = (value for _, value in self if value is not None)
        if isinstance(declaration, DatePart | Bins):
            return [declaration.column]
        return [declaration] if isinstance(declaration, str) else list(declaration)


class Featurize(Section):
    """New columns by name."""

    features: dict[ColumnName, Feature]
    features_path: RepoPath
