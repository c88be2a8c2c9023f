"""Dead letters, put where a worker puts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.deadletters.letter import Death, buried
from taketurns.topology import DEAD_QUEUE

if TYPE_CHECKING:
    from taketurns import TakeTurns


SUMMARY = {
    "id": "d-1",
    "task": "shop.anything",
    "task_id": "task-d-1",
    "cause": "failed",
    "reason": "ValueError('no')",
    "attempts": 0,
    "replays": 0,
    "died_at": "2026-01-01T00:00:00+00:00",
    "size": 17,
}
"""What a tenant sees of its letter ``d-1`` in a list."""

_BODY = b'[["i-1"], {}, {}]'


def bury(
    turns: TakeTurns,
    letter_id: str,
    tenant: str | None = "acme",
    *,
    owner: str | None = None,
    body: bytes = _BODY,
    **death: Any,
) -> None:
    """Put a task among the dead letters, as a worker does it; their queue is declared if need be."""
    turns.dead_letters.count()
    bury_another(turns, letter_id, tenant, owner=owner, body=body, **death)


def bury_another(
    turns: TakeTurns,
    letter_id: str,
    tenant: str | None = "acme",
    *,
    owner: str | None = None,
    body: bytes = _BODY,
    **death: Any,
) -> None:
    """Do so where the queue is known to be there."""
    told = Death(**{"cause": "failed", "reason": "ValueError('no')", "traceback": "in work", **death})
    whose = {} if owner is None else {"taketurns_owner": owner}
    headers = buried(
        {"task": "shop.anything", "id": f"task-{letter_id}", "retries": 1, **whose},
        told,
        letter_id=letter_id,
        at="2026-01-01T00:00:00+00:00",
        queue=f"usersequence_{tenant}" if tenant else "nowhere",
        tenant=tenant,
    )
    turns.publisher.publish(
        body, routing_key=DEAD_QUEUE, exchange="", properties={"application_headers": headers}
    )
