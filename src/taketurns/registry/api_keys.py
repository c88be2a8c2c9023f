"""API keys: made, found by their text, listed and revoked. Redis has no key, only its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from taketurns.errors import InvalidInput
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from taketurns.store import Client, Store

PREFIX: Final = "taketurns_"
"""How each key begins, so that people and scanners for secrets see what it is. A JSON Web Token never does."""

LONGEST_NAME: Final = 100
LONGEST: Final = 3660 * 86_400.0
"""Seconds that a key may be valid, at most, unless it is valid without an end."""

_KEY: Final = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_[0-9a-f]{{64}}")


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
    """

    id: str
    tenant: str
    operator: bool
    name: str
    created_at: float
    expires_at: float | None


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

    They are as durable as Redis: one that loses its data knows no key any more, and each is then refused.

    Every method raises RegistryUnavailable while Redis is away.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.key("{.all}", "api-keys")

    def create(
        self, tenant: str, *, operator: bool = False, name: str = "", expires_in: float | None = None
    ) -> NewApiKey:
        """Make a key for a tenant, which need not be known before.

        Args:
            tenant: the tenant that it speaks for.
            operator: whether it may see and change all tenants.
            name: what it is for, 100 characters at most.
            expires_in: seconds for which it is valid, those of 3660 days at most; None: until it is revoked.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: the name or the seconds don't.
        """
        validate_tenant(tenant)
        _check_name(name)
        _check_seconds(expires_in)
        key_id = secrets.token_hex(6)
        text = f"{PREFIX}{key_id}_{secrets.token_hex(32)}"

        def add(redis: Client) -> ApiKey:
            now = _seconds(redis.time())
            expires_at = None if expires_in is None else now + expires_in
            key = ApiKey(key_id, tenant, operator, name, created_at=now, expires_at=expires_at)
            redis.hset(self._keys, key_id, json.dumps({**asdict(key), "sha256": _digest(text)}))
            return key

        return NewApiKey(text, self._store.call(add))

    def all(self) -> list[ApiKey]:
        """Return all keys that were not revoked, those that have expired too, the oldest first."""

        def read(redis: Client) -> list[ApiKey]:
            return [_api_key(json.loads(text)) for text in redis.hvals(self._keys)]

        return sorted(self._store.call(read), key=lambda key: (key.created_at, key.id))

    def find(self, text: str) -> ApiKey | None:
        """Return the key of this text, or None: it is wrong, revoked, or has expired."""
        match = _KEY.fullmatch(text)
        if match is None:
            return None
        key_id = match[1]

        def look(redis: Client) -> tuple[str | None, float]:
            with redis.pipeline() as pipe:
                stored, now = pipe.hget(self._keys, key_id).time().execute()
            return stored, _seconds(now)

        stored, now = self._store.call(look)
        fields = json.loads(stored) if stored is not None else {}
        if not hmac.compare_digest(fields.get("sha256", ""), _digest(text)):
            return None
        key = _api_key(fields)
        return key if key.expires_at is None or now < key.expires_at else None

    def revoke(self, key_id: str) -> bool:
        """Take a key away, for every request that comes from now on; tells whether there was one of that id."""
        return bool(self._store.call(lambda redis: redis.hdel(self._keys, key_id)))


def _digest(text: str) -> str:
    # A slow hash with a salt is for what people make up. Nobody can try out 256 random bits, so a quick hash hides
    # them as well, and each request computes it.
    return hashlib.sha256(text.encode()).hexdigest()


def _seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1e6


def _api_key(fields: dict[str, Any]) -> ApiKey:
    return ApiKey(**{name: fields[name] for name in ApiKey.__dataclass_fields__})


def _check_name(name: object) -> None:
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(name, f"text of at most {LONGEST_NAME} printable characters", field="name")


def _check_seconds(expires_in: object) -> None:
    if expires_in is not None and not (isinstance(expires_in, int | float) and 0 < expires_in <= LONGEST):
        raise InvalidInput(expires_in, f"seconds above 0, {LONGEST:.0f} at most", field="expires_in")
