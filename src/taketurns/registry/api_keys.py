"""API keys: made, found by their text, listed and revoked. Redis has no key, only its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from taketurns.errors import InvalidInput, RegistryUnavailable
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from taketurns.store import Client, Store

PREFIX: Final = "taketurns_"
"""How each key begins, so that people and scanners for secrets see what it is. A JSON Web Token never does."""

LONGEST_NAME: Final = 100
MOST_DAYS: Final = 3660

_KEY: Final = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_[0-9a-f]{{64}}")
_USE_RECORDED_EVERY: Final = 600
"""Seconds between two notes that a key was used, so that not every request writes."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of an API key; of its text only the part that is its id.

    Attributes:
        id: names it in lists, and to revoke it.
        tenant: the tenant that it speaks for.
        operator: whether it may see and change all tenants.
        name: what its maker calls it.
        created_at: when it was made, in seconds since 1970 by Redis' clock, as all times here.
        expires_at: when it ends; None: never.
        used_at: when it was last used, ten minutes too early at most; None: not yet.
    """

    id: str
    tenant: str
    operator: bool
    name: str
    created_at: float
    expires_at: float | None
    used_at: float | None = None


class NewApiKey(NamedTuple):
    """A key that was made just now."""

    text: str
    """The key itself. It is kept nowhere: show it once."""
    key: ApiKey


def is_api_key(credential: str) -> bool:
    """Tell whether a credential is meant as an API key, valid or not."""
    return credential.startswith(PREFIX)


class ApiKeys:
    """The API keys of an installation. Thread-safe.

    They are as durable as Redis: one that loses its data knows no key any more, and each is then refused. A key has
    256 random bits, which nobody can try out, so a quick hash hides it as well as a slow one, that each request would
    wait for.

    Every method raises RegistryUnavailable while Redis is away.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.key("{.all}", "api-keys")
        self._used = store.key("{.all}", "api-keys-used")

    def create(
        self, tenant: str, *, operator: bool = False, name: str = "", days: float | None = None
    ) -> NewApiKey:
        """Make a key for a tenant, which need not be known before.

        Args:
            tenant: the tenant that it speaks for.
            operator: whether it may see and change all tenants.
            name: what it is for, 100 characters at most.
            days: how long it is valid, 3660 at most; None: until it is revoked.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: the name or the days don't.
        """
        validate_tenant(tenant)
        _check_name(name)
        _check_days(days)
        key_id = secrets.token_hex(6)
        text = f"{PREFIX}{key_id}_{secrets.token_hex(32)}"

        def add(redis: Client) -> ApiKey:
            now = _seconds(redis.time())
            expires_at = None if days is None else now + days * 86_400
            key = ApiKey(key_id, tenant, operator, name, created_at=now, expires_at=expires_at)
            redis.hset(self._keys, key_id, json.dumps({**asdict(key), "sha256": _digest(text)}))
            return key

        return NewApiKey(text, self._store.call(add))

    def all(self) -> list[ApiKey]:
        """Return all keys that were not revoked, those that have expired too, the oldest first."""

        def read(redis: Client) -> list[ApiKey]:
            with redis.pipeline() as pipe:
                stored, used = pipe.hgetall(self._keys).hgetall(self._used).execute()
            return [_api_key(json.loads(text), used.get(key_id)) for key_id, text in stored.items()]

        return sorted(self._store.call(read), key=lambda key: (key.created_at, key.id))

    def find(self, text: str) -> ApiKey | None:
        """Return the key of this text, and note that it was used; None: it is wrong, revoked, or has expired."""
        match = _KEY.fullmatch(text)
        if match is None:
            return None
        key_id = match[1]

        def look(redis: Client) -> tuple[str | None, str | None, float]:
            with redis.pipeline() as pipe:
                stored, used, now = pipe.hget(self._keys, key_id).hget(self._used, key_id).time().execute()
            return stored, used, _seconds(now)

        stored, used, now = self._store.call(look)
        fields = json.loads(stored) if stored is not None else {}
        if not hmac.compare_digest(fields.get("sha256", ""), _digest(text)):
            return None
        key = _api_key(fields, used)
        if key.expires_at is not None and key.expires_at <= now:
            return None
        if key.used_at is None or key.used_at < now - _USE_RECORDED_EVERY:
            with suppress(RegistryUnavailable):  # a Redis that is full or read-only still tells who is calling
                self._store.call(lambda redis: redis.hset(self._used, key_id, now))
        return key

    def revoke(self, key_id: str) -> bool:
        """Take a key away, from now on; tells whether there was one of that id."""

        def remove(redis: Client) -> bool:
            with redis.pipeline() as pipe:
                removed, _ = pipe.hdel(self._keys, key_id).hdel(self._used, key_id).execute()
            return bool(removed)

        return self._store.call(remove)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1e6


def _api_key(fields: dict[str, Any], used: str | None) -> ApiKey:
    known = {name: fields[name] for name in ApiKey.__dataclass_fields__}
    return ApiKey(**{**known, "used_at": None if used is None else float(used)})


def _check_name(name: object) -> None:
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(name, f"text of at most {LONGEST_NAME} printable characters", field="name")


def _check_days(days: float | None) -> None:
    if days is not None and not (math.isfinite(days) and 0 < days <= MOST_DAYS):
        raise InvalidInput(days, f"a number above 0, {MOST_DAYS} at most", field="days")
