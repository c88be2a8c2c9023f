"""Many tasks of a tenant, checked one by one and submitted together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from celery.backends.redis import RedisBackend
from celery.utils import uuid
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from taketurns.arguments import misfit
from taketurns.delays import ETA_HEADER
from taketurns.dependencies.waiting import checked_parents
from taketurns.errors import (
    BrokerUnavailable,
    InvalidBatch,
    InvalidInput,
    KeyConflict,
    PublishNotConfirmed,
    TaketurnsError,
    UnknownTask,
)
from taketurns.idempotency import Wanted, checked_key, fingerprint
from taketurns.options import checked_id, due_at, expires_at, priority_of
from taketurns.records.recorder import TAGS_HEADER, checked_task_tags
from taketurns.retries import OPTIONS as RETRY_OPTIONS
from taketurns.retries import RETRY_HEADER, RetryOptions
from taketurns.tenants import validate_tenant
from taketurns.time_limits import check_time_limits
from taketurns.topology import EXCHANGE, tenant_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from celery import Celery

    from taketurns.extension import TakeTurns
    from taketurns.idempotency import Claim
    from taketurns.idempotency.keys import Outcome
    from taketurns.producers import WindowProducer
    from taketurns.task import TenantTask

OPTIONS: Final = frozenset(
    {
        "task_id",
        "priority",
        "countdown",
        "eta",
        "expires",
        "time_limit",
        "soft_time_limit",
        "tags",
        "depends_on",
        "idempotency_key",
        "shadow",
        *RETRY_OPTIONS,
    }
)
"""What may be said of each task; it means what it means to ``apply_async``."""

_SECONDS_EACH: Final = 0.005
"""Seconds that each task adds to the publish timeout, which is for one."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of one task of several.

    Attributes:
        task_id: its id; with an idempotency key that was used before, that of the first submission.
        duplicate: it was submitted before.
        error: why it was not confirmed; None: it was. After PublishNotConfirmed it may run all the same.
        blocked: it waits for tasks that it depends on.
    """

    task_id: str
    duplicate: bool = False
    error: TaketurnsError | None = None
    blocked: bool = False


@dataclass(slots=True)
class Ready:
    """A task that is ready to be submitted.

    Attributes:
        task: the task.
        task_id: its id.
        args: its positional arguments.
        kwargs: its keyword arguments.
        given: the options as they were given.
        headers: its message's headers of ours.
        priority: its priority.
        due: when it is to start at the earliest, if not at once.
        expires: when it is too late, if ever.
        tags: its tags.
        key: its idempotency key.
        fingerprint: what its key is for.
    """

    task: TenantTask
    task_id: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    headers: dict[str, Any]
    priority: int
    due: datetime | None
    expires: datetime | None
    tags: list[str] = field(default_factory=list)
    key: str | None = None
    fingerprint: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the ordinary is done when it is submitted."""
        return self.task.is_submitted_plainly and not self.given.get("depends_on")


