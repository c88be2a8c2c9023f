"""How a tenant, a schedule and a dead letter look from outside."""

from dataclasses import asdict

from taketurns.api.schemas import (
    Backlog,
    DeadLetterSummary,
    DeadLetterView,
    LimitStatus,
    ScheduleView,
    TenantStatistics,
    TenantView,
)
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


def statistics(turns: TakeTurns, tenant: str) -> TenantStatistics:
    """Return how many tasks of a tenant wait, run and have ended, and how its rates stand.

    The errors are those of ``TakeTurns.stats`` and ``TakeTurns.rate_status``.
    """
    limits = [LimitStatus(**asdict(rate)) for rate in turns.rate_status(tenant)]
    return TenantStatistics(**asdict(turns.stats(tenant)), **asdict(turns.tasks.stats(tenant)), limits=limits)


def schedule_view(schedule: Schedule) -> ScheduleView:
    """Return a schedule without what only beat needs."""
    fields = asdict(schedule)
    return ScheduleView(**{name: fields[name] for name in ScheduleView.model_fields})


def letter_summary(letter: DeadLetter) -> DeadLetterSummary:
    """Return a dead letter as one of many."""
    fields = asdict(letter)
    return DeadLetterSummary(**{name: fields[name] for name in DeadLetterSummary.model_fields})


def letter_view(letter: DeadLetter) -> DeadLetterView:
    """Return a dead letter with all that is known of it."""
    return DeadLetterView(**asdict(letter))
