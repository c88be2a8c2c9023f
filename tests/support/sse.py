"""A client of server-sent events."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@dataclass(frozen=True)
class Frame:
    """An event as it came."""

    event: str
    id: str
    data: str


class Frames:
    """The events of one stream, as they come.

    Attributes:
        seen: those that were taken.
    """

    def __init__(self, client: httpx.Client, path: str, **options: Any) -> None:
        self._client = client
        self._path = path
        self._options = options
        self._open = ExitStack()
        self._lines: Iterator[str]
        self.seen: list[Frame] = []

    def __enter__(self) -> Self:
        response = self._open.enter_context(self._client.stream("GET", self._path, **self._options))
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        self._lines = response.iter_lines()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def line(self) -> str:
        """Return the next line."""
        return next(self._lines)

    def take(self, count: int | None = None) -> list[Frame]:
        """Return so many events, or all until the stream ends."""
        taken: list[Frame] = []
        fields: dict[str, str] = {}
        while count is None or len(taken) < count:
            line = next(self._lines, None)
            if line is None:
                assert count is None, f"the stream has ended after {taken}"
                break
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                taken.append(Frame(fields["event"], fields.get("id", ""), fields["data"]))
                fields = {}
        self.seen += taken
        return taken

    def kinds(self, count: int | None = None) -> list[str]:
        """Return what they are."""
        return [frame.event for frame in self.take(count)]
