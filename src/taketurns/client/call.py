"""What a client asks of the API, apart from how it is sent. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from taketurns.client.errors import UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

T = TypeVar("T")

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: the HTTP method.
        path: the path, below the API's address.
        read: makes the answer of a successful response's body.
        query: its parameters.
        body: its body; None: it has none.
        content_type: the body's.
        is_repeatable: whether it does no harm to send it twice.
        patience: seconds that the answer may take at least, whatever the client's timeout is.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON
    is_repeatable: bool = True
    patience: float = 0.0

    def asking(self, **query: str) -> Self:
        """Return the same call with other parameters."""
        return replace(self, query={**self.query, **query})


def a(model: type[T]) -> Callable[[bytes], T]:
    """Return what reads a model.

    What it returns raises UnexpectedAnswer if the body is something else.
    """

    def read(body: bytes) -> T:
        try:
            answer: T = _reader(cast("Hashable", model)).validate_json(body)
        except ValidationError as error:
            message = f"this is no {model.__name__}: {error}"
            raise UnexpectedAnswer(None, "unexpected_answer", message) from error
        return answer

    return read


@cache
def _reader(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def nothing(_: bytes) -> None:
    """Read an answer without a body."""


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON."""
    return json.dumps(body, allow_nan=False).encode()


def part(text: str, *, of: str) -> str:
    """Return a text as one part of a path.

    Raises:
        ValueError: it can't be one.
    """
    if text in {"", ".", ".."}:
        raise ValueError(f"{of}: {text!r} is not valid; accepted is what the API has told")
    return quote(text, safe="")
