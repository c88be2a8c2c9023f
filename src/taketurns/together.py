"""Publishes tasks as ``apply_async`` does, on one connection, and confirmed together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.backends.redis import RedisBackend

from taketurns.delays import ETA_HEADER
from taketurns.errors import BrokerUnavailable
from taketurns.records.recorder import SUBMISSION_HEADER, new_submission
from taketurns.topology import EXCHANGE, tenant_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.extension import TakeTurns
    from taketurns.producers import WindowProducer
    from taketurns.ready import Ready
    from taketurns.tenant_key import Whose


class Sending:
    """Publishes tasks to a tenant's queue as ``apply_async`` does, on one connection, and confirmed together."""

    def __init__(self, turns: TakeTurns, whose: Whose, queue: str) -> None:
        self._turns = turns
        self._app = turns.app
        self._routing_key = queue
        self._queue = tenant_queue(whose.tenant)
        self._owner = whose.owner
        self._is_redis = isinstance(turns.app.backend, RedisBackend)
        running = turns.app.current_worker_task
        self._above = (
            {}
            if running is None
            else {"root_id": running.request.root_id or running.request.id, "parent_id": running.request.id}
        )

    def send(self, several: Sequence[Ready]) -> dict[str, BrokerUnavailable | None]:
        """Publish them and return why not, by their ids; None: it is confirmed."""
        sent: dict[str, Any] = {}
        failure: BrokerUnavailable | None = None
        try:
            with self._turns.publisher.together() as producer:
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
        queue, exchange, routing_key = self._queue, EXCHANGE, self._routing_key
        if each.blocked is not None:
            queue = each.blocked.queue(self._owner)
            exchange, routing_key = queue.exchange.name, queue.routing_key
            each.headers |= each.blocked.headers(each.given.get("countdown"))
            if each.given.get("eta") is not None and each.due is not None:
                each.headers[ETA_HEADER] = each.due.isoformat()
            producer.declare(queue)
        elif each.due is not None:
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
            routing_key=routing_key,
            queue=queue,
            serializer="json",
            compression=getattr(task, "compression", None),
            delivery_mode=2,
            declare=[],
            headers={**each.headers, SUBMISSION_HEADER: new_submission()},
            mandatory=True,
            priority=each.priority,
            timestamp=int(time.time() if each.due is None or each.blocked else each.due.timestamp()),
        )
