"""Idempotency keys: the same key of the same tenant is one submission, however often it is sent."""

from taketurns.idempotency.keys import Claim, Keys, Wanted, checked_key, fingerprint

__all__ = ["Claim", "Keys", "Wanted", "checked_key", "fingerprint"]
