"""Redis, with the manners that a worker's loop needs: quick answers, no retries, silence while it is away."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from importlib.resources import files
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    AuthenticationError,
    MaxConnectionsError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from taketurns import tls
from taketurns.errors import InvalidSettings, RegistryRefused, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis.commands.core import Script

    from taketurns.settings import RedisSettings, TlsSettings

T = TypeVar("T")

Client = Any
"""A redis.Redis whose answers are strings; redis-py's own types don't know of ``decode_responses``."""

logger = logging.getLogger(__name__)

# 200 threads that submit at once wait for each other, and for Python, for a quarter of it and more. A worker's loop,
# which must not wait, has no such company.
_WAIT_FOR_CONNECTION: Final = 1.0

_STATE: Final = re.compile(
    r"\b(MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|READONLY|OOM|BUSY|LOADING|NOPERM)\b"
)
"""What Redis is: the type of redis-py's error does not always tell, as where a script's call found out."""


class Store:
    """One Redis client for everything that taketurns keeps there. Thread-safe, and safe after a fork.

    - An answer that takes longer than ``redis_timeout`` is a failure.
    - A call is never repeated by itself: one that timed out may have been executed, and a repeated admission
      would be charged twice.
    - After a failure nothing is sent for ``redis_retry_after`` seconds, and every call fails at once. Then
      one call is let through; its success ends the outage. An outage is logged when it begins and ends.

    At most ``redis_connections`` are open. A call that finds them all busy waits for one, a second at most; that none
    became free is no sign that Redis is away.

    An error answer that tells how Redis is, such as loading, out of memory or read-only, is a failure too: it is of
    no more help than a silent one. One that is about the call, such as a script's own, says nothing of Redis.

    Attributes:
        retry_after: seconds without a call after a failed one.

    Args:
        settings: where Redis is, and how long it is waited for.
        tls_settings: the certificates for a ``rediss://``; by default those of the system. What the URL says of
            them wins.

    Raises:
        InvalidSettings: ``redis_url`` is not the URL of a Redis.
    """

    def __init__(self, settings: RedisSettings, tls_settings: TlsSettings | None = None) -> None:
        self.retry_after = settings.redis_retry_after
        self._prefix = settings.redis_prefix
        self._redis: Redis = Redis.from_pool(_pool(settings, tls_settings))
        self._breaker = _Breaker(settings.redis_retry_after)

    def call(self, operation: Callable[[Client], T]) -> T:
        """Return what ``operation`` returns when it is given the Redis client.

        Raises:
            RegistryUnavailable: Redis is away, or went away just now; in that case the operation may have
                been executed in whole or in part. Or no connection became free.
            RegistryRefused: Redis answered with an error that is about this call, as a script's own are.
        """
        epoch = self._breaker.enter()
        try:
            result = operation(self._redis)
        except MaxConnectionsError as error:
            raise RegistryUnavailable(str(error)) from error
        except RedisError as error:
            if _is_about_the_call(error):
                self._breaker.succeeded(epoch)
                logger.exception("Redis refused a call; others go on")
                raise RegistryRefused(f"Redis refused this call ({error})") from error
            self._breaker.failed(epoch, error)
            raise RegistryUnavailable(f"Redis failed ({error}); {advice(error)}") from error
        self._breaker.succeeded(epoch)
        return result

    def script(self, package: str, *names: str) -> Callable[[Sequence[str], Sequence[str | float]], Any]:
        """Return a function ``(keys, args) -> answer`` that runs a Lua script through [call][].

        The script is sent by its digest, and in full only when Redis says that it does not know it.

        Args:
            package: the package that holds the script as data.
            names: the script's files; several are joined, so that scripts may share functions.
        """
        text = "\n".join(files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
        script: Script = self._redis.register_script(text)

        def run(keys: Sequence[str], args: Sequence[str | float]) -> Any:
            return self.call(lambda redis: script(keys=keys, args=args, client=redis))

        return run

    def batch(
        self, package: str, name: str
    ) -> Callable[[Sequence[tuple[Sequence[str], Sequence[str | float]]]], list[Any]]:
        """Return a function of several calls, each ``(keys, args)``, of a Lua script, which go to Redis together.

        They are several, and no transaction: if the answer is that Redis is away, some may have been executed.

        Args:
            package: the package that holds the script as data.
            name: the script's file.
        """
        text = files(package).joinpath(name).read_text(encoding="utf-8")
        script: Script = self._redis.register_script(text)

        def run(calls: Sequence[tuple[Sequence[str], Sequence[str | float]]]) -> list[Any]:
            def send(redis: Client) -> list[Any]:
                if len(calls) == 1:
                    return [script(keys=calls[0][0], args=calls[0][1], client=redis)]
                with redis.pipeline(transaction=False) as pipe:
                    for keys, args in calls:
                        script(keys=keys, args=args, client=pipe)
                    answers: list[Any] = pipe.execute()
                    return answers

            return self.call(send) if calls else []

        return run

    def key(self, *parts: str) -> str:
        """Return the key ``prefix:part:part``."""
        return ":".join((self._prefix, *parts))

    def tenant_key(self, tenant: str, *parts: str) -> str:
        """Return a key of the tenant's own, ``prefix:{tenant}:part``.

        The braces make the tenant the key's hash tag, so that one script may touch all keys of a tenant. They
        also tell where the tenant ends: its id may hold colons, but no braces.
        """
        return self.key(f"{{{tenant}}}", *parts)

    def ping(self) -> None:
        """Return if Redis answers.

        Raises:
            RegistryUnavailable: it doesn't.
        """
        self.call(lambda redis: redis.ping())

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def redis_now(redis: Client) -> float:
    """Return the time by Redis' clock, in seconds since 1970."""
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1e6)


