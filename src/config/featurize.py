"""Settings of `featurize`: columns computed row by row."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from src.config.section import ColumnName, OutputPath, Section


class DatePart(Section):
    """Part of a date as a number."""

    column: ColumnName
    part: Literal["year", "quarter", "month", "day", "dayofweek", "dayofyear", "hour", "minute"]


class Bins(Section):
    """Number of the bin that a value falls into."""

    column: ColumnName
    edges: Annotated[list[float], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_edges(self) -> "Bins":
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError(f"edges = {self.edges} must increase")
        return self


Pair = Annotated[list[ColumnName], Field(min_length=2, max_length=2)]


class Feature(Section):
    """A new numeric column, computed in exactly one of these ways.

    Attributes:
        ratio: First column divided by the second.
        difference: First column minus the second; of dates, in days.
        log: Natural logarithm.
        text_length: Number of characters.
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
    def _check_calculation(self) -> "Feature":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError(f"must be exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that the feature is computed from."""
        (value,) = (value for _, value in self if value is not None)
        if isinstance(value, DatePart | Bins):
            return [value.column]
        return [value] if isinstance(value, str) else list(value)


class Featurize(Section):
    """New columns by name."""

    features: dict[ColumnName, Feature]
    features_path: OutputPath
