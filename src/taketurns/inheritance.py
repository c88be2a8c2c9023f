"""What comes after a task, in chains, callbacks and chords: how it gets the tenant, and that it was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._state import get_current_worker_task

from taketurns.tenants import OWNER_HEADER, TENANT_HEADER, owner_of_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHORD_UNLOCK = "celery.chord_unlock"


def tenant_of_request(request: Any) -> str | None:
    """Return the tenant in the headers of a task's request, of an ordinary task's as well."""
    return (request.headers or {}).get(TENANT_HEADER)


def current_owner() -> str | None:
    """Return who submitted the task that runs in this thread, if one does and has a tenant."""
    task = get_current_worker_task()
    return owner_of_headers(task.request.headers) if task is not None else None


def pass_tenant_on(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
    """Handle Celery's before_task_publish: an ordinary task carries on the tenant of the task that sends it.

    So a chain keeps its tenant when it goes through an ordinary task. The ``tenant`` option means nothing to
    such a task and would end up among its message's properties. The message names the owner alone: that is mapped to
    a tenant where a tenants' task is submitted.
    """
    owner = properties.pop("tenant", None) or current_owner()
    if owner is not None:
        headers.setdefault(TENANT_HEADER, owner)


def was_accepted_before(options: Mapping[str, Any]) -> bool:
    """Tell whether a submission goes on with what was accepted before, so that it must not be refused now.

    It is a retry, what replaces a task, or what comes after one: Celery names the root of these itself, and in a
    retry the attempts. A chord's body bears no such sign. It is submitted while a task of the chord's header runs, or
    the task that waits for them all; so what these submit themselves counts as accepted too.

    Args:
        options: the options of ``apply_async``.
    """
    if options.get("root_id") is not None or options.get("retries") is not None:
        return True
    running = get_current_worker_task()
    return running is not None and (running.name == _CHORD_UNLOCK or running.request.chord is not None)


def goes_on_without_tenant(options: Mapping[str, Any]) -> bool:
    """Tell whether a submission that names no tenant goes on with what was accepted without one.

    Such tasks come from publishers that don't have taketurns yet. What follows them goes where it always went: a
    retry, the rest of a chain, and what a TenantTask without a tenant submits itself.

    Args:
        options: the options of ``apply_async``.
    """
    # Only a TenantTask has for_tenant; its module can't be imported here.
    return was_accepted_before(options) or hasattr(get_current_worker_task(), "for_tenant")


def give_what_follows(options: dict[str, Any], owner: str) -> None:
    """Give the owner to all that the options of a submission have come after the task."""
    for option in ("chain", "link", "link_error"):
        if options.get(option):
            options[option] = give_all(options[option], owner)
    if options.get("chord"):
        options["chord"] = give_tenant(options["chord"], owner)


def give_tenant(signature: Any, owner: str) -> Any:
    """Return a copy of a signature in which every task without a tenant has this owner's.

    What is to come after a task is sent by a worker: an errback perhaps outside of any task, a chord's body from
    an unlock task. So it gets its tenant now. A tenant that is named inside wins over this one, and one that is
    named for a whole group or chain wins over what is inside, as with all of Celery's options. The owner is mapped to
    a tenant when the task is submitted, and not before.
    """
    options = signature.get("options") or {}
    kind = signature.get("subtask_type")
    if options.get("tenant") is not None:
        if kind in ("chain", "group", "chord"):
            return signature
        owner = options["tenant"]
    kwargs: Mapping[str, Any] = signature.get("kwargs") or {}
    if kind in ("chain", "group"):
        return _with(signature, kwargs={**kwargs, "tasks": give_all(kwargs["tasks"], owner)})
    if kind == "chord":
        header = kwargs["header"]
        given = give_tenant(header, owner) if isinstance(header, dict) else give_all(header, owner)
        body = kwargs.get("body") and give_tenant(kwargs["body"], owner)
        return _with(signature, kwargs={**kwargs, "header": given, "body": body})
    # A worker without taketurns knows nothing of the option, but sends the header on.
    headers = {**(options.get("headers") or {}), TENANT_HEADER: owner}
    headers.pop(OWNER_HEADER, None)
    return _with(signature, options={**options, "tenant": owner, "headers": headers})


def give_all(signatures: Any, owner: str) -> list[Any]:
    """Return [give_tenant][] of each of several signatures, or of one."""
    several = [signatures] if isinstance(signatures, dict) else signatures
    return [give_tenant(signature, owner) for signature in several]


def _with(signature: dict[str, Any], **changes: Any) -> Any:
    # A plain dictionary is what a signature is in a message; Celery makes it one again where it needs one.
    return {**signature, **changes}
