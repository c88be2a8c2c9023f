"""The scheduler of ``celery beat``: the app's ``beat_schedule`` and the tenants' schedules, by one beat of many."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from celery.beat import Scheduler
from kombu.utils.url import maybe_sanitize_url

from taketurns.errors import RegistryUnavailable, TaketurnsError
from taketurns.extension import TakeTurns
from taketurns.schedules.entries import LastRuns
from taketurns.schedules.firing import Firing
from taketurns.schedules.schedules import ROLE
from taketurns.schedules.undisturbed import undisturbed

if TYPE_CHECKING:
    from celery import Celery
    from celery.beat import ScheduleEntry

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks, at most: so long may a new schedule, or another beat's end, go unnoticed."""


class _Overtaken(TaketurnsError):
    """Another beat has run the entry."""


class TenantScheduler(Scheduler):
    """Celery's own scheduler, with last runs in Redis instead of a file, and the tenants' schedules.

    Any number of beats may run. The one that leads does the work; the others stand by, and one of them takes over as
    soon as it ends, or ``TAKETURNS_SCHEDULES_TAKEOVER`` seconds after it was killed or began to hang. That there are
    two leaders for a moment does no harm: each run, and each entry's, is claimed in Redis before it is submitted.
    Nothing is submitted while Redis is away.
    """

    max_interval = _LOOK_EVERY

    def __init__(self, app: Celery, *args: Any, **kwargs: Any) -> None:
        self._turns = TakeTurns.of(app)
        self._settings = self._turns.settings.schedules
        self._owner = f"beat@{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._last_runs = LastRuns(self._turns.store, app.timezone)
        self._firing = Firing(self._turns)
        self._leads: bool | None = None
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the app's ``beat_schedule``."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.data)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Submit what is due, if this beat leads; return the seconds until the next tick."""
        try:
            with undisturbed() as must_stop:
                if not self._lead():
                    return self._standby
                wait = self._firing.look(must_stop)
            # May wait for RabbitMQ, for as long as the app has set, and can be ended meanwhile.
            return min(wait, super().tick(*args, **kwargs), self._standby)
        except _Overtaken:
            self._leads = None  # its last runs are read anew
            return 0.0
        except RegistryUnavailable as error:
            if self._leads is not False:
                logger.warning("nothing is submitted while Redis is away: %s", error)
            self._leads = False
            return self._turns.settings.redis.redis_retry_after

    def reserve(self, entry: ScheduleEntry) -> ScheduleEntry:
        """Note that an entry runs, before it is submitted."""
        following = next(entry)
        with undisturbed():
            if not self._last_runs.advance(following):
                raise _Overtaken
        self.schedule[entry.name] = following
        return following

    def close(self) -> None:
        """Let another beat take over at once."""
        super().close()
        if self._leads:
            self._leads = None
            with suppress(RegistryUnavailable):
                self._turns.registry.resign(ROLE, self._owner)

    @property
    def info(self) -> str:
        """What beat's banner says of it."""
        redis = self._turns.settings.redis
        return f"       . redis -> {maybe_sanitize_url(redis.redis_url)} ({redis.redis_prefix})"

    @property
    def _standby(self) -> float:
        return min(_LOOK_EVERY, self._settings.takeover / 4)

    def _lead(self) -> bool:
        leads = self._turns.registry.lead(ROLE, self._owner, self._settings.takeover)
        if leads and not self._leads:
            self._last_runs.load(self.schedule.values())
            self._heap = None  # made of the last runs
            logger.info("this beat submits what is due")
        elif not leads and self._leads is not False:
            self._last_runs.forget()
            logger.info("standing by: another beat submits what is due")
        self._leads = leads
        return leads
