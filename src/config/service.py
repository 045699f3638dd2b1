"""Sections `registry`, `serve` and `monitor`: how a model is registered, served and watched. They rerun no stage."""

from typing import Annotated

from pydantic import Field

from src.config.section import ColumnName, Section

Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class Gate(Section):
    """What a model must fulfil before it may be promoted.

    Attributes:
        minimum: Lowest value of metrics, by their name in `metrics.json`. An error such as `test_rmse` has a highest
            value instead.
        margin: How much worse than the champion the model may be, in units of `train.scoring`.
        confidence: Confidence of the paired bootstrap interval of the difference.
    """

    minimum: dict[str, float]
    margin: Annotated[float, Field(ge=0)]
    confidence: Probability


class Registry(Section):
    """Under which name models are registered in MLflow, and what they must fulfil."""

    model_name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/:\s][^/:]*$")]
    gate: Gate


class Record(Section):
    """Which requests are recorded for monitoring.

    Attributes:
        sample: Share of the requests; 0 records none.
        exclude: Input columns that are never recorded.
        max_mb: Largest disk space of all records; beyond it, the oldest days are deleted.
    """

    sample: Share
    exclude: list[ColumnName]
    max_mb: Annotated[int, Field(ge=1)]


class Serve(Section):
    """Limits of the endpoint, and what it records.

    Attributes:
        workers: Processes that answer requests.
        poll_seconds: Time between two checks of the alias.
        max_body_mb: Largest body of a request, in megabytes.
        max_rows: Most rows in a request.
        max_queue: Most rows that wait for a prediction in a worker; beyond it, requests get status 503.
        timeout_seconds: Longest time for a request to arrive, and for its prediction.
    """

    workers: Annotated[int, Field(ge=1, le=256)]
    poll_seconds: Annotated[float, Field(ge=0.1, le=3600)]
    max_body_mb: Annotated[int, Field(ge=1)]
    max_rows: Annotated[int, Field(ge=1)]
    max_queue: Annotated[int, Field(ge=1)]
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)]
    record: Record


class Monitor(Section):
    """When recorded requests count as drifted.

    Attributes:
        alpha: Probability of a false alarm in one comparison of all columns.
        min_effect: Smallest effect that is reported, as the largest difference between two distribution functions or
            shares of levels.
        min_rows: Fewest rows to compare.
        max_rows: Most rows to compare; of more, a sample is used.
    """

    alpha: Probability
    min_effect: Share
    min_rows: Annotated[int, Field(ge=20)]
    max_rows: Annotated[int, Field(ge=100)]
