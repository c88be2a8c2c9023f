"""The idempotency keys in Redis."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from kombu.utils.json import dumps

from taketurns.errors import InvalidInput, KeyConflict, KeyInUse, PublishNotConfirmed, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from taketurns.store import Store

_LONGEST: Final = 255
_AT_ONCE: Final = 500
_LEAST: Final = 10.0
"""Seconds that a submission has at least, before the next one with its key takes it over."""

_SOON: Final = 0.01
_LATER: Final = 0.25

Outcome = Literal["done", "open", "gone"]
"""What came of a submission: it was confirmed, it may have been stored, or it was not."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key that is to be claimed.

    Attributes:
        key: the key.
        fingerprint: what its request asks for; see [fingerprint][].
        task_id: the id of its task, if this is the first request with the key.
    """

    key: str
    fingerprint: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key is.

    Attributes:
        key: the key.
        task_id: the id of its task.
        is_duplicate: it was submitted before; nothing is to be done.
        is_repeated: whoever claimed it before may have submitted it, and did not live to tell.
        is_conflict: it belongs to another request, and nothing was claimed.
        owner: the claim's own name.
    """

    key: str
    task_id: str
    is_duplicate: bool
    is_repeated: bool
    is_conflict: bool
    owner: str


class Keys:
    """Claims keys, and tells what came of it. Thread-safe, and safe after a fork.

    A key is kept for a while from its first submission on. Without Redis, or after a FLUSHALL, nobody knows it. What
    may be submitted twice all the same, by the same id: a submission whose process is killed between the claim and
    the broker's confirm, or loses Redis there, or that the broker did not confirm in time.

    Args:
        store: keeps them.
        window: seconds for which they are kept.
    """

    def __init__(self, store: Store, window: float) -> None:
        self._store = store
        self._window = math.ceil(window * 1000)
        self._claim = store.script(__package__, "claim.lua")
        self._finish = store.script(__package__, "finish.lua")

    def claim(
        self, tenant: str, wanted: Sequence[Wanted], *, wait: float, lasting: float
    ) -> dict[str, Claim]:
        """Claim different keys of a tenant: all of them, or none if there is a conflict.

        Args:
            tenant: the tenant.
            wanted: the keys.
            wait: seconds for which submissions under way elsewhere are waited for.
            lasting: seconds that the submission takes at most. Then the next one with the key takes it over.

        Raises:
            KeyInUse: another submission is under way for longer; nothing was claimed.
            RegistryUnavailable: Redis is away. What was claimed is free again after a while.
        """
        owner = uuid4().hex
        milliseconds = math.ceil(max(_LEAST, lasting) * 1000)
        deadline = time.monotonic() + wait
        claims: dict[str, Claim] = {}
        # In one order for all: so no two wait for each other.
        ordered = sorted(wanted, key=lambda each: each.key)
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            pause = _SOON
            while busy := self._claim_some(tenant, some, owner, milliseconds, claims):
                if time.monotonic() + pause > deadline:
                    self.finish(tenant, dict.fromkeys(claims.values(), "gone"))
                    raise KeyInUse(busy)
                time.sleep(pause)
                pause = min(2 * pause, _LATER)
            if any(claim.is_conflict for claim in claims.values()):
                free = [claim for claim in claims.values() if not claim.is_conflict]
                self.finish(tenant, dict.fromkeys(free, "gone"))
                break
        return claims

    def finish(self, tenant: str, outcomes: Mapping[Claim, Outcome]) -> None:
        """Tell what came of claims. While Redis is away nobody is told, and they are taken over in time."""
        told = [
            (claim, "open" if outcome == "gone" and claim.is_repeated else outcome)
            for claim, outcome in outcomes.items()
            if not claim.is_duplicate
        ]
        with suppress(RegistryUnavailable):
            for start in range(0, len(told), _AT_ONCE):
                some = told[start : start + _AT_ONCE]
                keys = [self._key(tenant, claim.key) for claim, _ in some]
                self._finish(keys, [some[0][0].owner, *(outcome for _, outcome in some)])

    @contextmanager
    def once(
        self, tenant: str, key: str, fingerprint: str, task_id: str, *, wait: float, lasting: float
    ) -> Iterator[Claim]:
        """Lend a claim to a block that submits the task, unless it is a duplicate.

        Raises:
            KeyConflict: the key belongs to another request.
            KeyInUse: another submission with it is under way for longer than that.
            RegistryUnavailable: Redis is away; nothing was submitted.
        """
        wanted = Wanted(key, fingerprint, task_id)
        claim = self.claim(tenant, [wanted], wait=wait, lasting=lasting)[key]
        if claim.is_conflict:
            raise KeyConflict(key)
        outcome: Outcome = "open"
        try:
            yield claim
            outcome = "done"
        except PublishNotConfirmed:
            raise
        except Exception:
            outcome = "gone"
            raise
        finally:
            self.finish(tenant, {claim: outcome})

    def _claim_some(
        self, tenant: str, some: Sequence[Wanted], owner: str, milliseconds: int, claims: dict[str, Claim]
    ) -> str | None:
        """Claim some keys, and return None; or one that is under way elsewhere."""
        answers = self._claim(
            [self._key(tenant, each.key) for each in some],
            [
                owner,
                self._window,
                milliseconds,
                *(arg for each in some for arg in (each.fingerprint, each.task_id)),
            ],
        )
        kinds, ids = answers[::2], answers[1::2]
        if "busy" in kinds and "conflict" not in kinds:
            return some[kinds.index("busy")].key
        has_conflict = "conflict" in kinds
        for each, kind, task_id in zip(some, kinds, ids, strict=True):
            if not has_conflict or kind == "conflict":
                claims[each.key] = Claim(
                    each.key, task_id, kind == "known", kind == "again", kind == "conflict", owner
                )
        return None

    def _key(self, tenant: str, key: str) -> str:
        return self._store.tenant_key(tenant, "once", sha256(key.encode()).hexdigest())


def checked_key(key: Any) -> str | None:
    """Return an idempotency key; None: there is none.

    Raises:
        InvalidInput: it does not have the accepted form.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not 1 <= len(key) <= _LONGEST or not key.isprintable():
        accepted = f"a text of 1 to {_LONGEST} printable characters"
        raise InvalidInput(key, accepted, field="idempotency_key")
    return key


def fingerprint(task: str, args: Any, kwargs: Any) -> str:
    """Return what tells requests with the same key apart: the task's name and its arguments.

    Raises:
        kombu.exceptions.EncodeError: JSON has no form for an argument.
    """
    told = dumps((task, list(args or ()), dict(kwargs or {})), sort_keys=True)
    return sha256(told.encode()).hexdigest()
