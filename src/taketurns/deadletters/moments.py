"""Moments as operators write them: a time in ISO 8601, or how long ago it was. Pure: no clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from taketurns.durations import UNIT_SECONDS
from taketurns.errors import InvalidInput

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d)", re.ASCII)
_ACCEPTED: Final = (
    "a time in ISO 8601, in UTC unless it says otherwise, or how long ago, such as 45s, 30m, 2h or 7d"
)


def read_moment(text: str | None, *, now: datetime, field: str) -> datetime | None:
    """Read a moment such as ``2026-01-31``, ``2026-01-31T12:00:00+01:00`` or ``2h``; None stays None.

    Args:
        text: the moment.
        now: the time from which it is counted back, with its zone.
        field: the field's name for the error.

    Raises:
        InvalidInput: it is not of that form, or before the year 1.
    """
    if text is None:
        return None
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(seconds=int(ago[1]) * UNIT_SECONDS[ago[2]])
        return aware(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise InvalidInput(text, _ACCEPTED, field=field) from None


def aware(moment: datetime) -> datetime:
    """Return a moment in UTC; one without a zone is taken to be so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