def connection_options(
    settings: RedisSettings,
    tls_settings: TlsSettings | None,
    *,
    timeout: float,
    parse: Callable[[str], Mapping[str, Any]] = parse_url,
) -> dict[str, Any]:
    """Return the options of a connection to Redis, whose answers are strings.

    Args:
        settings: where Redis is.
        tls_settings: the certificates for a ``rediss://``.
        timeout: seconds for connecting, and for each answer.
        parse: redis-py's ``parse_url``, which its asyncio has another one of.

    Raises:
        InvalidSettings: ``redis_url`` is not the URL of a Redis.
    """
    try:
        options = dict(parse(settings.redis_url))
    except ValueError as error:
        raise InvalidSettings(f"TAKETURNS_REDIS_URL: {error}") from error
    if tls_settings is not None and settings.redis_url.strip().lower().startswith("rediss://"):
        options = {**tls.redis_options(tls_settings), **options}
    return {
        **options,
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }


def _is_about_the_call(error: RedisError) -> bool:
    """Tell whether an error would not have come with another call: it is about arguments, keys, or from a script."""
    # redis-py has types of its own for most of what is about the server. A pipeline names the call before the answer.
    answer = str(error).rpartition(" caused error: ")[2]
    return type(error) is ResponseError and not _STATE.search(answer)


def _pool(settings: RedisSettings, tls_settings: TlsSettings | None) -> BlockingConnectionPool:
    # Ours come last: no option in the URL may bring the retries back.
    return BlockingConnectionPool(
        **{
            **connection_options(settings, tls_settings, timeout=settings.redis_timeout),
            "retry": Retry(NoBackoff(), 0),
            "max_connections": settings.redis_connections,
            "timeout": _WAIT_FOR_CONNECTION,
            "queue_class": _IdleConnections,
        }
    )


def advice(error: BaseException) -> str:
    """Return what to do about an error of Redis'."""
    if isinstance(error, AuthenticationError):
        return "see that user and password of TAKETURNS_REDIS_URL are right"
    if isinstance(error, NoPermissionError):
        return "see that the user of TAKETURNS_REDIS_URL may use this command, and keys with TAKETURNS_REDIS_PREFIX"
    return tls.hint(error) or "see that it runs and that TAKETURNS_REDIS_URL leads to it"


class _IdleConnections(LifoQueue[Any]):
    """A pool's idle connections; that none became free is told apart from a lost connection, as redis-py doesn't."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002  # LifoQueue's
        """Return one.

        Raises:
            MaxConnectionsError: none became free within ``timeout``.
        """
        try:
            return super().get(block, timeout)
        except Empty:
            raise MaxConnectionsError(
                f"all {self.maxsize} connections to Redis were busy for {timeout:g} s; "
                f"TAKETURNS_REDIS_CONNECTIONS may allow more"
            ) from None


class _Breaker:
    """Knows whether Redis is away, and lets one call through from time to time to see whether it still is."""

    def __init__(self, retry_after: float) -> None:
        self._retry_after = retry_after
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # Grows whenever Redis goes away or comes back. What a call of an earlier epoch tells is no news: of
        # ten calls that time out together the first one tells, and the others begin no outage of their own.
        self._epoch = 0
        self._away_since: float | None = None
        self._reason = ""
        self._next_attempt = 0.0

    def enter(self) -> int:
        """Return the present epoch.

        Raises:
            RegistryUnavailable: Redis is away, and it is not yet time to try again.
        """
        if self._pid != os.getpid():
            self._start()  # another thread may have held the lock when this process was forked
        with self._lock:
            if self._away_since is not None:
                now = time.monotonic()
                if now < self._next_attempt:
                    raise RegistryUnavailable(
                        f"Redis is away ({self._reason}); next attempt in {self._next_attempt - now:.1f} s"
                    )
                self._next_attempt = now + self._retry_after
            return self._epoch

    def failed(self, epoch: int, error: RedisError) -> None:
        """Take note that a call of that epoch failed."""
        with self._lock:
            if epoch != self._epoch:
                return
            now = time.monotonic()
            self._next_attempt = now + self._retry_after
            self._reason = str(error)
            if self._away_since is not None:
                return
            self._away_since = now
            self._epoch += 1
        logger.warning(
            "Redis is away: %s; %s; tried again every %g s if it is needed",
            error,
            advice(error),
            self._retry_after,
        )

    def succeeded(self, epoch: int) -> None:
        """Take note that a call of that epoch succeeded."""
        if self._away_since is None:
            return
        with self._lock:
            if epoch != self._epoch or self._away_since is None:
                return
            seconds = time.monotonic() - self._away_since
            self._away_since = None
            self._epoch += 1
        # It may have been back for long: nobody has asked in between if there was nothing to ask.
        logger.warning("Redis answers again, %.1f s after it first did not", seconds)
