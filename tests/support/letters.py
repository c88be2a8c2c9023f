"""Dead letters, put where a worker puts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.deadletters.letter import Death, buried
from taketurns.topology import DEAD_QUEUE

if TYPE_CHECKING:
    from taketurns import TakeTurns


def bury(turns: TakeTurns, letter_id: str, tenant: str | None = "acme", **death: Any) -> None:
    """Put a task among the dead letters, as a worker does it."""
    told = Death(**{"cause": "failed", "reason": "ValueError('no')", "traceback": "in work", **death})
    headers = buried(
        {"task": "shop.anything", "id": f"task-{letter_id}", "retries": 1},
        told,
        letter_id=letter_id,
        at="2026-01-01T00:00:00+00:00",
        queue=f"usersequence_{tenant}" if tenant else "nowhere",
        tenant=tenant,
    )
    turns.dead_letters.count()  # which declares the queue
    turns.publisher.publish(
        b'[["i-1"], {}, {}]', routing_key=DEAD_QUEUE, exchange="", properties={"application_headers": headers}
    )
