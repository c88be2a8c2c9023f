"""One connection by which a process hears what happens to tasks, for all who listen in it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from taketurns.errors import RegistryUnavailable
from taketurns.live.event import Event
from taketurns.live.listener import Listener
from taketurns.records.events import of_entry
from taketurns.store import advice, connection_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from taketurns.settings import RedisSettings, TlsSettings

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PATIENCE: Final = 10.0
"""Seconds for each answer on a connection. A worker's loop has less patience; but this loop may itself be late when a
thousand clients come at once, as after a restart.
"""

_TIMEOUTS: Final = 4
"""Of Redis, after which who listens is told that it is away: so many round trips a new connection takes."""

_LOOKS: Final = 20
"""Times that a new listener looks whether Redis has answered, before it gives up: a loop that is late looks later."""

_QUIET: Final = 5.0
"""Seconds of silence after which Redis is asked whether it is still there; it has as many to answer."""

_READERS: Final = 4
"""Connections, beside the one that hears, by which histories are read."""


class _Channel:
    """A tenant's channel, and who listens to it."""

    def __init__(self) -> None:
        self.to_all: set[Listener] = set()
        self.to_task: dict[str, set[Listener]] = {}
        self.settled = asyncio.Event()  # it was subscribed to, or that failed

    def listeners(self) -> list[Listener]:
        return [*self.to_all, *(each for several in self.to_task.values() for each in several)]

    def add(self, listener: Listener, task_id: str | None) -> None:
        (self.to_all if task_id is None else self.to_task.setdefault(task_id, set())).add(listener)

    def remove(self, listener: Listener, task_id: str | None) -> None:
        if task_id is None:
            self.to_all.discard(listener)
            return
        self.to_task[task_id].discard(listener)
        if not self.to_task[task_id]:
            del self.to_task[task_id]

    def tell(self, message: str) -> None:
        entry_id, _, told = message.partition(" ")
        for event_id, task_id, text in of_entry(entry_id, told):
            of_task = self.to_task.get(task_id, ())
            if self.to_all or of_task:
                event = Event.read(event_id, task_id, text)
                for listener in (*self.to_all, *of_task):
                    listener.hear(event)


