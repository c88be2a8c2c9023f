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
    """A tenant's tasks run in the order of their priority, and those of one priority in that of submission."""
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
