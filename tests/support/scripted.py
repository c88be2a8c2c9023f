"""An HTTP server that answers what a test has told it to, one answer after the other."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Answer:
    """An answer; with the status 0 the connection ends without any."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes: text as it is, and everything else as JSON."""
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Scripted:
    """The server. Use [scripted][].

    Attributes:
        url: its address.
        asked: the requests that came.
    """

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self.asked: list[Asked] = []
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                asked.append(
                    Asked(self.command, self.path, dict(self.headers.items()), self.rfile.read(length))
                )
                answer = left.pop(0)
                if answer.status:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.content)))
                    self.end_headers()
                    self.wfile.write(answer.content)
                self.close_connection = True

            do_GET = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815  # the base class's names

            def log_message(self, *_: Any) -> None:
                pass

        asked = self.asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    """Serve these answers until the block ends."""
    script = Scripted(answers)
    thread = threading.Thread(target=script.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield script
    finally:
        script.server.shutdown()
        thread.join()
        script.server.server_close()
