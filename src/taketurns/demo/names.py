"""The names that the demo's processes have in common."""

from __future__ import annotations

from typing import Final

WORK: Final = "demo.work"
PLAIN_WORK: Final = "demo.plain_work"
ONE_QUEUE: Final = "demo.one_queue"

TENANTS: Final = ("A", "B", "C", "D")
OPERATOR: Final = "operator"
D_RATE: Final = "10/1s"
