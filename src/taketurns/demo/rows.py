"""What the live table shows of each tenant while a round goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taketurns.demo.names import TENANTS
from taketurns.demo.record import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.demo.record import Record


@dataclass(frozen=True)
class Row:
    """One tenant at one moment; waits and times in seconds.

    Attributes:
        queued: its tasks that wait; None: unknown.
        running: its tasks that have started and not ended.
        done: its tasks that have ended.
        median: the median wait of those that started; None: none has.
        p95: the wait that 95 of 100 do not exceed.
        state: in a word.
        limit: its rate limit, if it has one.
        next_token: seconds until the limit lets the next task start; None: no limit.
    """

    tenant: str
    queued: int | None
    running: int
    done: int
    median: float | None
    p95: float | None
    state: str
    limit: str | None = None
    next_token: float | None = None


def one_queue_rows(record: Record) -> list[Row]:
    """Return the rows of the round through one queue, where only the tasks themselves tell whose they are."""
    return [_row(tenant, record, None) for tenant in TENANTS]


def tenant_queue_rows(record: Record, views: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the rows of the round through tenant queues.

    Args:
        record: what the tasks wrote.
        views: what ``GET /me`` answered to each tenant.
    """
    return [_row(tenant, record, views[tenant]) for tenant in TENANTS]


def _row(tenant: str, record: Record, view: Mapping[str, Any] | None) -> Row:
    tasks = record.tasks(tenant)
    done = sum(each in record.ended for each in tasks)
    running = sum(each in record.started for each in tasks) - done
    queued: int | None = len(tasks) - done - running
    limit, next_token = None, None
    if view is not None:
        queued = view["backlog"]["ready"] if view["backlog"] else None
        limit = view["rate_limit"]
        next_token = next(
            (each["next_token_in"] for each in view["limits"] if each["scope"] == "tenant"), None
        )
    waits = record.waits(tenant)
    return Row(
        tenant=tenant,
        queued=queued,
        running=running,
        done=done,
        median=percentile(waits, 50),
        p95=percentile(waits, 95),
        state=_state(queued or 0, running, done, view or {}, throttled=bool(next_token)),
        limit=limit,
        next_token=next_token,
    )


def _state(queued: int, running: int, done: int, view: Mapping[str, Any], *, throttled: bool) -> str:
    if view.get("paused"):
        return "paused"
    if queued and throttled:
        return "throttled"
    if running:
        return "running"
    if queued:
        return "waiting"
    if done and view.get("has_queue") is False:
        return "removed"
    return "idle" if done else "-"
