"""The options of a submission: what they may be, and what they mean. Pure: no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from celery.utils.time import maybe_iso8601, maybe_make_aware

from taketurns.delays import LONGEST, plan
from taketurns.errors import InvalidInput, TaketurnsError
from taketurns.tenants import tenant_of
from taketurns.texts import is_text
from taketurns.topology import PRIORITIES

if TYPE_CHECKING:
    from celery import Celery

# How a message is published is not a caller's choice; a retry passes some of these on from its old message.
_OURS: Final = (
    "connection",
    "declare",
    "delivery_mode",
    "immediate",
    "mandatory",
    "publisher",
    "redelivered",
    "router",
)
DESTINATION: Final = ("queue", "exchange", "routing_key")
_LONGEST_ID: Final = 255  # of a short string in AMQP, such as a correlation id


def refuse_destinations(task: str, options: dict[str, Any]) -> None:
    """Take out of the options what is no caller's choice.

    Raises:
        TaketurnsError: a destination was chosen.
        InvalidInput: another serializer than JSON was.
    """
    for option in _OURS:
        options.pop(option, None)
    chosen = [options.pop(option, None) for option in DESTINATION]
    if any(name is not None and tenant_of(str(name)) is None for name in chosen):
        raise TaketurnsError(
            f"task {task!r} goes into its tenant's queue: leave out queue, exchange and routing_key"
        )
    if options.get("serializer", "json") != "json":
        raise InvalidInput(
            options["serializer"], "json, the only serializer of tenant queues", field="serializer"
        )


def checked_id(task_id: Any) -> str:
    """Return a task's id if it has the accepted form.

    Raises:
        InvalidInput: it has not.
    """
    if is_text(task_id, _LONGEST_ID):
        return task_id
    raise InvalidInput(task_id, f"a text of 1 to {_LONGEST_ID} bytes", field="task_id")


def priority_of(given: Any, *, inherited: bool = False) -> int:
    """Return a priority by its name or number.

    Args:
        given: the name or number.
        inherited: whether it may come from before taketurns: in the call of an ordinary task, or passed on by Celery
            from one, in a retry or by ``task_inherit_parent_priority``. Then a higher one is the highest there is.

    Raises:
        InvalidInput: it is neither.
    """
    highest = max(PRIORITIES.values())
    if isinstance(given, str) and given in PRIORITIES:
        return PRIORITIES[given]
    if isinstance(given, int) and not isinstance(given, bool) and (0 <= given <= highest or inherited):
        return max(0, min(given, highest))
    raise InvalidInput(given, f"{', '.join(PRIORITIES)} or 0 to {highest}", field="priority")


def due_at(app: Celery, countdown: float | None, eta: datetime | str | None) -> datetime | None:
    """Return when a task is due, if not at once.

    Raises:
        InvalidInput: that is too far away, or no number and no time.
    """
    now: datetime = app.now()
    if countdown is not None:
        if not isinstance(countdown, int | float):
            raise InvalidInput(countdown, "a number of seconds", field="countdown")
        plan(max(countdown, 0))
        return now + timedelta(seconds=countdown) if countdown > 0 else None
    try:
        due: datetime | None = maybe_make_aware(maybe_iso8601(eta), app.timezone) if eta is not None else None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(eta, "a datetime, or one in ISO 8601", field="eta") from error
    if due is None or due <= now:
        return None
    _check_delay((due - now).total_seconds(), eta, field="eta")
    return due


def _check_delay(seconds: float, given: object, *, field: str) -> None:
    try:
        plan(seconds)
    except InvalidInput as error:
        raise InvalidInput(given, f"at most {LONGEST / 86400:.1f} days from now", field=field) from error


def expires_at(app: Celery, given: float | datetime | str | None) -> datetime | None:
    """Return when it is too late for a task to start, if ever.

    Args:
        app: the app, whose time zone a time without one is in.
        given: seconds from now, or a time.

    Raises:
        InvalidInput: it is neither, or too far away.
    """
    accepted = "a number of seconds above 0, a datetime, or one in ISO 8601, not beyond the year 9999"
    if given is None:
        return None
    try:
        if isinstance(given, int | float) and not isinstance(given, bool):
            now: datetime = app.now()
            if given > 0:
                return now + timedelta(seconds=given)
        elif isinstance(given, str | datetime):
            expires: datetime = maybe_make_aware(maybe_iso8601(given), app.timezone)
            return expires
    except (ValueError, TypeError, AttributeError, OverflowError):
        pass
    raise InvalidInput(given, accepted, field="expires")
