"""The reaper's process: it reaps and recovers, each on its interval, and outlives every outage."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taketurns.dependencies.sweep import Sweep
from taketurns.errors import BrokerUnavailable, ManagementUnavailable, RegistryUnavailable
from taketurns.reaper.reaper import Reaper, ReaperReport
from taketurns.reaper.recover import Recoverer, RecoverReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from taketurns.extension import TakeTurns

logger = logging.getLogger(__name__)

_SOON = 5.0
"""Seconds until another try while something is away, at most; so what goes on does so soon after its return."""

_OUTAGES = (BrokerUnavailable, ManagementUnavailable, RegistryUnavailable)


@dataclass(frozen=True)
class ServiceReport:
    """What one run did.

    Attributes:
        reaped: what became of the tenant queues.
        recovered: what became of the lost messages; None in a dry run, which leaves them alone.
    """

    reaped: ReaperReport
    recovered: RecoverReport | None


class ReaperService:
    """Removes idle tenant queues and recovers lost tasks.

    Any number may run. One of them removes queues; all of them recover, also while Redis is away.
    """

    def __init__(self, turns: TakeTurns) -> None:
        """Prepare the service for the app of ``turns``; nothing is opened yet."""
        self._settings = turns.settings.reaper
        self._reaper = Reaper(turns)
        self._recoverer = Recoverer(turns)
        self._sweep = Sweep(turns)
        self._active: bool | None = None

    def run_once(self, *, dry_run: bool = False) -> ServiceReport:
        """Recover what is lost and remove what is idle, once.

        Args:
            dry_run: only tell which queues would be removed and why the others stay; touches nothing.

        Raises:
            BrokerUnavailable: RabbitMQ can't be reached.
            ManagementUnavailable: RabbitMQ's management API can't be used.
            RegistryUnavailable: Redis is away; without it no queue is removed.
        """
        if dry_run:
            return ServiceReport(self._reaper.run_once(dry_run=True), None)
        try:
            recovered = self._recoverer.run_once()
            self._sweep.run_once()
            return ServiceReport(self._reaper.run_once(), recovered)
        finally:
            self._close()

    def run_forever(self, stop: Event) -> None:
        """Reap and recover until ``stop`` is set, which ends it within the time of one removal.

        The start is logged, and whether this reaper is the active one, whenever that changes.
        An outage of RabbitMQ, its management API or Redis suspends what needs it; it is logged once when it begins
        and once when it is over. Any other error ends both loops, sets ``stop`` and is raised.
        """

        def recover() -> bool:
            return self._recoverer.run_once().more

        def reap() -> bool:
            self._report_role(self._reaper.run_once(stop=stop).active)
            return False

        logger.info(
            "the reaper runs: it removes queues idle for %g s every %g s, and sends lost tasks on every %g s",
            self._settings.idle_time,
            self._settings.interval,
            self._settings.recover_interval,
        )

        def sweep() -> bool:
            self._sweep.run_once()
            return False

        interval = self._settings.recover_interval
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="recoverer") as pool:
            others = [
                pool.submit(_loop, "recovering lost tasks", recover, interval, stop),
                pool.submit(_loop, "letting go of tasks that waited for others", sweep, interval, stop),
            ]
            for each in others:
                each.add_done_callback(lambda _: stop.set())
            try:
                _loop("removing idle queues", reap, self._settings.interval, stop)
            finally:
                stop.set()
            for each in others:
                each.result()
        self._close()

    def _report_role(self, active: bool) -> None:  # noqa: FBT001  # it is the only thing that is told
        if active != self._active:
            logger.info(
                "this is the active reaper" if active else "standing by: another reaper is the active one"
            )
        self._active = active

    def _close(self) -> None:
        self._recoverer.close()
        try:
            self._reaper.resign()
        except RegistryUnavailable:
            logger.info("Redis is away: another reaper follows when this one's role expires")


def _loop(what: str, step: Callable[[], bool], interval: float, stop: Event) -> None:
    """Take a step every ``interval`` seconds, at once after one that has left work, soon after one that failed."""
    suspended = False
    while not stop.is_set():
        more = False
        try:
            more = step()
        except _OUTAGES as error:
            if not suspended:
                logger.warning("%s is suspended: %s", what, error)
            suspended = True
        else:
            if suspended:
                logger.warning("%s goes on", what)
            suspended = False
        if not more:
            stop.wait(min(interval, _SOON) if suspended else interval)
