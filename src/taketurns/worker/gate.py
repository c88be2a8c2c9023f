"""The gate: where a message that has its turn is admitted to a slot, refused by the limiter, or found poisonous."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import NotRegistered
from celery.utils.log import get_logger
from celery.worker import state
from vine import promise

from taketurns import delays
from taketurns.errors import TaketurnsError
from taketurns.limits.book import LimitBook
from taketurns.limits.rate import parse_rate
from taketurns.running import ADMITTED_HEADER
from taketurns.task import ETA_HEADER, TenantTask
from taketurns.tenants import tenant_of
from taketurns.topology import DEAD_QUEUE
from taketurns.worker.inspection import has_expired, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taketurns.extension import TakeTurns
    from taketurns.limits.limiter import Limits
    from taketurns.registry import TenantSettings
    from taketurns.worker.background import Background
    from taketurns.worker.messages import TenantMessage

logger = get_logger(__name__)

_RETRY_PUBLISH = 5.0  # seconds between two attempts to send a message elsewhere
_LEAD = 0.02  # seconds ahead of its time at which a throttled tenant's message is fetched
_CLAIM_TTL = 2.0  # seconds after which a fetch for a token counts as given up
_ANY_NUMBER = 1_000_000  # of running tasks: their leases are kept, but don't stop anything
_LOOK_AGAIN = 1.0  # seconds until a queue is looked at whose first message waits for its priority's rate


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a message at the gate; times in seconds from now.

    Attributes:
        admitted: it has taken its slot, or needs none; else it must go back.
        retry_after: when not admitted, seconds until it may be.
        hold: when not admitted, whether it is so soon that the message need not go back.
        next_after: when admitted, seconds until the tenant's next message may be.
    """

    admitted: bool
    retry_after: float = 0.0
    hold: bool = False
    next_after: float = 0.0


_PASSED = Verdict(admitted=True)


