"""Whether the servers behind the API answer: all asked at once, with little patience."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from anyio import CapacityLimiter, Lock, create_task_group, move_on_after
from anyio.to_thread import run_sync

from taketurns.api.schemas.operations import Check, Ready
from taketurns.connections import broker_version
from taketurns.errors import TaketurnsError
from taketurns.extension import TakeTurns

PATIENCE: Final = 2.0
"""Seconds that a server has to answer."""

_FRESH: Final = 1.0
"""Seconds for which an answer is given again: probes need no token, and each look opens a connection."""

_THREADS: Final = 6
"""Of our own, so that requests which wait for a silent broker don't delay the answer that it is silent."""


class Readiness:
    """Looks whether RabbitMQ, its management API and Redis answer. One look serves all who ask meanwhile."""

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self._management = turns.open_management(PATIENCE)
        self._threads = CapacityLimiter(_THREADS)
        self._looking = Lock()
        self._looked_at = float("-inf")
        self._seen: Ready | None = None

    async def look(self) -> Ready:
        """Return what is found; not older than a second, and within about two."""
        async with self._looking:
            if self._seen is None or time.monotonic() - self._looked_at > _FRESH:
                self._seen = await self._look()
                self._looked_at = time.monotonic()
            return self._seen

    async def _look(self) -> Ready:
        checks: dict[str, Check] = {}

        async def check(name: str, ask: Callable[[], object]) -> None:
            checks[name] = await self._checked(ask)

        async with create_task_group() as group:
            group.start_soon(check, "broker", partial(broker_version, self._turns.app, PATIENCE))
            group.start_soon(check, "management", self._management.ping)
            group.start_soon(check, "redis", self._turns.store.ping)
        answering = {name for name, found in checks.items() if found.status == "ok"}
        if "broker" not in answering:
            return Ready(status="unavailable", **checks)
        return Ready(status="ready" if len(answering) == len(checks) else "degraded", **checks)

    async def _checked(self, ask: Callable[[], object]) -> Check:
        with move_on_after(PATIENCE):
            try:
                # The thread ends by its own timeout; nobody waits for that.
                await run_sync(ask, abandon_on_cancel=True, limiter=self._threads)
            except TaketurnsError as error:
                return Check(status="error", message=str(error))
            return Check(status="ok")
        return Check(status="error", message=f"no answer within {PATIENCE:g} s")
