"""What can be seen of a message before anything is done with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.exceptions import ContentDisallowed, DecodeError

from taketurns.retries import MOST_RETRIES, is_count
from taketurns.texts import is_encodable, is_text
from taketurns.time_limits import is_time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import tzinfo

    from taketurns.worker.messages import TenantMessage


_LONGEST: Final = 255
"""Bytes of a task's name and id."""

_TEXTS: Final = ("root_id", "parent_id", "group", "shadow", "lang", "origin", "meth")

_ACCEPTED: Final[tuple[tuple[str, Callable[[object], bool], str], ...]] = (
    *((name, lambda value: isinstance(value, str) and is_encodable(value), "text") for name in _TEXTS),
    # A repr is only shown; that of a task's arguments may hold half a surrogate pair.
    *((name, lambda value: isinstance(value, str), "text") for name in ("argsrepr", "kwargsrepr")),
    *(
        (name, lambda value: isinstance(value, int), "number")
        for name in ("group_index", "replaced_task_nesting")
    ),
    ("expires", lambda value: isinstance(value, str | datetime), "time"),
    ("stamps", lambda value: isinstance(value, dict), "object"),
    ("stamped_headers", lambda value: isinstance(value, list), "list"),
)
"""Headers that may be missing or null, what they may be, and what that is called."""


def is_named(headers: Mapping[str, object]) -> bool:
    """Tell whether a message's task has a name and an id: anything may stand there, a list too."""
    return is_text(headers.get("task"), _LONGEST) and is_text(headers.get("id"), _LONGEST)


def problem_of(message: TenantMessage) -> str | None:
    """Say why the message can't be a tenant's task, or return None. Its arguments are Celery's to judge."""
    if message.errors:
        return f"undecodable: {message.errors[0][1]!r}"
    if message.content_type != "application/json":
        return f"content type {message.content_type!r}; tenant queues carry application/json only"
    return _problem_of_headers(message.headers) or _problem_of_body(message)


def _problem_of_headers(headers: Mapping[str, object]) -> str | None:
    for name in ("task", "id"):
        value = headers.get(name)
        if not is_text(value, _LONGEST):
            return f"not a task message: {name} in its headers is {value!r}, and no text of 1 to {_LONGEST} bytes"
    # What follows Celery would take, and fail of it in its loop, or after the task has run.
    for name, accepts, accepted in _ACCEPTED:
        value = headers.get(name)
        if value is not None and not accepts(value):
            return f"not a task message: {name} in its headers is {value!r}, and no {accepted}"
    retries = headers.get("retries", 0)
    if not is_count(retries):
        return f"retries in its headers is {retries!r}; accepted is a whole number from 0 to {MOST_RETRIES}"
    match limits := headers.get("timelimit"):
        case None:
            return None
        case [hard, soft] if is_time_limit(hard) and is_time_limit(soft):
            return None
        case _:
            return f"time limits {limits!r}; accepted are two positive numbers of seconds, or null"


def _problem_of_body(message: TenantMessage) -> str | None:
    try:
        body = message.payload  # decoded once; Celery's strategy reads the same
    except (DecodeError, ContentDisallowed) as error:
        return f"undecodable: {error!r}"
    match body:
        case [list(), dict(), dict() as options]:
            return _problem_of_canvas(options)
        case _:
            return "not a task message: its body is not [args, kwargs, options]"


def _problem_of_canvas(options: Mapping[str, object]) -> str | None:
    """Say what is wrong with the signatures of what follows the task: Celery would find out when it has run."""
    for name in ("callbacks", "errbacks", "chain"):
        several = options.get(name)
        if several is not None and not (isinstance(several, list) and all(map(_is_signature, several))):
            return f"not a task message: {name} in its options is no list of signatures"
    chord = options.get("chord")
    if chord is not None and not _is_signature(chord):
        return "not a task message: chord in its options is no signature"
    return None


def _is_signature(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("task"), str)


def has_expired(message: TenantMessage, zone: tzinfo) -> bool:
    """Tell whether its task is too late to be run; what is no time at all is Celery's to judge.

    Args:
        message: a task message.
        zone: that of a time without one.
    """
    expires = message.headers.get("expires")
    if expires is None:
        return False
    try:
        return bool(datetime.now(UTC) > maybe_make_aware(maybe_iso8601(expires), zone))
    except (TypeError, ValueError):
        return False
