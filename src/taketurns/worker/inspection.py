"""What can be seen of a message before anything is done with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.exceptions import ContentDisallowed, DecodeError

from taketurns.texts import is_encodable
from taketurns.time_limits import is_time_limit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from taketurns.worker.messages import TenantMessage


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
        if not isinstance(value, str) or not is_encodable(value):
            return f"not a task message: {name} in its headers is {value!r}, and no text"
    match limits := headers.get("timelimit"):
        case None:
            return None
        case [hard, soft] if is_time_limit(hard) and is_time_limit(soft):
            return None
        case _:  # Celery would take them, and fail in its loop
            return f"time limits {limits!r}; accepted are two positive numbers of seconds, or null"


def _problem_of_body(message: TenantMessage) -> str | None:
    try:
        body = message.payload  # decoded once; Celery's strategy reads the same
    except (DecodeError, ContentDisallowed) as error:
        return f"undecodable: {error!r}"
    match body:
        case [list(), dict(), dict()]:
            return None
        case _:
            return "not a task message: its body is not [args, kwargs, options]"


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
