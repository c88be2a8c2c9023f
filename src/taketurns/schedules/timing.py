"""When a schedule is due: by a cron expression, or at an interval. Pure: no clock. Times are seconds since 1970."""

from __future__ import annotations

import re
from collections import deque
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from math import floor
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab

from taketurns.durations import UNIT_SECONDS, seconds_of
from taketurns.errors import InvalidInput

LONGEST: Final = 366 * UNIT_SECONDS["d"]
"""Seconds of the longest interval."""

_LONGEST_CRON: Final = 200
_FIELDS: Final = re.compile(r"[0-9a-z*,/-]+( +[0-9a-z*,/-]+){4}", re.ASCII | re.IGNORECASE)
_CRON: Final = (
    "minute, hour, day of month, month and day of week (0 to 6 or sun to sat), such as '*/5 * * * *' or "
    "'30 9 * * mon-fri'"
)
_EVERY: Final = "a whole number and one of s, m, h and d, such as 30s, 5m or 1d; from 1s to 366d"
_ZONE: Final = "the name of a time zone, such as Europe/Berlin or UTC"
_FIRST_SPAN: Final = 3600.0


class Timing(Protocol):
    """Tells when something is due."""

    def after(self, moment: float) -> float:
        """Return the first time after a moment at which it is due, a whole second."""

    def latest(self, first: float, until: float, most: int) -> list[float]:
        """Return the last times at which it is due from ``first`` to ``until``, ``most`` at most, in their order."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Due every ``seconds`` after ``anchor``."""

    seconds: int
    anchor: int

    def after(self, moment: float) -> float:
        """Return the first due time after a moment."""
        return float(self.anchor + max(1, floor((moment - self.anchor) / self.seconds) + 1) * self.seconds)

    def latest(self, first: float, until: float, most: int) -> list[float]:
        """Return the last due times between two moments, both included."""
        last = self.after(until) - self.seconds
        times = (last - back * self.seconds for back in reversed(range(most)))
        return [time for time in times if time >= first]


class Cron:
    """Due when the clock of a time zone shows what the expression says.

    Where clocks are set back, the hour that comes twice counts twice if the expression says ``*`` for hours, and once
    else. Where they are set forward, what would be due in the hour that is left out is due an hour later.

    Args:
        text: the expression, of the accepted form.
        zone: the time zone.
    """

    def __init__(self, text: str, zone: tzinfo) -> None:
        self._cron = _parse(text)
        self._zone = zone
        self._at_each_hour = len(self._cron.hour) == 24  # noqa: PLR2004  # hours of a day

    def after(self, moment: float) -> float:
        """Return the first due time after a moment."""
        if self._at_each_hour and (found := self._in_one_offset(moment)) is not None:
            return found
        base = moment
        while (due := self._next(base, self._zone).timestamp()) <= moment:
            base += 60.0  # the zone's clock shows this twice, and Celery's means the first time
        return due

    def latest(self, first: float, until: float, most: int) -> list[float]:
        """Return the last due times between two moments, both included."""
        # Backwards, Celery's can't be asked. Years of minutes are too many to go through forwards.
        span = _FIRST_SPAN
        while True:
            begin = max(first, until - span)
            times: deque[float] = deque(maxlen=most)
            due = self.after(begin - 1)
            while due <= until:
                times.append(due)
                due = self.after(due)
            if len(times) == most or begin <= first:
                return list(times)
            span *= 4

    def _in_one_offset(self, moment: float) -> float | None:
        """Return the first due time by a clock that is not set; None: it is set more than once until then."""
        offset = _offset(moment, self._zone)
        for _ in range(3):
            due = self._next(moment, timezone(offset)).timestamp()
            then = _offset(due, self._zone)
            if then == offset:
                return due
            offset = then
        return None

    def _next(self, moment: float, zone: tzinfo) -> datetime:
        cron = copy(self._cron)
        cron.tz = zone
        here = datetime.fromtimestamp(moment, zone)
        cron.nowfun = lambda: here  # or it would ask the current app
        last, delta, _ = cron.remaining_delta(here, tz=zone)
        due: datetime = last + delta
        return due


def check_timing(cron: object, every: object, zone: object) -> None:
    """Check what says when a schedule is due: either a cron expression, perhaps with a time zone, or an interval.

    Raises:
        InvalidInput: something has another form; its field is ``cron``, ``every`` or ``timezone``.
    """
    if (cron is None) == (every is None):
        raise InvalidInput(cron, "either this, or every, and not both", field="cron")
    if cron is not None:
        _parse(cron)
        if zone is not None:
            read_zone(zone)
        return
    if not 1 <= (seconds_of(every) or 0) <= LONGEST:
        raise InvalidInput(every, _EVERY, field="every")
    if zone is not None:
        raise InvalidInput(zone, "none, with an interval: only a cron expression has one", field="timezone")


def read_zone(name: object) -> tzinfo:
    """Return the time zone of that name.

    Raises:
        InvalidInput: there is none on this machine.
    """
    try:
        return ZoneInfo(name)  # type: ignore[arg-type]  # whatever it is
    except (LookupError, ValueError, OSError, TypeError, AttributeError):
        raise InvalidInput(name, _ZONE, field="timezone") from None


def _parse(text: object) -> crontab:
    if not isinstance(text, str) or len(text) > _LONGEST_CRON or not _FIELDS.fullmatch(text):
        raise InvalidInput(text, f"five fields: {_CRON}", field="cron")
    minute, hour, day, month, weekday = text.split()
    try:
        return crontab(minute, hour, weekday, day, month)
    except (ValueError, ParseException) as error:
        why = str(error).rstrip(".")
        raise InvalidInput(text, f"five fields: {_CRON} ({why})", field="cron") from None


def _offset(moment: float, zone: tzinfo) -> timedelta:
    return datetime.fromtimestamp(moment, zone).utcoffset() or timedelta()
