"""The public keys of whoever signs the callers' tokens: fetched by URL, kept, and fetched anew when they change."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter, Lock, fail_after
from anyio.to_thread import run_sync
from jwt import PyJWKClient, PyJWTError

from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from jwt import PyJWK

    from taketurns.settings import ApiSettings

logger = logging.getLogger(__name__)

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Those of public keys. Never one with a secret: who knows the public key could then sign."""

_THREADS: Final = 4
"""More than one, as a server that drips its answer may keep one for long after we gave up."""


class KeysUnavailable(TaketurnsError, ConnectionError):
    """The keys can't be fetched, so a token that names one which is not known can't be checked.

    Attributes:
        retry_after: seconds after which it is worth another try.
    """

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(retry_after)

    def __str__(self) -> str:
        return f"the signing keys can't be fetched; next attempt in {self.retry_after:.3g} s"


class SigningKeys:
    """The keys at ``jwks_url``, by their ids. For one event loop, which never waits for the network.

    They are fetched when the first token comes, again ``jwks_lifetime`` seconds later, and when a token names a key
    that is not known, since the issuer may have a new one. But never within ``jwks_cooldown`` seconds of the last
    attempt, so that nobody can have us ask the issuer at every request. One attempt serves all who wait for it.
    While the issuer is away the keys that are known go on, without an end.

    PyJWT's own cache would drop them, and would ask an issuer that is away for every token.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._url = str(settings.jwks_url)
        self._lifetime = settings.jwks_lifetime
        self._cooldown = settings.jwks_cooldown
        self._timeout = settings.jwks_timeout
        self._client = PyJWKClient(self._url, cache_jwk_set=False, timeout=self._timeout)
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = self._attempted_at = -math.inf
        self._away = False
        self._fetching = Lock()
        self._threads = CapacityLimiter(_THREADS)

    async def get(self, key_id: str) -> PyJWK | None:
        """Return a key; None: the issuer has none of that id.

        Raises:
            KeysUnavailable: it is not known, and the issuer can't be asked.
        """
        known = self._keys.get(key_id)
        if known is not None and (self._is_fresh() or self._fetching.locked()):
            return known
        if self._may_fetch():
            async with self._fetching:
                if self._may_fetch():  # nobody else has while this one waited
                    await self._fetch()
            known = self._keys.get(key_id)
        if known is None and self._away:
            raise KeysUnavailable(self._attempted_at + self._cooldown - time.monotonic())
        return known

    def _is_fresh(self) -> bool:
        return time.monotonic() < self._fetched_at + self._lifetime

    def _may_fetch(self) -> bool:
        return time.monotonic() >= self._attempted_at + self._cooldown

    async def _fetch(self) -> None:
        try:
            with fail_after(self._timeout):
                # The thread ends by its own timeout; nobody waits for that.
                keys = await run_sync(
                    self._client.get_signing_keys, abandon_on_cancel=True, limiter=self._threads
                )
        except (PyJWTError, OSError, ValueError, RecursionError) as error:
            if not self._away:
                logger.warning(
                    "the signing keys at %s can't be fetched: %s; those that are known go on, and it is tried again "
                    "every %g s",
                    self._url,
                    str(error) or type(error).__name__,
                    self._cooldown,
                )
            self._away = True
        else:
            if self._away:
                logger.warning("the signing keys at %s are there again", self._url)
            self._away = False
            # Tokens name keys by text; what has another id, or none, can be nobody's.
            self._keys = {key.key_id: key for key in keys if isinstance(key.key_id, str)}
            self._fetched_at = time.monotonic()
        finally:
            self._attempted_at = time.monotonic()  # also if who waited has gone: others must not ask at once
