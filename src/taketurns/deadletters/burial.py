"""The moment of a death: who puts a message among the dead letters names it, and says when that was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery import uuid

from taketurns.deadletters.letter import buried

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.deadletters.letter import Death


def buried_now(headers: Mapping[str, Any], death: Death, *, queue: str, tenant: str | None) -> dict[str, Any]:
    """Return the headers of a message that goes to the dead-letter queue now; see [buried][] for the arguments."""
    at = datetime.now(UTC).isoformat()
    return buried(headers, death, letter_id=uuid(), at=at, queue=queue, tenant=tenant)
