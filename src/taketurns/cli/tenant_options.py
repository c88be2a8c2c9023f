"""The options that say what a tenant's settings are to be, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from taketurns.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from taketurns.registry import TenantSettings

_NONE: Final = "none"

Rate = Annotated[
    str | None,
    typer.Option(metavar="RATE", help="Starts of its tasks in a period, such as 10/60s:5; or none."),
]
Weight = Annotated[float | None, typer.Option(help="Its share of the work beside the others.")]
MaxConcurrency = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="Its tasks that may run at once; or none.")
]
BurstWhenIdle = Annotated[
    bool | None,
    typer.Option(
        "--burst-when-idle/--no-burst-when-idle", help="Let it run more of them while nobody else waits."
    ),
]
MaxBacklog = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help="Its tasks that may wait in its queue; none is the default."),
]
Tag = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Add or replace a tag, KEY= removes it; may be repeated."),
]
PriorityRate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PRIORITY=RATE", help="The rate of its low, normal or high tasks; or =none. May be repeated."
    ),
]
TaskRate = Annotated[
    list[str] | None,
    typer.Option(metavar="TASK=RATE", help="The rate of its tasks of one name; or =none. May be repeated."),
]
Metadata = Annotated[
    str | None, typer.Option(metavar="JSON", help="Replace its metadata by this JSON object.")
]


def change_of(
    *,
    rate: str | None,
    weight: float | None,
    max_concurrency: str | None,
    burst_when_idle: bool | None,
    max_backlog: str | None,
    tag: list[str] | None,
    untag: list[str] | None,
    priority_rate: list[str] | None,
    task_rate: list[str] | None,
    metadata: str | None,
) -> Callable[[TenantSettings], TenantSettings] | None:
    """Return what makes the new settings of the old ones; None: no option was given.

    Raises:
        InvalidInput: an option does not have its accepted form.
    """
    from taketurns.registry.metadata import read_metadata

    changes: dict[str, Any] = {}
    if rate is not None:
        changes["rate_limit"] = None if rate == _NONE else rate
    if weight is not None:
        changes["weight"] = weight
    if max_concurrency is not None:
        changes["max_concurrency"] = _number(max_concurrency, field="--max-concurrency")
    if burst_when_idle is not None:
        changes["burst_when_idle"] = burst_when_idle
    if max_backlog is not None:
        changes["max_backlog"] = _number(max_backlog, field="--max-backlog")
    if metadata is not None:
        changes["metadata"] = read_metadata(metadata)
    tags = _tags(tag or (), untag or ())
    priorities = _priority_rates(priority_rate or ())
    tasks = _rates(
        task_rate or (), field="--task-rate", accepted="TASK=RATE, each task once, such as shop.mail=10/1s"
    )
    if not (changes or tags or priorities or tasks):
        return None

    def change(before: TenantSettings) -> TenantSettings:
        return before.tagged(tags).changed(
            **changes,
            priority_rate_limits=_merged(before.priority_rate_limits, priorities),
            task_rate_limits=_merged(before.task_rate_limits, tasks),
        )

    return change


def _number(text: str, *, field: str) -> int | None:
    if text == _NONE:
        return None
    from taketurns.registry.tenant_settings import LARGEST_NUMBER

    try:
        number = int(text)
    except ValueError:  # also if it has thousands of digits
        number = 0
    if not 1 <= number <= LARGEST_NUMBER:
        raise InvalidInput(text, f"a whole number from 1 to {LARGEST_NUMBER}, or none", field=field)
    return number


def _tags(given: Iterable[str], removed: Iterable[str]) -> Mapping[str, str | None]:
    """Return what becomes of the tags that are named; None: it is removed."""
    from taketurns.registry.tags import check_key, read_tags

    keys = [*removed]
    written = []
    for text in given:
        key, separator, value = text.partition("=")
        if separator and not value:
            keys.append(key)
        else:
            written.append(text)
    tags: dict[str, str | None] = {**read_tags(written, field="--tag")}
    for key in keys:
        if check_key(key, field="--untag") in tags:
            raise InvalidInput(key, "a tag that is not set in the same command", field="--untag")
        tags[key] = None
    return tags


def _priority_rates(given: Iterable[str]) -> dict[str, str | None]:
    """Return the rates by priority; None: it is taken away."""
    from taketurns.topology import PRIORITIES

    accepted = f"PRIORITY=RATE with {', '.join(PRIORITIES)}, each once, such as high=10/1s or high=none"
    return _rates(given, field="--priority-rate", accepted=accepted, names=PRIORITIES)


def _rates(
    given: Iterable[str], *, field: str, accepted: str, names: Container[str] | None = None
) -> dict[str, str | None]:
    """Return the rates by what is limited, any of the names; None: it is taken away."""
    from taketurns.limits.rate import parse_rate

    rates: dict[str, str | None] = {}
    for text in given:
        limited, separator, rate = text.partition("=")
        if not (separator and limited) or limited in rates or (names is not None and limited not in names):
            raise InvalidInput(text, accepted, field=field)
        if rate != _NONE:
            parse_rate(rate, field=field)
        rates[limited] = None if rate == _NONE else rate
    return rates


def _merged(before: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**before, **changes}
    return {limited: rate for limited, rate in merged.items() if rate is not None}
