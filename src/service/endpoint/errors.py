"""Errors of requests, which become answers with a status from 400."""

from typing import Any


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        content: Content of the answer: `error`, and as far as known `field`, `row`, `value` and `allowed`.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None, **details: Any) -> None:
        super().__init__(error)
        self.status, self.headers = status, headers or {}
        self.content = {"error": error, **{name: value for name, value in details.items() if value is not None}}
