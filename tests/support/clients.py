"""Both clients of the HTTP API, so that one test can be of either."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from taketurns.client import AsyncClient, Client  # httpx is an extra

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

KINDS = ["sync", "async"]


@contextmanager
def connected(kind: str, url: str, **options: Any) -> Iterator[Client]:
    """Lend a client: that for threads, or one that looks like it and is that for event loops inside."""
    if kind == "sync":
        with Client(url, **options) as client:
            yield client
        return
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(AsyncClient(url, **options)) as asynchronous,
    ):
        yield cast("Client", _Blocking(asynchronous, portal))


class _Blocking:
    def __init__(self, client: AsyncClient, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._client, name))

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        told = method(*args, **kwargs)
        if inspect.isasyncgen(told):
            return self._each(told)
        return self._portal.call(_awaited, told)

    def _each(self, items: AsyncGenerator[Any, Any]) -> Iterator[Any]:
        try:
            while True:
                yield self._portal.call(anext, items)
        except StopAsyncIteration:
            pass
        finally:
            self._portal.call(items.aclose)


async def _awaited(told: Any) -> Any:
    return await told
