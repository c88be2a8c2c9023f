"""Which tenant a message of an old queue belongs to, and why it stays there otherwise. No I/O but the resolver's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from celery.exceptions import NotRegistered

from taketurns.errors import InvalidTenant, MissingTenant, ResolverFailed, TenantKeyFailed
from taketurns.worker.inspection import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kombu.message import Message

    from taketurns.migration.canary import Canary
    from taketurns.resolving import Tenancy
    from taketurns.tenant_key import Whose

Reason = Literal[
    "undecodable", "unknown_task", "ordinary_task", "no_tenant", "resolver_failed", "outside_canary"
]
"""Why a message stays in the old queue:

- ``undecodable``: it is no JSON task message of Celery's protocol 2, the only ones that tenant queues carry;
- ``unknown_task``: the app knows no task of its name;
- ``ordinary_task``: its task is no TenantTask;
- ``no_tenant``: neither its headers nor the resolver nor a default tells its tenant;
- ``resolver_failed``: the resolver or the tenant key raised an error, or returned what is no tenant id;
- ``outside_canary``: its tenant is outside of the canary.
"""


@dataclass(frozen=True, slots=True)
class Stays:
    """Why a message stays where it is.

    Attributes:
        reason: why.
        task: the name of its task, "" if it has none.
        details: more, for people.
    """

    reason: Reason
    task: str = ""
    details: str = ""


def whose_or_reason(
    message: Message, tasks: Mapping[str, Any], tenancy: Tenancy, canary: Canary
) -> Whose | Stays:
    """Return whose message this is, and whose queue it goes to, or why it stays.

    Args:
        message: the message.
        tasks: the app's tasks by their names.
        tenancy: tells the tenant, as it does of a submission that names none.
        canary: who has a queue of its own.
    """
    name = message.headers.get("task")
    shown = name if isinstance(name, str) else ""
    if (problem := problem_of(message)) is not None:
        return Stays("undecodable", shown, problem)
    try:
        task = tasks[shown]
    except NotRegistered:
        return Stays("unknown_task", shown)
    if not hasattr(task, "for_tenant"):
        return Stays("ordinary_task", shown)
    args, kwargs, _ = message.payload
    try:
        whose = tenancy.whose(shown, args, kwargs, message.headers)
    except MissingTenant:
        return Stays("no_tenant", shown)
    except (ResolverFailed, TenantKeyFailed, InvalidTenant) as error:
        return Stays("resolver_failed", shown, str(error))
    return whose if canary.has(whose.tenant) else Stays("outside_canary", shown, whose.tenant)
