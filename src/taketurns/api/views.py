"""How a tenant, a schedule and a dead letter look from outside."""

import json
from dataclasses import asdict
from typing import Any

from taketurns.api.results import jsonable
from taketurns.api.schemas.letters import DeadLetterSummary, DeadLetterView, OwnLetterSummary, OwnLetterView
from taketurns.api.schemas.schedules import ScheduleView
from taketurns.api.schemas.tasks import TasksCancelled
from taketurns.api.schemas.tenants import Backlog, LimitStatus, TenantStatistics, TenantView
from taketurns.cancelling import Cancellation
from taketurns.deadletters.letter import DeadLetter
from taketurns.extension import TakeTurns
from taketurns.roster import KnownTenant
from taketurns.schedules import Schedule


def tenant_view(known: KnownTenant) -> TenantView:
    """Return a tenant with its queue as the live listing has it."""
    settings = known.settings
    backlog = Backlog(ready=known.ready, unacknowledged=known.unacknowledged)
    return TenantView(
        tenant=known.tenant,
        queue=known.queue,
        has_queue=known.has_queue,
        backlog=None if known.has_queue is None else backlog,
        rate_limit=settings.rate_limit,
        task_rate_limits=dict(settings.task_rate_limits),
        weight=settings.weight,
        max_concurrency=settings.max_concurrency,
        burst_when_idle=settings.burst_when_idle,
        max_backlog=settings.max_backlog,
        priority_rate_limits=dict(settings.priority_rate_limits),
        paused=settings.paused,
        tags=dict(settings.tags),
        metadata=dict(settings.metadata),
        completed=known.completed,
        failed=known.failed,
        created_at=known.created_at,
    )


def cancellation_view(outcome: Cancellation) -> TasksCancelled:
    """Return what came of cancelling tasks, in numbers."""
    return TasksCancelled(
        cancelled=len(outcome.cancelled),
        running=len(outcome.running) - len(outcome.terminated),
        terminated=len(outcome.terminated),
        silent=list(outcome.silent),
    )


def statistics(turns: TakeTurns, tenant: str, *, owner: str | None = None) -> TenantStatistics:
    """Return how many tasks of a tenant wait, run and have ended, and how its rates stand.

    The errors are those of ``TakeTurns.stats`` and ``TakeTurns.rate_status``.

    Args:
        turns: the app's TakeTurns.
        tenant: the tenant.
        owner: the one of its owners whose records are counted; by default nobody's, if several may share it.
    """
    if owner is None and not turns.tenancy.key.is_shared:
        owner = tenant
    recorded = {} if owner is None else asdict(turns.tasks.stats(owner))
    limits = [LimitStatus(**asdict(rate)) for rate in turns.rate_status(tenant)]
    return TenantStatistics(**asdict(turns.stats(tenant)), **recorded, limits=limits)


def schedule_view(schedule: Schedule) -> ScheduleView:
    """Return a schedule without what only beat needs."""
    fields = asdict(schedule)
    return ScheduleView(**{name: fields[name] for name in ScheduleView.model_fields})


def letter_summary(letter: DeadLetter) -> DeadLetterSummary:
    """Return a dead letter as one of many."""
    return DeadLetterSummary(**_fields(letter, DeadLetterSummary))


def letter_view(letter: DeadLetter) -> DeadLetterView:
    """Return a dead letter with all that is known of it."""
    return DeadLetterView(**asdict(letter))


def own_letter_summary(letter: DeadLetter) -> OwnLetterSummary:
    """Return a dead letter as one of many, as its tenant sees it."""
    return OwnLetterSummary(**_fields(letter, OwnLetterSummary))


def own_letter_view(letter: DeadLetter) -> OwnLetterView:
    """Return a dead letter as its tenant sees it, with the task's arguments.

    The traceback shows the code of those who run the service, and headers and options name hosts and whatever comes
    after the task: these are for operators.
    """
    args, kwargs = _arguments(letter.body)
    return OwnLetterView(**_fields(letter, OwnLetterSummary), args=args, kwargs=kwargs)


def _fields(letter: DeadLetter, model: type[OwnLetterSummary]) -> dict[str, Any]:
    fields = asdict(letter)
    return {name: fields[name] for name in model.model_fields}


def _arguments(body: str) -> tuple[list[Any] | None, dict[str, Any] | None]:
    try:
        match jsonable(json.loads(body)):
            case [list() as args, dict() as kwargs, *_]:
                return args, kwargs
    except (ValueError, RecursionError):
        pass
    return None, None
