"""The dispatcher: carries events from the channels to the scheduler, and its commands to channels and gate.

It runs in the worker's loop: once in each pass, after all that the pass brought, it asks the scheduler what follows.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from amqp import spec
from celery.concurrency.solo import TaskPool as SoloPool
from celery.utils.log import get_logger
from celery.worker import state

from taketurns.loop import hurry
from taketurns.refusals import access_refused
from taketurns.tenants import QUEUE_PREFIX, tenant_of
from taketurns.worker.alarm import Alarm
from taketurns.worker.commands import Fetch, GiveBack, Listen, Park, Start, Unlisten
from taketurns.worker.heartbeats import Heartbeats
from taketurns.worker.ordinary import OrdinaryRequests
from taketurns.worker.outlook import Outlook, outlook, throttled
from taketurns.worker.pipes import write_at_once
from taketurns.worker.pool import ChannelPool
from taketurns.worker.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taketurns.settings import WorkerSettings
    from taketurns.worker.commands import Command
    from taketurns.worker.gate import Gate
    from taketurns.worker.messages import TenantMessage
    from taketurns.worker.shares import RecentShares

logger = get_logger(__name__)

R = TypeVar("R")

_REFUSED = 403
_NOT_FOUND = 404
_RETRY_REFUSED = 5.0  # seconds until a queue that the broker refused for another reason is tried again
_STRAY_AFTER = 10.0  # seconds after which a started message that Celery does not know is given back


class Dispatcher:
    """Serves tenant queues on one connection.

    Args:
        consumer: Celery's consumer; its pool gives the slots.
        gate: admits messages.
        settings: the worker's settings.
        connection: the py-amqp connection.
        generation: how often the worker has connected; goes into the consumer tags.
        shares: is told of each task that ends, if anybody wants to know.
    """

    def __init__(
        self,
        consumer: Any,
        gate: Gate,
        settings: WorkerSettings,
        connection: Any,
        generation: int,
        *,
        shares: RecentShares | None = None,
    ) -> None:
        self.turns: Turns[TenantMessage] = Turns(
            max_credit=settings.max_credit, turn_seconds=settings.turn_seconds
        )
        self._consumer = consumer
        self._gate = gate
        self._shares = shares
        self._channels = ChannelPool(
            connection, self, generation=generation, call_later=consumer.timer.call_after
        )
        self._max_held = settings.max_held
        self._heartbeats: Heartbeats | None = None
        if isinstance(consumer.pool, SoloPool):
            of_events = consumer.event_dispatcher and consumer.event_dispatcher.connection
            self._heartbeats = Heartbeats([connection, *([of_events.connection] if of_events else [])])
        self._cancelling: set[str] = set()
        self._started: dict[TenantMessage, float] = {}
        self._ordinary = OrdinaryRequests(consumer, gate, self._begin)
        self._ran_here = False
        self._slots = 0
        self._count_slots()
        self._active: set[str] = set()
        self._changed = True
        self._free = 0
        self._alarm = Alarm(consumer.hub, consumer.timer, self._wake)
        self._closed = False
        self._lacks_permission = False

    # ---- what is known

    def slots(self) -> int:
        """Return how many tasks the worker can run at a time, grown as far as autoscaling may."""
        return self._slots

    def holds(self, queue: str) -> bool:
        """Tell whether anything of the queue is or may still arrive here."""
        return queue in self._cancelling or self.turns.holds(queue)

    def unacknowledged(self) -> dict[str, int]:
        """Return the counts of messages that are running and in the hand, and of open channels and subscriptions."""
        return {
            "running": self.turns.running,
            "hand": self.turns.in_hand,
            "channels": len(self._channels),
            "listening": self._channels.listened,
            "queues": len(self.turns),
        }

    @property
    def subscribing(self) -> int:
        """How many subscriptions the broker has not confirmed yet."""
        return self._channels.subscribing

    def free_slots(self) -> int:
        """Return how many more tasks the worker can start now."""
        # Every request counts that the pool has: ordinary ones, and after a reconnect those that run on from before.
        slots, gate = self._slots, self._gate
        reserved = len(state.reserved_requests) - len(self._ordinary)
        taken = reserved + len(gate.leaving) + max(0, len(gate.recording) - slots)
        return slots - taken

    def is_idle(self) -> bool:
        """Tell whether no tenant waits here, and one could have a slot now, or as soon as one frees."""
        can_have_one = self.free_slots() > 0 or bool(self._ordinary)
        return can_have_one and not self.turns.wants_slot(monotonic())

    def outlook(self, queue: str) -> Outlook:
        """Tell how the tenant of a queue stands here."""
        limited_until = self._gate.throttle.head_limited_until(queue)
        return outlook(self.turns, queue, slots=self.slots(), now=monotonic(), limited_until=limited_until)

    def throttled(self) -> list[str]:
        """Return the tenants whose queues are off until a limit lets the next task start; some may be empty."""
        return [
            queue.removeprefix(QUEUE_PREFIX) for queue in throttled(self.turns)
        ]  # all are tenants' queues

    def running(self) -> dict[str, int]:
        """Return how many tasks of each tenant run here, or are on their way out."""
        queues = Counter(message.queue for message in self._started)
        return {queue.removeprefix(QUEUE_PREFIX): number for queue, number in queues.items()}

    def running_of(self, queue: str) -> list[TenantMessage]:
        """Return what runs here of a tenant's queue."""
        return [message for message in self._started if message.queue == queue]

    def take_active(self) -> set[str]:
        """Return the tenants that had a task here since the last call, and forget them but for those that run one."""
        queues = self._active | {message.queue for message in self._started}
        self._active = set()
        return {tenant for queue in queues if (tenant := tenant_of(queue)) is not None}

    # ---- what is wanted

    def add(self, queue: str, *, backlog: int | None = 0, owned: bool = True) -> None:
        """Serve the queue; see ``Turns.add``."""
        if queue in self.turns:
            self.turns.own(queue, owned=owned)
            self.turns.listed(queue, backlog)
        else:
            self.turns.add(queue, backlog=backlog, owned=owned)
        self._changed = True

    def remove(self, queue: str) -> None:
        """Serve the queue no more."""
        self.turns.remove(queue)
        self._gate.throttle.forget(queue)
        self._changed = True

    def park(self, queues: Iterable[str], reason: Park, seconds: float | None = None) -> None:
        """Take queues off, for so many seconds or until ``unpark``."""
        for queue in queues:
            if seconds is None:
                self.turns.park(queue, reason)
            else:
                self.turns.park(queue, reason, monotonic() + seconds)
        self.run()  # at once: who asked wants to see it done

    def unpark(self, queues: Iterable[str], reason: Park) -> None:
        """End a reason why queues are off."""
        for queue in queues:
            self.turns.unpark(queue, reason)
        self._changed = True

    def tick(self) -> None:
        """Decide if anything changed; called in each pass of the loop, so it must cost next to nothing."""
        self._count_slots()
        if self._changed or self.free_slots() != self._free or self._alarm.is_due(monotonic()):
            self._decide()
        elif self._channels.outbox:
            self._channels.flush()

    def run(self) -> None:
        """Carry out at once what follows from what is known.

        With solo in the loop's next [tick][]: a task would run in here, before the loop has acknowledged the last one
        and has seen a signal that came meanwhile.
        """
        if self._heartbeats is None:
            self._decide()
        else:
            self._changed = True

    def take_ordinary(self, request: Any) -> None:
        """Let a request of one of the app's own queues wait for a slot."""
        self._ordinary.wait(request)
        self._changed = True

    def give_back_all(self) -> None:
        """Stop taking messages: end all subscriptions, give back the hand, let running tasks run."""
        self._ordinary.end()
        for queue in tuple(self.turns):
            self.turns.remove(queue)
        self._decide()

    def close(self) -> None:
        """Close the channels; the broker takes back whatever is not settled."""
        self._closed = True
        self._alarm.cancel()
        if self._heartbeats is not None:
            self._heartbeats.close()
        self._channels.close()

    def give_back_strays(self) -> None:
        """Give back started messages that Celery has lost sight of, so that no slot is blocked by a ghost."""
        now = monotonic()
        for message, since in tuple(self._started.items()):
            request = self._gate.requests.get(message)
            if (
                message in self._gate.leaving | self._gate.recording
                or request is None
                or request.id in state.requests
            ):
                continue
            if now - since > _STRAY_AFTER:
                logger.error("%r of %s was neither run nor settled; it goes back", request.id, message.queue)
                message.requeue()

    def give_back_old(self) -> None:
        """Give back what has been in the hand for long, while long tasks have all slots.

        Others may be free for it. And up to RabbitMQ 4.2 its time here counts for ``consumer_timeout`` once it runs.
        """
        oldest = monotonic() - self._max_held
        for tenant in tuple(self.turns.hand.holding):
            if tenant.hand[0].came_at < oldest and not tenant.fetching:  # what comes would be ahead of it
                self.turns.end_turn(tenant.queue)
                self._changed = True

    # ---- events, from the channels

    def on_delivered(self, queue: str, message: TenantMessage) -> None:
        """See [Listener][taketurns.worker.messages.Listener], as for all that follow."""
        if message.channel.may_end:
            self._move(queue, message)
            return
        self.turns.delivered(queue, message, message.kind)
        self._changed = True

    def on_fetched(self, queue: str, message: TenantMessage, remaining: int | None) -> None:
        self.turns.fetched(queue, message, remaining, message.kind)
        self._changed = True

    def on_fetch_empty(self, queue: str, count: int) -> None:
        self._gate.throttle.fetched_nothing(queue)
        self.turns.fetch_empty(queue, count=count)
        self._changed = True

    def on_fetch_lost(self, queue: str, count: int) -> None:
        self.turns.fetch_failed(queue, count=count)
        self._changed = True

    def on_unlistened(self, queue: str) -> None:
        self.turns.unlistened(queue)
        self._changed = True

    def on_cancelled(self, queue: str) -> None:
        self._cancelling.discard(queue)

    def on_refused(self, queue: str, code: int, text: str) -> None:
        if code == _NOT_FOUND:
            logger.info("queue %s is gone", queue)
            self.remove(queue)
        else:
            self._tell_refusal(queue, code, text)
            self.turns.park(queue, Park.FAILED, monotonic() + _RETRY_REFUSED)
        self.turns.unlistened(queue)
        self._changed = True

    def _tell_refusal(self, queue: str, code: int, text: str) -> None:
        """Log why a queue can't be consumed; once for all of them if the user lacks the permission."""
        if code != _REFUSED:
            logger.error("queue %s can't be consumed, next try in %g s: %s", queue, _RETRY_REFUSED, text)
        elif not self._lacks_permission:
            self._lacks_permission = True
            logger.error(
                "queue %s can't be consumed, nor can others like it, of which no more is said; next try in %g s: %s",
                queue,
                _RETRY_REFUSED,
                access_refused(text, spec.Basic.Consume, user=None),
            )

    def on_vanished(self, message: TenantMessage) -> None:
        self.turns.vanished(message)
        self._changed = True

    def on_settling(self, message: TenantMessage) -> None:
        if not self._closed:
            self._carry_out(self.turns.settling(message))

    def on_settled(self, message: TenantMessage) -> None:
        now = monotonic()
        started = self._started.pop(message, None)
        if started is not None:
            self._active.add(message.queue)
            if self._shares is not None:
                self._shares.ended(message.queue, started, now)
        ran = message in self._gate.requests
        if self._gate.settled(message):
            self.turns.unpark(message.queue, Park.THROTTLED)
        self.turns.settled(message, now, ran=ran)
        self._changed = True

    def _move(self, queue: str, message: TenantMessage) -> None:
        """Give a pushed message back and subscribe to its queue anew, on a channel that has no long task."""
        if self._channels.unlisten(queue):  # first, or the message would come straight back
            self._cancelling.add(queue)
        message.requeue()
        self.turns.unlistened(queue)
        self._changed = True

    # ---- commands, from the scheduler

    def _decide(self) -> None:
        """Carry out what the scheduler decides until nothing is left to do, or a task has run here."""
        self._ran_here = False
        while not (self._closed or self._ran_here):
            self._changed = False
            self._free = self.free_slots()
            free = self._ordinary.left_for_tenants(self._slots, self._free)
            commands = self.turns.decide(slots=self._slots, free=free, now=monotonic())
            if commands:
                self._carry_out(commands)
            elif not self._begin_ordinary():
                break
        if self._closed:
            return
        if self._ran_here:
            self._changed = True
            hurry(self._consumer.hub)
        write_at_once(self._consumer.pool, self._consumer.hub)
        self._channels.flush()
        self._alarm.set(self.turns.next_deadline())

    def _carry_out(self, commands: list[Command[TenantMessage]]) -> None:
        for command in commands:
            match command:
                case Start(message):
                    self._start(message)
                case Fetch(queue, count):
                    self._fetch(queue, count)
                case Listen(queue):
                    self._channels.listen(queue)
                case Unlisten(queue):
                    if self._channels.unlisten(queue):
                        self._cancelling.add(queue)
                case GiveBack(message):
                    self._gate.goes_back(message)
                    message.requeue()

    def _begin_ordinary(self) -> bool:
        """Begin the next ordinary task, if one may have a slot; tell whether there was one."""
        if not self._ordinary or self.free_slots() <= 0:
            return False
        return self._ordinary.begin_next(self._slots, tenants_wait=self.turns.wants_slot(monotonic()))

    def _begin(self, request: Any) -> None:
        self._run_here_with_solo(self._consumer.begin, request)

    def _run_here_with_solo(self, begin: Callable[..., R], *arguments: Any) -> R:
        """Hand a task to the pool; that of solo runs it meanwhile."""
        if self._heartbeats is None:
            return begin(*arguments)
        self._channels.flush()
        with self._heartbeats.going_on():
            result = begin(*arguments)
        self._ran_here = True
        self.give_back_old()  # no timer has fired meanwhile
        return result

    def _start(self, message: TenantMessage) -> None:
        self._started[message] = monotonic()
        verdict = self._run_here_with_solo(self._gate.start, message, self.turns.others_wait)
        if not verdict.admitted:
            del self._started[message]
            settle = self.turns.postponed if verdict.hold else self.turns.refused
            settle(message, monotonic() + verdict.retry_after)
            self._changed = True
        elif verdict.next_after:
            self.turns.throttle(message.queue, monotonic() + verdict.next_after)
        if message in self._gate.requests:
            self._ordinary.tenant_began()

    def _fetch(self, queue: str, count: int) -> None:
        wait = self._gate.throttle.may_fetch(queue, self.turns.others_wait)
        if wait:
            self.turns.park(queue, Park.THROTTLED, monotonic() + wait)
            self.turns.fetch_failed(queue, count=count)
            self._changed = True
            return
        if count > 1 and self._gate.throttle.is_limited(queue):
            self.turns.fetch_failed(queue, count=count - 1)  # one for each claim
            count = 1
        self._channels.fetch(queue, count)

    # ---- time

    def _count_slots(self) -> None:
        with suppress(AttributeError):  # in a cold shutdown the pool is gone before the queues are
            self._slots = max(
                self._consumer.controller.max_concurrency or 0, self._consumer.pool.num_processes
            )

    def _wake(self) -> None:
        """Have the tick of this pass decide, which follows upon its timers."""
        self._changed = True
