"""Asking a team's weight function: beside the loop, about those who wait or run, so many at a time.

It has a thread of its own. In the one that gives signs of life, a function that waits for a database would have the
worker taken for dead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from celery.utils.log import get_logger

from taketurns.registry import TenantSettings
from taketurns.registry.tenant_settings import checked_weight
from taketurns.tenants import tenant_of
from taketurns.weights import TenantShare
from taketurns.worker.commands import Park
from taketurns.worker.shares import RecentShares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from taketurns.errors import TaketurnsError
    from taketurns.weights import WeightFunction
    from taketurns.worker.background import Background
    from taketurns.worker.commands import M
    from taketurns.worker.turns import Turns

logger = get_logger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two rounds."""
_MOST: Final = 1000
"""Tenants of one round; the others come in the next ones."""
_ROUND: Final = 1.0
"""Seconds after which a round ends early."""
_SLOW: Final = 10.0
"""Seconds after which it is told that the function does not return."""
_REMEMBERED: Final = 60.0
"""Seconds for which a failure counts of a tenant that neither waits nor runs any more."""
_NOTHING_SET: Final = TenantSettings()


@dataclass(frozen=True, slots=True)
class Asked:
    """A tenant about whom the function is asked, as it stood then."""

    queue: str
    settings: TenantSettings
    share: float


Answers = list[tuple[Asked, float | BaseException]]


class Weigher:
    """Keeps what the weight function said of each tenant. For the worker's loop.

    Args:
        function: the team's function.
        background: runs it.
        use: takes the weights of queues, whenever the function has said some.
    """

    def __init__(
        self,
        function: WeightFunction,
        background: Background,
        use: Callable[[Mapping[str, float]], None],
    ) -> None:
        self.shares = RecentShares(time.monotonic())
        """What tenants had lately; to be told of each task that ends."""
        self._function = function
        self._background = background
        self._use = use
        self._said: dict[str, tuple[float, float]] = {}
        """By queue, the weight that was said last, and the configured one that was told then."""
        self._due: dict[str, None] = {}
        """Whom to ask about, in order."""
        self._failing: dict[str, float] = {}
        """The queues of those for whom it failed when it was asked last, and when that was."""
        self._asked_at: float | None = None
        self._told_slow = False

    def weight(self, queue: str, configured: float) -> float:
        """Return the weight that holds for a queue: what the function said last, else the configured one."""
        said = self._said.get(queue)
        return configured if said is None else said[0]

    def ask(self, turns: Turns[M], settings: Mapping[str, TenantSettings], now: float) -> None:
        """Ask about the next ones of those who wait or run, unless the last question is not answered yet.

        Args:
            turns: the scheduler.
            settings: the settings of tenants that have their own.
            now: the time of the monotonic clock.
        """
        self.shares.advance(now, _running(turns))
        if self._asked_at is not None:
            if now - self._asked_at > _SLOW and not self._told_slow:
                self._told_slow = True
                logger.warning(
                    "the weight function has not returned for %g s; all weights stay as they are", _SLOW
                )
            return
        active = _active(turns)
        self._due.update(dict.fromkeys(active))
        self._tidy(turns, now)
        asked = [
            Asked(queue, settings.get(tenant_of(queue) or "", _NOTHING_SET), self.shares.of(queue))
            for queue in islice(self._due, _MOST)
        ]
        if asked:
            self._asked_at = now
            self._background.submit(lambda: answers(self._function, asked), self._answered, self._failed)

    def close(self) -> None:
        """Ask no more."""
        self._background.close()

    def _answered(self, said: Answers) -> None:
        if self._told_slow:
            self._told_slow = False
            logger.info("the weight function returns again")
        asked_at, self._asked_at = self._asked_at or 0.0, None
        was_failing = bool(self._failing)
        weights = {}
        for asked, answer in said:
            queue, configured = asked.queue, asked.settings.weight
            self._due.pop(queue, None)
            if isinstance(answer, BaseException):
                if not self._failing and not was_failing:
                    _tell(asked, answer)
                self._failing[queue] = asked_at
                if queue not in self._said or self._said[queue][1] == configured:
                    continue
                del self._said[queue]  # an operator has changed the weight meanwhile: that is the later word
                weights[queue] = configured
            else:
                self._failing.pop(queue, None)
                self._said[queue] = answer, configured
                weights[queue] = answer
        if was_failing and not self._failing:
            logger.info("the weight function works again")
        self._use(weights)

    def _failed(self, _: TaketurnsError) -> None:
        self._asked_at = None  # a defect, which the background has logged

    def _tidy(self, turns: Turns[M], now: float) -> None:
        """Forget old failures of tenants that have nothing to do, and tenants that are gone, once they are many."""
        for queue, failed_at in tuple(self._failing.items()):
            if failed_at < now - _REMEMBERED and queue not in self._due:
                del self._failing[queue]
        if len(self._said) > 2 * len(turns) + _MOST:
            self._said = {queue: said for queue, said in self._said.items() if queue in turns}


def answers(
    function: WeightFunction, asked: Iterable[Asked], clock: Callable[[], float] = time.monotonic
) -> Answers:
    """Return what the function says, checked, or what it raises; not about all of them if it takes its time."""
    ends = clock() + _ROUND
    said: Answers = []
    for each in asked:
        try:
            said.append((each, checked_weight(function(_told(each)), field="weight_function")))
        except BaseException as error:  # noqa: BLE001  # a SystemExit would end the thread
            said.append((each, error))
        if clock() >= ends:
            break
    return said


def _told(asked: Asked) -> TenantShare:
    return TenantShare(
        tenant=tenant_of(asked.queue) or "",
        share=asked.share,
        weight=asked.settings.weight,
        tags=MappingProxyType(asked.settings.tags),
        metadata=MappingProxyType(asked.settings.metadata),
    )


def _tell(asked: Asked, error: BaseException) -> None:
    logger.warning(
        "the weight function failed for tenant %s; where it fails, the weights before hold: %s: %s",
        tenant_of(asked.queue),
        type(error).__name__,
        error,
        exc_info=error,
    )


def _active(turns: Turns[M]) -> list[str]:
    """Return the queues of those who run, wait for a slot or a turn, or are throttled."""
    return [
        tenant.queue
        for tenant in turns.tenants.values()
        if tenant.running or tenant.hand or tenant.ticket or Park.THROTTLED in tenant.parked
    ]


def _running(turns: Turns[M]) -> Iterable[tuple[str, float]]:
    return (
        (taken.tenant.queue, taken.started_at) for taken in turns.hand.taken if taken.started_at is not None
    )
