"""The HTTP API over real HTTP, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from taketurns.api.app import create_app
from taketurns.api.auth import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.extension import TakeTurns

SECRET = "the secret of the tests, which is long enough"
START_WITHIN = 10.0


class Client(httpx.Client):
    """An HTTP client that carries a tenant's token, as clients of the API do."""

    def __init__(self, url: str, tokens: Tokens, **options: Any) -> None:
        super().__init__(base_url=url, timeout=30.0, **options)
        self.tokens = tokens

    def as_(self, tenant: str, *, operator: bool = False) -> Client:
        """Return a client that speaks for a tenant."""
        token = self.tokens.issue(tenant, operator=operator)
        return Client(str(self.base_url), self.tokens, headers={"Authorization": f"Bearer {token}"})


@contextmanager
def serving(turns: TakeTurns) -> Iterator[Client]:
    """Serve the API of an app until the block ends, and yield a client without a token."""
    config = uvicorn.Config(create_app(turns), port=0, log_level="warning", ws="none", backlog=512)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + START_WITHIN
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        with Client(f"http://{host}:{port}", Tokens(turns.settings.api)) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