class Hub:
    """Hears the events of those tenants that somebody listens to, and only while somebody does.

    For one event loop at a time: it holds connections while there are listeners, and none without.

    Args:
        settings: where Redis is.
        tls_settings: the certificates for it.
    """

    def __init__(self, settings: RedisSettings, tls_settings: TlsSettings | None) -> None:
        self._options = connection_options(settings, tls_settings, timeout=_PATIENCE, parse=parse_url)
        self._patience = _TIMEOUTS * settings.redis_timeout
        self._answered = 0
        self._retry_after = settings.redis_retry_after
        self._channels: dict[str, _Channel] = {}
        self._work: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._redis: Any = None
        self._pubsub: Any = None
        self._away = ""

    @asynccontextmanager
    async def listening(self, name: str, task_id: str | None) -> AsyncIterator[Listener]:
        """Lend a listener to a tenant's channel, which hears all that is told from now on.

        Args:
            name: the channel's name.
            task_id: the task whose events alone it is to hear; None: all.

        Raises:
            RegistryUnavailable: Redis is away. It is not raised when that happens later.
        """
        listener = Listener()
        channel = self._channels.get(name)
        if is_new := channel is None:
            channel = self._channels[name] = _Channel()
        channel.add(listener, task_id)
        try:
            await self._subscribed(name, channel, is_new=is_new)
            yield listener
        finally:
            channel.remove(listener, task_id)
            if not channel.listeners():
                self._leave(name)

    async def read(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """Return what Redis answers to somebody who listens.

        Raises:
            RegistryUnavailable: it is away.
        """
        try:
            return await self._answer(ask(self._redis))
        except (RedisError, OSError) as error:
            raise RegistryUnavailable(f"Redis failed ({error}); {advice(error)}") from error

    def close(self) -> None:
        """Have all who listen end, since the process is about to."""
        for channel in self._channels.values():
            for listener in channel.listeners():
                listener.end()

    async def _subscribed(self, name: str, channel: _Channel, *, is_new: bool) -> None:
        """Wait until a channel is subscribed to."""
        if self._work is None:
            self._away = ""
            self._work = asyncio.create_task(self._hear_again_and_again(), name="taketurns live")
        elif self._away:
            raise RegistryUnavailable(f"Redis is away ({self._away})")
        elif is_new and self._pubsub is not None:
            self._send(self._pubsub.subscribe(name))
        if not channel.settled.is_set():  # else it says nothing of how Redis is now
            try:
                await self._answer(channel.settled.wait())
            except TimeoutError as error:
                raise RegistryUnavailable(f"Redis failed ({error}); {advice(error)}") from None
        if self._away:
            raise RegistryUnavailable(f"Redis is away ({self._away})")

    async def _answer(self, awaited: Awaitable[T]) -> T:
        """Return what is awaited from Redis, unless for so long nobody here had any answer.

        That is looked for again and again, as a loop that comes late to its timers finds the answers after them; and
        many who come at once wait for each other.

        Raises:
            TimeoutError: there was none.
        """
        task = asyncio.ensure_future(awaited)
        answered, looks = self._answered, 0
        try:
            while looks < _LOOKS:
                if (await asyncio.wait({task}, timeout=self._patience / _LOOKS))[0]:
                    self._answered += 1
                    return task.result()
                looks = looks + 1 if answered == self._answered else 0
                answered = self._answered
        finally:
            task.cancel()
        raise TimeoutError(f"no answer within {self._patience:g} s")

    def _leave(self, name: str) -> None:
        del self._channels[name]
        if not self._channels and self._work is not None:
            self._work.cancel()
            self._work = self._pubsub = self._redis = None
        elif self._pubsub is not None:
            self._send(self._pubsub.unsubscribe(name))

    def _send(self, command: Awaitable[Any]) -> None:
        """Send a command in a task of its own: who asks for it may be cancelled, which would end the connection."""

        async def send() -> None:
            with suppress(RedisError, OSError):  # whoever hears notices that too
                await command

        task = asyncio.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _hear_again_and_again(self) -> None:
        options = {**self._options, "retry": Retry(NoBackoff(), 0), "protocol": 2}
        redis = Redis.from_pool(
            BlockingConnectionPool(**{**options, "max_connections": _READERS + 1, "timeout": None})
        )
        self._redis = redis
        try:
            while True:
                pubsub = redis.pubsub()
                try:
                    await self._hear(pubsub)
                except Exception as error:  # whatever it is, those who listen are not to wait for ever
                    if not isinstance(error, RedisError | OSError):
                        logger.exception("hearing the events of tasks failed")
                    self._note_loss(error)
                    await asyncio.sleep(self._retry_after)
                finally:
                    await pubsub.aclose()
        finally:
            await redis.aclose()

    async def _hear(self, pubsub: Any) -> None:
        await pubsub.connect()
        self._pubsub = pubsub
        await pubsub.subscribe(*self._channels)
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_QUIET)
            if message is None:
                if asked:
                    raise RedisConnectionError(f"no answer within {_QUIET:g} s")
                asked = True
                await pubsub.ping()
                continue
            asked = False
            channel = self._channels.get(message["channel"] or "")
            if channel is None:
                continue
            if message["type"] == "message":
                self._tell(channel, message["data"])
                await asyncio.sleep(
                    0
                )  # many messages may have come at once, and those who listen want to go on
            elif message["type"] == "subscribe":
                self._note_subscribed(channel)

    @staticmethod
    def _tell(channel: _Channel, message: str) -> None:
        try:
            channel.tell(message)
        except (ValueError, TypeError, AttributeError):  # somebody else's, on our channel
            logger.warning("a message on a channel of tasks' events is none: %.200r", message)

    def _note_subscribed(self, channel: _Channel) -> None:
        channel.settled.set()
        for listener in channel.listeners():
            listener.fall_behind()
        if self._away:
            self._away = ""
            logger.warning("the events of tasks are heard again")

    def _note_loss(self, error: Exception) -> None:
        self._pubsub = None
        if not self._away:
            logger.warning("the events of tasks are not heard: %s; %s", error, advice(error))
        self._away = str(error) or type(error).__name__
        for channel in self._channels.values():
            channel.settled.set()
