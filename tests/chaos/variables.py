"""The environment variables that tell the processes of a scenario what they need."""

from __future__ import annotations

from typing import Final

LEDGER: Final = "CHAOS_LEDGER"
"""The path of the ledger."""

CONTROL: Final = "CHAOS_CONTROL"
"""What is taken away; by default nothing."""

RESULTS: Final = "CHAOS_RESULTS"
"""The URL of a result backend; by default there is none."""