class Gate:
    """Admits messages and hands them to Celery.

    Args:
        turns: the installed extension, for limiter and publisher.
        consumer: Celery's consumer, for its strategies, pool and events.
        background: runs what would block the loop.
        owner: this worker's name, under which it claims tokens.
    """

    def __init__(self, turns: TakeTurns, consumer: Any, background: Background, owner: str) -> None:
        self._turns = turns
        self._consumer = consumer
        self._background = background
        self._owner = owner
        default = turns.settings.limiter.default_rate_limit
        self._default_rate = parse_rate(default) if default else None
        self._book = LimitBook({}, self._default_rate)
        self._latest: dict[str, tuple[str, Limits]] = {}
        self._aims: dict[str, float] = {}
        """When the next message of a throttled queue should start, by the monotonic clock."""
        self._leases: dict[TenantMessage, tuple[str, str]] = {}
        self.requests: dict[TenantMessage, Any] = {}
        """Celery's request of each message that it has accepted."""

    def use(self, settings: Mapping[str, TenantSettings]) -> None:
        """Take over the tenants' settings; they apply to every message from now on."""
        self._book = LimitBook(settings, self._default_rate)
        self._latest.clear()
        self._aims.clear()

    def forget(self, queue: str) -> None:
        """Forget what is known of a queue that is gone."""
        self._latest.pop(queue, None)
        self._aims.pop(queue, None)

    def may_fetch(self, queue: str, others_wait: Callable[[str], bool]) -> float:
        """Return 0 if the queue's next message may be fetched, else after how many seconds to ask again.

        While a tenant is throttled, one worker alone is told to fetch for each of its tokens.

        Args:
            queue: the tenant's queue.
            others_wait: tells whether any other tenant waits for this worker.
        """
        if queue not in self._latest:
            return 0.0
        task, limits = self._latest[queue]
        limits = _in_force(limits, queue, others_wait)
        wait = self._turns.limiter.claim(
            _tenant(queue), task, limits, owner=self._owner, lead=_LEAD, ttl=_CLAIM_TTL
        )
        return self._aim(queue, wait + _LEAD, limits) if wait else 0.0

    def fetched_nothing(self, queue: str) -> None:
        """The queue was empty: let others have its token."""
        if queue in self._latest:
            self._turns.limiter.unclaim(_tenant(queue), self._owner)

    def start(self, message: TenantMessage, others_wait: Callable[[str], bool]) -> Verdict:
        """Admit the message and hand it to Celery, or put it away; nothing of it is lost in either case.

        Args:
            message: the message that has its turn.
            others_wait: tells whether any other tenant waits for this worker.
        """
        name = message.headers.get("task")
        problem = problem_of(message)
        if problem is not None:
            self._put_away(message, problem, lambda: self._discard(message))
            return _PASSED
        task = self._consumer.app.tasks.get(name)
        if task is None:
            error = NotRegistered(name)
            self._put_away(
                message,
                f"unknown task {name!r}",
                lambda: self._consumer.on_unknown_task(None, message, error),
            )
            return _PASSED
        if message.headers.get("eta") is not None:
            self._move_to_delay(message)
            return _PASSED
        # What is over is not run, so it takes no token: Celery reports and acknowledges it.
        over = has_expired(message, self._consumer.app.timezone) or message.headers["id"] in state.revoked
        verdict = _PASSED if over else self._admit(message, task, others_wait)
        if verdict.admitted:
            self._hand_over(message, name)
        return verdict

    def settled(self, message: TenantMessage) -> bool:
        """Release what the message's admission took; True if the tenant may run another task for it."""
        self.requests.pop(message, None)
        lease = self._leases.pop(message, None)
        if lease is None:
            return False
        self._turns.limiter.release(*lease)
        return True

    def leases(self) -> dict[str, list[str]]:
        """Return the concurrency leases of running tasks by tenant, to be renewed."""
        held: dict[str, list[str]] = {}
        for tenant, lease in self._leases.values():
            held.setdefault(tenant, []).append(lease)
        return held

    def _admit(self, message: TenantMessage, task: Any, others_wait: Callable[[str], bool]) -> Verdict:
        tenant = _tenant(message.queue)
        rate = task.task_rate if isinstance(task, TenantTask) else None
        limits = self._book.limits(tenant, task.name, rate, message.properties.get("priority"))
        if not limits:
            self.forget(message.queue)
            return _PASSED
        early = self._aims.get(message.queue, 0.0) - monotonic()
        if 0 < early <= 2 * _LEAD:
            return Verdict(admitted=False, retry_after=early, hold=True)
        self._latest[message.queue] = (task.name, limits)
        lease = message.headers["id"]
        in_force = _in_force(limits, message.queue, others_wait)
        admission = self._turns.limiter.admit(tenant, task.name, in_force, lease=lease, owner=self._owner)
        if not admission.admitted:
            wait = admission.retry_after
            if admission.reason == "priority_rate":
                wait = min(
                    wait, _LOOK_AGAIN
                )  # one of a higher priority would come first, and may be free to go
            return Verdict(admitted=False, retry_after=self._aim(message.queue, wait, limits))
        if limits.max_concurrency is not None:
            self._leases[message] = (tenant, lease)
        if not admission.next_after:
            self._aims.pop(message.queue, None)
            return _PASSED
        return Verdict(admitted=True, next_after=self._aim(message.queue, admission.next_after, limits))

    def _aim(self, queue: str, earliest: float, limits: Limits) -> float:
        """Choose when the queue's next message should start; return in how many seconds to fetch it.

        The limiter admits a start a twentieth of the interval early, so that one which came late does not move all
        that follow. To aim there would use that up: the aim is the even spacing.
        """
        rates = [rate.interval for _, rate in limits.rates()]
        seconds = earliest + (0.05 * min(rates) if rates else 0.0)
        self._aims[queue] = monotonic() + seconds
        return max(seconds - _LEAD, 0.001)

    def _hand_over(self, message: TenantMessage, name: str) -> None:
        """Do what Celery's own task handler does, and survive what kills that one."""
        consumer = self._consumer
        message.headers[ADMITTED_HEADER] = True
        try:
            consumer.strategies[name](
                message,
                None,
                promise(consumer.call_soon_ack, (message.ack_log_error,)),
                promise(consumer.call_soon_ack, (message.reject_log_error,)),
                [*consumer.on_task_message, lambda request: self.requests.__setitem__(message, request)],
            )
        except Exception as error:  # noqa: BLE001  # whatever a message makes Celery raise must not end the worker
            self._take_slot_back(message)
            reason = f"not a task message: {error!r}"
            self._put_away(message, reason, lambda e=error: self._discard(message, e))  # type: ignore[misc]

    def _take_slot_back(self, message: TenantMessage) -> None:
        """Free the slot that Celery gave to a request before it failed: it would count as taken for ever."""
        request = self.requests.pop(message, None)
        if request is None:
            return
        state.task_ready(request)
        release = getattr(self._consumer.controller, "_quick_release", None)  # of prefork's semaphore
        if release is not None:
            release()

    def _discard(self, message: TenantMessage, error: Exception | None = None) -> None:
        """Let a message go that is in the dead-letter queue by now, and send Celery's signal for it."""
        message.reject_log_error(logger, self._consumer.connection_errors)
        signals.task_rejected.send(sender=self._consumer, message=message, exc=error)

    def _move_to_delay(self, message: TenantMessage) -> None:
        """Send a task that is not due yet through the delay queues, where it costs no worker anything."""
        eta = str(message.headers["eta"])
        try:
            due = datetime.fromisoformat(eta)
            seconds = (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp() - time()
            delays.plan(max(seconds, 0.0))
        except (ValueError, TaketurnsError) as error:
            reason = f"eta: {error}"
            self._put_away(message, reason, lambda: self._discard(message))
            return

        def publish() -> None:
            exchange, bits = self._turns.publisher.delayed(max(seconds, 0.0))
            headers = {**message.headers, "eta": None, ETA_HEADER: eta, **bits}
            self._publish(message, headers, exchange, message.queue)

        self._do(publish, message.ack, message)

    def _put_away(self, message: TenantMessage, reason: str, then: Callable[[], None]) -> None:
        """Publish a poisonous message to the dead-letter queue; only once that is confirmed, let it go."""
        logger.error("message of %s goes to %s: %s", message.queue, DEAD_QUEUE, reason)
        headers = {
            **message.headers,
            "taketurns_tenant": _tenant(message.queue),
            "taketurns_queue": message.queue,
            "taketurns_reason": reason,
            "taketurns_dead_at": datetime.now(UTC).isoformat(),
        }
        headers.pop(ADMITTED_HEADER, None)
        self._do(lambda: self._publish(message, headers, "", DEAD_QUEUE), then, message)

    def _publish(self, message: TenantMessage, headers: dict[str, Any], exchange: str, key: str) -> None:
        properties = {**message.properties, "application_headers": headers}
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        self._turns.publisher.publish(body, routing_key=key, exchange=exchange, properties=properties)

    def _do(self, publish: Callable[[], None], then: Callable[[], None], message: TenantMessage) -> None:
        """Publish in the background until it is confirmed, then let the message go."""

        def again(error: TaketurnsError) -> None:
            logger.warning("a message of %s stays here for now: %s", message.queue, error)
            self._consumer.timer.call_after(_RETRY_PUBLISH, self._do, (publish, then, message))

        self._background.submit(publish, lambda _: then(), again)


def _in_force(limits: Limits, queue: str, others_wait: Callable[[str], bool]) -> Limits:
    """Leave out the concurrency of a tenant that may exceed it while nobody else waits."""
    if limits.burst_when_idle and limits.max_concurrency is not None and not others_wait(queue):
        return replace(limits, max_concurrency=max(_ANY_NUMBER, limits.max_concurrency))
    return limits


def _tenant(queue: str) -> str:
    tenant = tenant_of(queue)
    assert tenant is not None  # only tenant queues are served
    return tenant
