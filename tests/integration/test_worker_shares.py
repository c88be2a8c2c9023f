"""Which task of which tenant a worker process runs next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def test_high_before_normal_before_low(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A tenant's tasks run in the order of their priority, those of one priority as they came."""
    for priority in ("low", None, "high"):
        for number in (1, 2):
            shop.work.apply_async((f"{priority or 'normal'} {number}",), tenant="acme", priority=priority)
    with worker(settings, tmp_path, "-P", "solo"):
        eventually(lambda: len(ledger) == 6)
    assert ledger.labels() == ["high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"]


def test_an_expired_task_costs_no_token(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Tasks that came too late, or were revoked, are not run and leave the token to the next one."""
    shop.turns.registry.update("acme", rate_limit="1/1h")
    late = [shop.work.apply_async((f"late {n}",), tenant="acme", expires=0.001) for n in range(5)]
    shop.work.apply_async(("in time",), tenant="acme", expires=3600)
    with worker(settings, tmp_path, "-P", "threads", "-c", "1"):
        eventually(lambda: ledger.labels() == ["in time"])
        eventually(lambda: {result.state for result in late} == {"REVOKED"})
        eventually(lambda: shop.turns.management.queue("usersequence_acme").unacknowledged == 0)


def test_a_revoked_task_costs_no_token(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A task that was revoked while its tenant was paused is dropped; the one behind it takes the token."""
    shop.turns.registry.update("acme", rate_limit="1/1h", paused=True)
    with worker(settings, tmp_path, "-P", "threads", "-c", "1") as running:
        revoked = shop.work.apply_async(("revoked",), tenant="acme")
        shop.work.apply_async(("next",), tenant="acme")
        shop.app.control.revoke(revoked.id, destination=[running.name], reply=True)
        shop.turns.registry.update("acme", paused=False)
        eventually(lambda: ledger.labels() == ["next"])
        assert revoked.state == "REVOKED"


def test_a_tenant_may_exceed_its_maximum_while_nobody_else_waits(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Alone it has every slot; from the moment on at which another tenant waits, no more than its maximum."""
    shop.turns.registry.update("acme", max_concurrency=1, burst_when_idle=True)
    with worker(settings, tmp_path, "-P", "threads", "-c", "4"):
        for number in range(40):
            shop.work.apply_async((f"{number}", 0.2), tenant="acme")
        eventually(lambda: len(ledger) >= 8)
        for number in range(40):
            shop.work.apply_async((f"other {number}", 0.2), tenant="other")
        eventually(lambda: len(ledger) == 80, within=30)
    rows = ledger.rows()
    others = [row["started"] for row in rows if row["tenant"] == "other"]
    acme = [row for row in rows if row["tenant"] == "acme"]

    def together(at: float) -> int:
        return sum(row["started"] <= at < row["ended"] for row in acme)

    starts = [row["started"] for row in acme]
    beside = [together(at) for at in starts if min(others) + 0.5 < at < max(others) - 0.5]
    assert max(together(at) for at in starts if at < min(others)) == 4
    assert set(beside) == {1}


def test_a_priority_has_a_rate_of_its_own(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Limited low tasks let the normal ones pass that come later."""
    shop.turns.registry.update("acme", priority_rate_limits={"low": "1/1h"})
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        for label in ("low 1", "low 2"):
            shop.work.apply_async((label,), tenant="acme", priority="low")
        eventually(lambda: ledger.labels() == ["low 1"])
        for number in range(3):
            shop.work.apply_async((f"normal {number}",), tenant="acme")
        eventually(lambda: len(ledger) == 4, within=20)
    assert "low 2" not in ledger.labels()


def test_a_limit_of_one_kind_of_task_does_not_hold_another(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Behind a task that may run once an hour, one of another kind starts in a moment."""
    shop.turns.registry.update("acme", task_rate_limits={shop.work.name: "1/1h"})
    shop.work.apply_async(("hourly",), tenant="acme")
    for number in range(3):
        shop.limited.apply_async((f"other {number}",), tenant="acme")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        eventually(lambda: len(ledger) == 4)
