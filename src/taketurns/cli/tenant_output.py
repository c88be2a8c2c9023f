"""How the commands about tenants name and show one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.output import print_fields, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.api.schemas.tenants import Durations, TenantStatistics
    from taketurns.roster import KnownTenant

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's id.")]


def print_tenant(known: KnownTenant, *, as_json: bool) -> None:
    """Print a tenant with all its settings: as one JSON object, the same as over HTTP, or for people."""
    from taketurns.api.views import tenant_view

    view = tenant_view(known)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    print_fields(
        [
            ("tenant", view.tenant),
            ("queue", f"{view.queue}{'' if view.has_queue is not False else ' (none at present)'}"),
            ("waiting", "unknown" if view.backlog is None else _known(view.backlog.ready)),
            ("held or running", "unknown" if view.backlog is None else _known(view.backlog.unacknowledged)),
            ("rate", view.rate_limit or "the default"),
            ("rates of tasks", tagged(view.task_rate_limits) or "the tasks' own"),
            ("rates of priorities", tagged(view.priority_rate_limits) or "none"),
            ("weight", f"{view.weight:g}"),
            ("at once", "any number" if view.max_concurrency is None else view.max_concurrency),
            ("more when idle", "yes" if view.burst_when_idle else "no"),
            ("may wait", "the default" if view.max_backlog is None else view.max_backlog),
            ("paused", "yes" if view.paused else "no"),
            ("tags", tagged(view.tags) or "none"),
            ("metadata", json.dumps(view.metadata, ensure_ascii=False) if view.metadata else "none"),
            ("completed", view.completed),
            ("failed", view.failed),
            ("created", _moment(view.created_at)),
        ]
    )


def print_statistics(found: TenantStatistics) -> None:
    """Print how many tasks of a tenant wait, run and have ended, and how its rates stand."""
    print_fields(
        [
            ("waiting", _known(found.waiting)),
            *_waiting(found),
            ("running", _known(found.running)),
            ("share of what runs", "unknown" if found.share is None else f"{found.share:.0%}"),
            *_lately(found),
            ("completed", found.completed),
            ("failed", found.failed),
            ("created", _moment(found.created_at)),
        ]
    )
    if found.limits:
        print_table(
            ("rate of", "rate", "tokens", "next in"),
            (
                (
                    "all tasks" if each.scope == "tenant" else each.scope,
                    each.limit,
                    f"{each.tokens:.1f} of {each.capacity}",
                    f"{each.next_token_in:.1f} s",
                )
                for each in found.limits
            ),
        )


def _waiting(found: TenantStatistics) -> list[tuple[str, object]]:
    """Return what is known by records, and so of nobody where owners share the tenant."""
    if found.queued is None or found.delayed is None:
        return []
    by_priority = tagged({name: str(count) for name, count in found.queued.items()})
    return [("of them, by priority", by_priority), ("delayed", found.delayed)]


def _lately(found: TenantStatistics) -> list[tuple[str, object]]:
    if found.queued is None:
        return []
    return [("waited lately", _durations(found.waits)), ("ran lately", _durations(found.runs))]


def moment(seconds: float) -> str:
    """Return a time as people read it, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def tagged(pairs: Mapping[str, str]) -> str:
    """Return ``key=value`` for each pair, in the order of the keys."""
    return " ".join(f"{key}={value}" for key, value in sorted(pairs.items()))


def _durations(found: Durations | None) -> str:
    if found is None:
        return "nothing"
    return f"p50 {found.p50:.3g} s, p95 {found.p95:.3g} s, p99 {found.p99:.3g} s, of {found.count}"


def _known(count: int | None) -> object:
    return "unknown" if count is None else count


def _moment(seconds: float | None) -> str:
    return "unknown" if seconds is None else moment(seconds)
