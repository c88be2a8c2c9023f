"""What changes in a message that moves between an old queue and its tenant's. Pure: no I/O.

Its body, its id, its retries and the rest of its properties stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taketurns.delays import ETA_HEADER, without_traces
from taketurns.topology import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.tenant_key import Whose

_NORMAL: Final = PRIORITIES["normal"]
_UNSAID: Final = 0
"""The priority that Celery writes into the message of a task that has none."""


def for_old_queue(
    properties: Mapping[str, Any], *, default_priority: int | None, due: str | None = None
) -> dict[str, Any]:
    """Return the AMQP properties with which an ordinary worker takes a tenant's message for an ordinary one.

    The tenant stays in its header, which means nothing to a worker without taketurns.

    Args:
        properties: those of the message.
        default_priority: that of the app's ordinary tasks; None for none.
        due: when a delayed task is due, in ISO form; None: now.
    """
    headers = without_traces(properties.get("application_headers"))
    headers.pop(ETA_HEADER, None)
    if due is not None:
        headers["eta"] = due
    priority = properties.get("priority")
    if priority in (None, _NORMAL):  # that of all tenants' tasks would overtake ordinary ones
        priority = _UNSAID if default_priority is None else default_priority
    return {**properties, "application_headers": headers, "priority": priority}


def for_tenant_queue(
    properties: Mapping[str, Any], whose: Whose, *, default_priority: int | None
) -> dict[str, Any]:
    """Return the AMQP properties with which a message of an old queue goes into its tenant's.

    Args:
        properties: those of the message.
        whose: the tenant, and who submitted it.
        default_priority: that of the app's ordinary tasks; None for none.
    """
    headers = whose.in_headers(without_traces(properties.get("application_headers")))
    priority = tenant_priority(properties.get("priority"), default_priority=default_priority)
    return {**properties, "application_headers": headers, "priority": priority}


def tenant_priority(priority: int | None, *, default_priority: int | None) -> int:
    """Return the priority in its tenant's queue of what had this one in an old queue."""
    if priority in (None, _UNSAID, default_priority):
        return _NORMAL
    return min(int(priority or _UNSAID), max(PRIORITIES.values()))
