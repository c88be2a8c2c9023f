"""A task to be submitted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taketurns.client.models import Priority


def new_key() -> str:
    """Return an idempotency key that nobody has used."""
    return str(uuid4())


def moment(value: datetime | str, *, of: str) -> str:
    """Return a time as the API reads it.

    Raises:
        ValueError: it has no time zone.
    """
    if isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ValueError(
            f"{of}: {value!r} has no time zone; accepted is one that has, as datetime.now(UTC) does"
        )
    return value.astimezone(UTC).isoformat()


@dataclass(frozen=True)
class Submission:
    """A task to run for the caller's tenant.

    Attributes:
        name: the task's name.
        args: its positional arguments, which JSON must have a form for.
        kwargs: its keyword arguments.
        priority: its place among the tenant's own tasks; None: the task's own.
        countdown: after how long it is to start, in seconds or as a ``timedelta``; not together with ``eta``.
        eta: when it is to start: a ``datetime`` with a time zone, or a text in ISO 8601.
        expires: when it is too late to start: how long after its submission, like ``countdown``, or as a time like
            ``eta``.
        max_retries: how often it is tried again if it fails; None: as often as the task says.
        time_limit: after how long it is ended, like ``countdown``; None: as the task says.
        soft_time_limit: after how long it is told to end, like ``countdown``; no more than ``time_limit``.
        tags: texts by which it can be found.
        idempotency_key: whoever submits with the same key once more has the same task, which runs once. By default
            each submission has a new one, so that it can be repeated if the connection fails. None: it has none, and
            is submitted while the API's Redis is away too, but only repeated if it certainly did not arrive.
        depends_on: ids of the tasks after whose success it runs.
    """

    name: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority | None = field(default=None, kw_only=True)
    countdown: float | timedelta | None = field(default=None, kw_only=True)
    eta: datetime | str | None = field(default=None, kw_only=True)
    expires: datetime | timedelta | float | str | None = field(default=None, kw_only=True)
    max_retries: int | None = field(default=None, kw_only=True)
    time_limit: float | timedelta | None = field(default=None, kw_only=True)
    soft_time_limit: float | timedelta | None = field(default=None, kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)
    idempotency_key: str | None = field(default_factory=new_key, kw_only=True)
    depends_on: Sequence[str] = field(default=(), kw_only=True)

    @property
    def json(self) -> str:
        """It as JSON, in one line of ASCII.

        Raises:
            TypeError: JSON has no form for an argument, or a text is where a list belongs.
            ValueError: a time has no time zone, or an argument is no number in JSON.
        """
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        told["kwargs"] = dict(self.kwargs)
        for name in ("args", "tags", "depends_on"):
            if isinstance(told[name], str):  # which would be a list of its letters
                raise TypeError(f"{name}: {told[name]!r} is not valid; accepted is a list")
            told[name] = list(told[name])
        for name in ("eta", "expires"):
            if isinstance(told[name], datetime):
                told[name] = moment(told[name], of=name)
        for name in ("countdown", "expires", "time_limit", "soft_time_limit"):
            if isinstance(told[name], timedelta):
                told[name] = told[name].total_seconds()
        return json.dumps({name: value for name, value in told.items() if value is not None}, allow_nan=False)
