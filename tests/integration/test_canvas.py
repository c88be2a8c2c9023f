"""For which tenant each task of a chain, group or chord runs, on a real worker."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from support.canvas import rows
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from taketurns.settings import Settings


@pytest.fixture
def ran(settings: Settings, tmp_path: Path, app: Celery, eventually: Callable[..., None]) -> Iterator[Any]:
    """A worker, and a function that waits until so many tasks have run and tells the tenants of each label."""

    def tenants(count: int) -> dict[str, str]:
        eventually(lambda: len(rows(settings)) >= count, within=20, what=f"{count} tasks have run")
        found: dict[str, list[str]] = defaultdict(list)
        for row in rows(settings):
            found[row["label"]].append(str(row["tenant"]))
        return {label: " ".join(sorted(several)) for label, several in found.items()}

    with worker(settings, tmp_path, "-P", "threads", "-c", "4", app="support.canvas_worker"):
        yield tenants


def test_chains(app: Celery, ran: Any) -> None:
    """A chain's tenant is that of all its tasks, ordinary ones and those behind them too, but for their own."""
    note, plain = app.tasks["note"], app.tasks["plain"]
    whole = chain(note.s("a1"), plain.s("a2"), note.s("a3"), note.s("a4")).set(tenant="acme")
    assert whole.apply_async().get(timeout=20) == "a4"
    first = chain(note.s("b1").set(tenant="beta"), note.s("b2").set(tenant="other"), note.s("b3"))
    assert first.apply_async().get(timeout=20) == "b3"
    ordinary_first = chain(plain.s("c1"), plain.s("c2"), note.s("c3"))
    assert ordinary_first.apply_async(tenant="corp").get(timeout=20) == "c3"
    bound = note.for_tenant("dell").s("d1") | note.s("d2")
    assert bound().get(timeout=20) == "d2"
    assert ran(12) == {
        **dict.fromkeys(["a1", "a2", "a3", "a4"], "acme"),
        **dict.fromkeys(["b1", "b3"], "beta"),
        "b2": "other",
        **dict.fromkeys(["c1", "c2", "c3"], "corp"),
        **dict.fromkeys(["d1", "d2"], "dell"),
    }


def test_groups_and_chords(app: Celery, ran: Any) -> None:
    """A group's or chord's tenant is that of all its tasks; a chord's body has its header's unless it has its own."""
    note, collect, plain = app.tasks["note"], app.tasks["collect"], app.tasks["plain"]
    group(note.s("a1"), note.s("a2")).set(tenant="acme").apply_async().get(timeout=20)
    group(note.s("b1").set(tenant="b1"), note.for_tenant("b2").s("b2"))().get(timeout=20)
    chord([note.s("c1"), note.s("c2")], collect.s("c")).set(tenant="corp").apply_async().get(timeout=20)
    header = [note.s("d1").set(tenant="dell"), note.s("d2").set(tenant="dell")]
    chord(header, collect.s("d"))().get(timeout=20)
    chord(header, collect.s("e").set(tenant="else"))().get(timeout=20)
    # The header is ordinary: its tenant is only a header, and still it gets to the body.
    chord([plain.s("f1"), plain.s("f2")], collect.s("f")).apply_async(tenant="f").get(timeout=20)
    assert ran(16) == {
        **dict.fromkeys(["a1", "a2"], "acme"),
        "b1": "b1",
        "b2": "b2",
        **dict.fromkeys(["c1", "c2", "c"], "corp"),
        **dict.fromkeys(["d1", "d2"], "dell dell"),
        "d": "dell",
        "e": "else",
        **dict.fromkeys(["f1", "f2", "f"], "f"),
    }


def test_nested_canvases(app: Celery, ran: Any) -> None:
    """However deep a task is nested, it has the tenant of the whole unless it has its own."""
    note, collect = app.tasks["note"], app.tasks["collect"]
    whole = chain(
        note.s("a1"),
        group(note.s("a2"), chain(note.s("a3"), note.s("a4")), group(note.s("a5"))),
        collect.s("a6"),
        chord([note.s("a7"), note.s("x").set(tenant="other")], chain(collect.s("a8"), note.s("a9"))),
    )
    whole.set(tenant="acme").apply_async().get(timeout=20)
    assert ran(10) == {**{f"a{n}": "acme" for n in range(1, 10)}, "x": "other"}


def test_callbacks_and_errbacks(app: Celery, ran: Any) -> None:
    """What is linked to a task runs for the task's tenant, and the linked signature itself stays as it was."""
    note, fail = app.tasks["note"], app.tasks["fail"]
    callback, errback = note.si("callback"), app.tasks["mourn"].s()
    for tenant in ("acme", "beta"):
        note.apply_async(("ok",), tenant=tenant, link=callback, link_error=errback)
        fail.apply_async(("bad",), tenant=tenant, link=callback, link_error=[errback])
    assert ran(8) == dict.fromkeys(["ok", "bad", "callback", "errback"], "acme beta")
    assert "tenant" not in callback.options
    assert "tenant" not in errback.options


def test_a_running_task_passes_its_tenant_on(app: Celery, ran: Any) -> None:
    """A task that is submitted inside of another has its tenant, unless another is named."""
    app.tasks["spawn"].apply_async(("inherited",), tenant="acme")
    app.tasks["spawn"].apply_async(("named", "beta"), tenant="acme")
    app.tasks["replace_me"].apply_async(("replaced",), tenant="acme")
    assert ran(3) == {"inherited": "acme", "named": "beta", "replaced": "acme"}


def test_retries_stay_what_they_are(app: Celery, ran: Any, settings: Settings) -> None:
    """A retry has the id, tenant and priority of its task, and ends as Celery's retries do."""
    twice, stubborn = app.tasks["twice"], app.tasks["stubborn"]
    result = twice.apply_async(("twice",), tenant="acme", priority="high")
    assert result.get(timeout=20) == "twice"
    failed = stubborn.apply_async(("stubborn",), tenant="acme")
    with pytest.raises(ValueError, match="stubborn"):
        failed.get(timeout=20)
    assert ran(5) == {"twice": "acme acme", "stubborn": "acme acme acme"}
    ran_as = rows(settings)
    assert {row["id"] for row in ran_as} == {result.id, failed.id}
    assert [row["retries"] for row in ran_as if row["label"] == "stubborn"] == [0, 1, 2]
    assert [row["priority"] for row in ran_as if row["label"] == "twice"] == [2, 2]