class Batch:
    """Collects tasks of a tenant, and submits them; see [submit_many][taketurns.TakeTurns.submit_many].

    Args:
        turns: the app's TakeTurns.
        tenant: the tenant; with a ``tenant_key`` the owner.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form, or the app's ``tenant_key`` returned none.
        TenantKeyFailed: the app's ``tenant_key`` raised an error.
    """

    def __init__(self, turns: TakeTurns, tenant: str) -> None:
        self._turns = turns
        self._whose = turns.tenancy.key.whose(validate_tenant(tenant))
        self._ready: list[Ready] = []
        self._ids: set[str] = set()
        self._blocked: set[str] = set()

    def __len__(self) -> int:
        return len(self._ready)

    def keyed(self) -> Iterator[tuple[int, str, str]]:
        """Return the place of each task with an idempotency key, the key, and what its task is known by."""
        for place, each in enumerate(self._ready):
            if each.key is not None:
                yield place, each.key, each.fingerprint

    @property
    def seconds(self) -> float:
        """Seconds that [submit][] takes at most, from when the first task is published."""
        return self._turns.settings.broker.publish_timeout + len(self._ready) * _SECONDS_EACH

    def add(
        self, task: TenantTask | str, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> None:
        """Add a task; nothing is submitted yet.

        Raises:
            UnknownTask: the app has no such TenantTask.
            InvalidInput: an option or argument does not have the accepted form.
        """
        found = self._turns.app.tasks.get(task) if isinstance(task, str) else task
        if not hasattr(found, "for_tenant"):
            raise UnknownTask(str(task))
        for name in options.keys() - OPTIONS:
            raise InvalidInput(name, f"only {', '.join(sorted(OPTIONS))} here", field="options")
        ready = _checked(self._turns.app, found, args, kwargs, options)
        _check_arguments(ready)
        self._append(ready)

    def add_fitting(
        self, task: TenantTask, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> None:
        """Add a task whose arguments came as JSON and are known to fit it; options are some of those of [add][].

        Raises:
            InvalidInput: an option does not have the accepted form.
        """
        self._append(_checked(self._turns.app, task, args, kwargs, options))

    def submit(self, may_publish: Callable[[], bool] = lambda: True) -> list[Submitted]:
        """Submit all that was added; the errors are those of [submit_many][taketurns.TakeTurns.submit_many].

        Args:
            may_publish: is asked just before the first task is published, which was not done if it says no.
        """
        if not self._ready:
            return []
        firsts, conflicts = self._firsts()
        if conflicts:
            raise InvalidBatch(conflicts)
        claims = self._claimed(firsts)
        new = [
            each
            for place, each in enumerate(self._ready)
            if each.key is None or (firsts[each.key] == place and not claims[each.key].is_duplicate)
        ]
        for each in new:
            if each.key is not None:
                each.task_id = claims[each.key].task_id
        outcomes: dict[Claim, Outcome] = dict.fromkeys(claims.values(), "gone")
        try:
            errors = self._published(new, may_publish) if new else {}
            outcomes |= {
                claims[each.key]: _outcome(errors[each.task_id]) for each in new if each.key is not None
            }
        finally:
            self._turns.keys.finish(self._whose.owner, outcomes)
        told = []
        for place, each in enumerate(self._ready):
            task_id = each.task_id if each.key is None else claims[each.key].task_id
            is_duplicate = each.key is not None and (
                claims[each.key].is_duplicate or firsts[each.key] != place
            )
            told.append(Submitted(task_id, is_duplicate, errors.get(task_id), task_id in self._blocked))
        return told

    def _append(self, ready: Ready) -> None:
        if ready.task_id in self._ids:
            raise InvalidInput(ready.task_id, "an id of its own for each task", field="task_id")
        self._ids.add(ready.task_id)
        ready.headers |= self._whose.headers()
        self._ready.append(ready)

    def _firsts(self) -> tuple[dict[str, int], dict[int, TaketurnsError]]:
        """Return where each key comes first, and what is wrong with those that come again."""
        firsts: dict[str, int] = {}
        conflicts: dict[int, TaketurnsError] = {}
        for place, key, what in self.keyed():
            if self._ready[firsts.setdefault(key, place)].fingerprint != what:
                conflicts[place] = KeyConflict(key)
        return firsts, conflicts

    def _claimed(self, firsts: Mapping[str, int]) -> dict[str, Claim]:
        wanted = [
            Wanted(key, self._ready[place].fingerprint, self._ready[place].task_id)
            for key, place in firsts.items()
        ]
        if not wanted:
            return {}
        timeout = self._turns.settings.broker.publish_timeout
        claims = self._turns.keys.claim(
            self._whose.owner, wanted, wait=timeout, lasting=timeout + self.seconds
        )
        conflicts = {firsts[key]: KeyConflict(key) for key, claim in claims.items() if claim.is_conflict}
        if conflicts:
            raise InvalidBatch(conflicts)
        return claims

    def _published(
        self, new: Sequence[Ready], may_publish: Callable[[], bool]
    ) -> dict[str, TaketurnsError | None]:
        """Publish, and return why not, by the tasks' ids; None: it is confirmed."""
        turns, errors = self._turns, dict[str, "TaketurnsError | None"]()
        owner, tenant = self._whose.owner, self._whose.tenant
        if turns.app.conf.task_always_eager or not turns.canary.has(tenant):
            self._ask(may_publish)
            return self._one_by_one(new)
        with turns.publisher.in_time():
            queue = turns.publisher.ensure(tenant)
            turns.backlog.check(tenant, queue, len(new))
            if (latest := max((each.due.timestamp() for each in new if each.due), default=None)) is not None:
                turns.publisher.delayed(0)  # the ladder is there then
                turns.publisher.touch(tenant, until=latest)
        self._ask(may_publish)
        plain = [each for each in new if each.is_plain]
        turns.recorder.submitted_together(owner, plain, self._whose.other_queue)
        errors |= _Sending(turns, tenant, queue).send(plain, self.seconds)
        for each in plain:
            if errors[each.task_id] is not None:
                turns.recorder.not_submitted(each.task, owner, each.task_id)
        return errors | self._one_by_one([each for each in new if not each.is_plain])

    def _ask(self, may_publish: Callable[[], bool]) -> None:
        if not may_publish():
            raise BrokerUnavailable("it took too long; nothing was submitted")

    def _one_by_one(self, several: Iterable[Ready]) -> dict[str, TaketurnsError | None]:
        errors: dict[str, TaketurnsError | None] = {}
        with self._turns.publisher.in_time(self.seconds):
            for each in several:
                options = {name: value for name, value in each.given.items() if name != "idempotency_key"}
                options |= {"task_id": each.task_id, "tenant": self._whose.owner}
                try:
                    result = each.task.apply_async(each.args, each.kwargs, **options)
                except TaketurnsError as error:
                    errors[each.task_id] = error
                else:
                    errors[each.task_id] = None
                    if getattr(result, "blocked", False):
                        self._blocked.add(each.task_id)
        return errors


class _Sending:
    """Publishes tasks to a tenant's queue as ``apply_async`` does, on one connection, and confirmed together."""

    def __init__(self, turns: TakeTurns, tenant: str, queue: str) -> None:
        self._turns = turns
        self._app = turns.app
        self._routing_key = queue
        self._queue = tenant_queue(tenant)
        self._is_redis = isinstance(turns.app.backend, RedisBackend)
        running = turns.app.current_worker_task
        self._above = (
            {}
            if running is None
            else {"root_id": running.request.root_id or running.request.id, "parent_id": running.request.id}
        )

    def send(self, several: Sequence[Ready], seconds: float) -> dict[str, BrokerUnavailable | None]:
        """Publish them, within so many seconds, and return why not, by their ids; None: it is confirmed."""
        sent: dict[str, Any] = {}
        failure: BrokerUnavailable | None = None
        try:
            with self._turns.publisher.in_time(seconds), self._turns.publisher.together() as producer:
                for each in several:
                    sent[each.task_id] = None  # if it fails now, it may have been stored
                    sent[each.task_id] = self._send(producer, each)
                producer.settle()
        except BrokerUnavailable as error:
            failure = error
        errors: dict[str, BrokerUnavailable | None] = {}
        for each in several:
            if each.task_id not in sent:
                errors[each.task_id] = BrokerUnavailable(f"nothing was submitted: {failure}")
            elif (of_task := sent[each.task_id]) is None:
                errors[each.task_id] = failure
            else:
                errors[each.task_id] = of_task.failure()
        return errors

    def _send(self, producer: WindowProducer, each: Ready) -> Any:
        task, amqp = each.task, self._app.amqp
        exchange = EXCHANGE
        if each.due is not None:
            seconds = max(0.0, (each.due - self._app.now()).total_seconds())
            exchange, bits = self._turns.publisher.delayed(seconds)
            each.headers |= {**bits, ETA_HEADER: each.due.isoformat()}
        ignored = task.ignore_result
        message = amqp.create_task_message(
            each.task_id,
            task.name,
            each.args,
            each.kwargs,
            expires=each.expires,
            reply_to=self._app.thread_oid,
            time_limit=each.given.get("time_limit", task.time_limit),
            soft_time_limit=each.given.get("soft_time_limit", task.soft_time_limit),
            create_sent_event=self._app.conf.task_send_sent_event,
            shadow=each.given.get("shadow") or task.shadow_name(each.args, each.kwargs, each.given),
            ignore_result=ignored,
            **self._above,
        )
        if not ignored and not self._is_redis:
            self._app.backend.on_task_call(producer, each.task_id)
        return amqp.send_task_message(
            producer,
            task.name,
            message,
            exchange=exchange,
            routing_key=self._routing_key,
            queue=self._queue,
            serializer="json",
            compression=getattr(task, "compression", None),
            delivery_mode=2,
            declare=[],
            headers=each.headers,
            mandatory=True,
            priority=each.priority,
            timestamp=int(each.due.timestamp() if each.due is not None else time.time()),
        )


def _checked(
    app: Celery, task: TenantTask, args: Sequence[Any], kwargs: Mapping[str, Any], given: Mapping[str, Any]
) -> Ready:
    """Return a submission that was checked, but for its arguments."""
    if not isinstance(args, list | tuple):
        raise InvalidInput(args, "a list or tuple", field="args")
    if not isinstance(kwargs, dict):
        raise InvalidInput(kwargs, "a dictionary", field="kwargs")
    options = dict(given)
    check_time_limits(options)
    headers: dict[str, Any] = {}
    if asked := RetryOptions.taken_from(options).header():
        headers[RETRY_HEADER] = asked
    if tags := checked_task_tags(options.get("tags")):
        headers[TAGS_HEADER] = tags
    checked_parents(options.get("depends_on"))
    priority, expires, key = options.get("priority"), options.get("expires"), options.get("idempotency_key")
    headers["ignore_result"] = task.ignore_result
    return Ready(
        task,
        uuid() if options.get("task_id") is None else checked_id(options["task_id"]),
        args,
        kwargs,
        given,
        headers,
        priority_of(task.priority if priority is None else priority),
        due_at(app, options.get("countdown"), options.get("eta")),
        expires_at(app, task.expires if expires is None else expires),
        tags,
        checked_key(key),
        "" if key is None else fingerprint(task.name, args, kwargs),
    )


def _check_arguments(ready: Ready) -> None:
    """Check that the arguments fit the task, and that a message can carry them."""
    if ready.task.takes_models:
        return  # that is checked where they are dumped
    if (why := misfit(ready.task, ready.args, ready.kwargs)) is not None:
        raise InvalidInput(ready.args, f"what the task takes ({why})", field="args")
    try:
        dumps((ready.args, ready.kwargs))
    except (EncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(ready.args, f"what JSON can carry ({error})", field="args") from None


def _outcome(error: TaketurnsError | None) -> Outcome:
    if error is None:
        return "done"
    return "open" if isinstance(error, PublishNotConfirmed) else "gone"
