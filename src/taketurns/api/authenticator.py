"""Whom a credential speaks for: an API key, or a token signed with our secret or by an identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import jwt
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from taketurns.api.auth import INVALID, Caller, NotAuthenticated, Tokens, caller_of
from taketurns.api.signing_keys import ALGORITHMS, SigningKeys
from taketurns.registry.api_keys import is_api_key

if TYPE_CHECKING:
    from taketurns.extension import TakeTurns

_THREADS: Final = 10
"""Of our own, so that nobody waits for a thread behind requests that wait for a silent broker."""


class Authenticator:
    """Tells who is calling. For one event loop, which it does not block.

    Args:
        turns: the app's TakeTurns: its settings, and the API keys in its registry.

    Raises:
        InvalidSettings: there is neither a secret nor a ``jwks_url``, or the secret is too short.
    """

    def __init__(self, turns: TakeTurns) -> None:
        settings = turns.settings.api
        self._settings = settings
        self._signing = SigningKeys(settings) if settings.jwks_url else None
        self._tokens = None if self._signing and not settings.jwt_secret else Tokens(settings)
        self._api_keys = turns.registry.api_keys
        self._threads = CapacityLimiter(_THREADS)

    async def caller(self, credential: str) -> Caller:
        """Return whom a credential speaks for.

        Raises:
            NotAuthenticated: it is not valid, or no more.
            RegistryUnavailable: it is an API key, and Redis is away.
            KeysUnavailable: it is a token, and the key that it names can't be fetched.
        """
        if is_api_key(credential):
            return await self._of_api_key(credential)
        return await self._of_token(credential)

    async def _of_api_key(self, text: str) -> Caller:
        key = await run_sync(self._api_keys.find, text, limiter=self._threads)
        if key is None:
            raise NotAuthenticated("the API key is not valid, was revoked, or has expired")
        return Caller(key.tenant, operator=key.operator, expires_at=key.expires_at)

    async def _of_token(self, token: str) -> Caller:
        if self._signing is not None:
            algorithm, key_id = _named_in(token)
            # What the header names only chooses between keys of which each has algorithms of its own.
            if algorithm in ALGORITHMS:
                key = await self._signing.get(key_id) if key_id is not None else None
                if key is None:
                    raise NotAuthenticated(INVALID)
                return caller_of(token, key, ALGORITHMS, self._settings)
        if self._tokens is None:
            raise NotAuthenticated(INVALID)
        return self._tokens.verify(token)


def _named_in(token: str) -> tuple[object, str | None]:
    """Return the algorithm and the key that a token's header names, of which nothing is verified yet."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise NotAuthenticated(INVALID) from None
    return header.get("alg"), header.get("kid")
