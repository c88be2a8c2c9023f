"""TenantTask: what a call becomes on the wire, what is refused, and how it behaves without our worker."""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group
from celery.exceptions import OperationalError, Reject, Retry

from support.canvas import build, rows
from support.publishing import close
from support.workers import worker
from taketurns import TakeTurns
from taketurns.errors import (
    BrokerUnavailable,
    InvalidInput,
    InvalidTenant,
    MissingTenant,
    TaketurnsError,
    TaskAborted,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def take(amqp: BlockingChannel, queue: str = "usersequence_acme") -> tuple[Any, Any, Any]:
    """Take one message, which must be there."""
    method, properties, body = amqp.basic_get(queue, auto_ack=True)
    assert method is not None
    assert body is not None
    return method, properties, json.loads(body)


def test_a_submitted_task_is_a_persistent_json_message_of_its_tenant(
    app: Celery, amqp: BlockingChannel
) -> None:
    """Every way to submit leads into the tenant's queue, past task_routes, with the tenant in a header."""
    note = app.tasks["note"]
    results = [
        note.apply_async(("a",), tenant="acme"),
        note.for_tenant("acme").delay("a"),
        note.for_tenant("acme").apply_async(("a",), priority="normal"),
        note.s("a").set(tenant="acme").delay(),
        note.s("a").apply_async(tenant="acme"),
        note.for_tenant("acme").s("a").delay(),
        group(note.s("a"), app=app).apply_async(tenant="acme")[0],
        app.tasks["note"].apply_async(args=["a"], tenant="acme", producer=app.amqp.Producer(None)),
    ]
    for result in results:
        method, properties, body = take(amqp)
        assert (method.exchange, method.routing_key) == ("usersequence", "usersequence_acme")
        assert properties.content_type == "application/json"
        assert (properties.delivery_mode, properties.priority) == (2, 1)
        assert properties.headers["id"] == result.id
        assert properties.headers["taketurns_tenant"] == "acme"
        assert body[0] == ["a"]


def test_a_message_tells_since_when_it_waits(
    app: Celery, amqp: BlockingChannel, eventually: Eventually
) -> None:
    """Its time stamp is that of its submission, or that at which it is due, in whole seconds."""
    note = app.tasks["note"]
    before = int(time.time())
    note.apply_async(("a",), tenant="acme", timestamp=1)
    assert before <= take(amqp)[1].timestamp <= time.time()
    note.apply_async(("a",), tenant="acme", countdown=2)
    due = time.time() + 2
    eventually(lambda: amqp.queue_declare("usersequence_acme", passive=True).method.message_count, within=20)
    assert before + 2 <= take(amqp)[1].timestamp <= due


def test_what_follows_a_task_carries_its_tenant(app: Celery, amqp: BlockingChannel) -> None:
    """Each task of what is linked has its tenant in the message: a worker may send it outside of any task."""
    note, mourn, collect = app.tasks["note"], app.tasks["mourn"], app.tasks["collect"]
    linked = chain(
        chord([note.s("a"), note.s("b").set(tenant="own")], collect.s()),
        group(note.s("c"), chain(note.s("d"), note.s("e"))),
    )
    note.apply_async(("first",), tenant="acme", link=linked, link_error=mourn.s())
    _, _, (_, _, embedded) = take(amqp)

    def tenants(signatures: list[Any]) -> list[Any]:
        found: list[Any] = []
        for signature in signatures:
            inner = [
                *signature["kwargs"].get("tasks", []),
                *signature["kwargs"].get("header", []),
                *([signature["kwargs"]["body"]] if "body" in signature["kwargs"] else []),
            ]
            found += tenants(inner) if inner else [signature["options"]["tenant"]]
        return found

    assert sorted(tenants(embedded["callbacks"])) == ["acme"] * 5 + ["own"]
    assert tenants(embedded["errbacks"]) == ["acme"]


def test_events_name_the_tenants_queue(app: Celery, amqp: BlockingChannel) -> None:
    """With task_send_sent_event, what monitors see of a submitted task is its tenant's queue."""
    app.conf.task_send_sent_event = True
    amqp.exchange_declare("celeryev", "topic", durable=True)
    amqp.queue_declare("ears")
    amqp.queue_bind("ears", "celeryev", "task.#")
    result = app.tasks["note"].apply_async(("a",), tenant="acme")
    _, _, event = take(amqp, "ears")
    assert (event["type"], event["uuid"]) == ("task-sent", result.id)
    assert (event["queue"], event["routing_key"]) == ("usersequence_acme", "usersequence_acme")


@pytest.mark.parametrize(
    ("given", "on_the_wire"), [("low", 0), ("normal", 1), ("high", 2), (0, 0), (2, 2), (None, 1)]
)
def test_priorities(given: Any, on_the_wire: int, app: Celery, amqp: BlockingChannel) -> None:
    """A priority is a name or a number of the three that there are."""
    app.tasks["note"].apply_async(("a",), tenant="acme", priority=given)
    assert take(amqp)[1].priority == on_the_wire


def test_a_higher_priority_of_an_ordinary_task_becomes_the_highest(
    app: Celery, amqp: BlockingChannel
) -> None:
    """Celery passes it on to what comes after that task, which must not fail."""
    app.tasks["note"].s("a").apply_async(tenant="acme", priority=9, root_id="r-1")
    assert take(amqp)[1].priority == 2


def test_headers_of_the_callers_own_are_kept(app: Celery, amqp: BlockingChannel) -> None:
    """A caller's headers travel along; none of them contradicts the tenant or says that the task is admitted."""
    headers = {"trace": "t-1", "d1": "mine", "taketurns_admitted": True, "taketurns_tenant": "other"}
    app.tasks["note"].apply_async(("a",), tenant="acme", headers=headers)
    found = take(amqp)[1].headers
    assert (found["trace"], found["d1"], found["taketurns_tenant"]) == ("t-1", "mine", "acme")
    assert "taketurns_admitted" not in found


def test_without_a_tenant_it_is_an_error_at_the_call(app: Celery) -> None:
    """A tenant task without a tenant is refused where it is submitted, in every way of submitting."""
    note = app.tasks["note"]
    calls: list[Callable[[], object]] = [
        lambda: note.delay("a"),
        lambda: note.apply_async(("a",)),
        lambda: note.s("a").delay(),
        (note.s("a") | note.s("b")).delay,
        lambda: group(note.s("a"), note.s("b")).delay(),
        lambda: note.apply(("a",)),
    ]
    for call in calls:
        with pytest.raises(MissingTenant, match="'note'"):
            call()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tenant": "a/b"}, InvalidTenant, "a/b"),
        ({"tenant": ""}, InvalidTenant, "tenant"),
        ({"priority": "urgent"}, InvalidInput, "priority: 'urgent'"),
        ({"priority": -1}, InvalidInput, "priority"),
        ({"priority": 7}, InvalidInput, "priority: 7 is not valid; accepted is low, normal, high or 0 to 2"),
        ({"time_limit": "1m"}, InvalidInput, "time_limit: '1m'"),
        ({"time_limit": float("nan")}, InvalidInput, "time_limit"),
        ({"soft_time_limit": 0}, InvalidInput, "soft_time_limit: 0"),
        (
            {"soft_time_limit": 5, "time_limit": 1},
            InvalidInput,
            "soft_time_limit: 5 .* at most the time_limit, 1 s",
        ),
        ({"retries": -5}, InvalidInput, "retries: -5 is not valid; accepted is a whole number from 0"),
        ({"retries": "x"}, InvalidInput, "retries: 'x'"),
        ({"countdown": "5"}, InvalidInput, "countdown: '5' is not valid; accepted is a number of seconds"),
        ({"eta": "tomorrow"}, InvalidInput, "eta: 'tomorrow'.*ISO 8601"),
        ({"eta": 5}, InvalidInput, "eta: 5"),
        ({"serializer": "pickle"}, InvalidInput, "serializer: 'pickle'"),
        ({"queue": "emails"}, TaketurnsError, "leave out queue"),
        ({"exchange": "emails"}, TaketurnsError, "leave out queue"),
        ({"routing_key": "emails"}, TaketurnsError, "leave out queue"),
    ],
)
def test_bad_options_are_refused_at_the_call(
    options: dict[str, Any], error: type[Exception], message: str, app: Celery
) -> None:
    """What can't be done is an error that names the option, before anything is sent."""
    with pytest.raises(error, match=message):
        app.tasks["note"].apply_async(("a",), **{"tenant": "acme", **options})


def test_arguments_are_checked_as_ever(app: Celery) -> None:
    """Celery's own check of the arguments at the call still happens."""
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        app.tasks["spawn"].apply_async((), tenant="acme")


def test_without_a_broker_the_call_fails_in_time(settings: Settings) -> None:
    """A dead broker is one quick error, Celery's OperationalError as well, whatever its policy of retries says."""
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    app = build(settings)
    app.conf.broker_url = f"amqp://127.0.0.1:{port}//"
    app.conf.task_publish_retry_policy = {"max_retries": 100, "interval_start": 1}
    for options in ({}, {"countdown": 1}):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            app.tasks["note"].apply_async(("a",), tenant="acme", **options)
        assert isinstance(caught.value, OperationalError)
        assert time.monotonic() - began < 1
    close(app)


def test_a_retry_that_can_not_be_published_gives_the_message_back(settings: Settings) -> None:
    """Celery would drop the task; here the worker returns it to its queue. What can never work fails instead."""
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    app = build(settings)
    app.conf.broker_url = f"amqp://127.0.0.1:{port}//"
    twice = app.tasks["twice"]
    request = {"id": "1", "args": ["a"], "kwargs": {}, "headers": {"taketurns_tenant": "acme"}}
    twice.push_request(called_directly=False, **request)
    try:
        with pytest.raises(Reject) as caught:
            twice.retry(countdown=1)
        assert caught.value.requeue
        assert isinstance(caught.value.reason, BrokerUnavailable)
        with pytest.raises(InvalidInput, match="countdown"):
            twice.retry(countdown=50 * 86400)
        for option in ("queue", "exchange", "routing_key"):
            with pytest.raises(TaketurnsError, match="leave out queue"):
                twice.retry(**{option: "images"})
    finally:
        twice.pop_request()
    close(app)


@pytest.mark.parametrize(
    "came_by",
    [
        {"exchange": "usersequence", "routing_key": "usersequence_acme", "redelivered": True, "priority": 2},
        {"exchange": "somebody's", "routing_key": "own", "redelivered": False, "priority": 2},
        {"exchange": "", "routing_key": "usersequence_acme", "redelivered": False, "priority": 2},
        {"exchange": "", "routing_key": "ordinary", "redelivered": False, "priority": 2},
    ],
)
def test_a_retry_goes_into_the_tenants_queue(
    came_by: dict[str, Any], app: Celery, amqp: BlockingChannel
) -> None:
    """By whatever way the message came: the retry is in its tenant's queue, with its id and priority."""
    twice = app.tasks["twice"]
    headers = {"taketurns_tenant": "acme", "taketurns_admitted": True, "trace": "t-1"}
    twice.push_request(
        id="1", args=["a"], kwargs={}, headers=headers, delivery_info=came_by, called_directly=False
    )
    try:
        with pytest.raises(Retry):
            twice.retry(countdown=0)
    finally:
        twice.pop_request()
    method, properties, _ = take(amqp)
    assert (method.exchange, method.routing_key) == ("usersequence", "usersequence_acme")
    assert properties.priority == 2
    found = properties.headers
    assert (found["id"], found["retries"], found["trace"]) == ("1", 1, "t-1")
    assert "taketurns_admitted" not in found


def test_a_task_called_as_a_function_just_runs(app: Celery) -> None:
    """Calling a task as a function needs no tenant, no broker and no limit."""
    assert app.tasks["collect"](["a"], "direct") == ["a"]
    with pytest.raises(SystemExit):
        app.tasks["leave"]("direct")


def test_eager_tasks_run_for_their_tenant(app: Celery, settings: Settings) -> None:
    """With task_always_eager, canvases run here and now, each task with its tenant."""
    app.conf.task_always_eager = True
    note, plain = app.tasks["note"], app.tasks["plain"]
    assert note.apply_async(("a",), tenant="acme").get() == "a"
    assert note.for_tenant("acme").delay("b").get() == "b"
    assert (note.s("c") | plain.s("d") | note.s("e")).set(tenant="acme").delay().get() == "e"
    app.tasks["spawn"].apply_async(("f",), tenant="acme")
    assert app.tasks["twice"].apply_async(("g",), tenant="acme").get() == "g"
    with pytest.raises(MissingTenant):
        note.delay("h")
    written = {row["label"]: row["tenant"] for row in rows(settings)}
    assert written == {**dict.fromkeys(["a", "b", "c", "e", "f", "g"], "acme"), "d": None}


def test_eager_tasks_wait_for_their_rate(app: Celery, settings: Settings) -> None:
    """Nothing else can delay an eager task, so it waits: a limit does not vanish."""
    limited = app.tasks["limited"]
    for n in range(4):
        limited.apply((str(n),), tenant="acme")
    limited.apply(("other",), tenant="beta")
    starts = [row["at"] for row in rows(settings)]
    gaps = [later - earlier for earlier, later in pairwise(starts[:4])]
    assert min(gaps) >= 0.085
    assert starts[4] - starts[3] < 0.085


def test_an_operators_limit_applies_within_a_second(
    app: Celery, settings: Settings, eventually: Eventually
) -> None:
    """A process without a gate takes changes of a tenant's limits too."""
    registry = TakeTurns.of(app).registry
    note = app.tasks["note"]

    def two_starts_apart() -> float:
        for label in ("a", "b"):
            note.apply((label,), tenant="acme")
        first, second = (row["at"] for row in rows(settings)[-2:])
        return float(second - first)

    assert two_starts_apart() < 0.2
    registry.update("acme", rate_limit="4/1s")
    eventually(lambda: two_starts_apart() > 0.2, within=5)
    registry.update("acme", rate_limit=None, task_rate_limits={"note": "100/1s"})
    eventually(lambda: two_starts_apart() < 0.2, within=5)


def test_a_body_that_would_end_its_worker_fails_instead(app: Celery) -> None:
    """SystemExit and MemoryError of a body are failures of the task."""
    for name, cause in (("leave", SystemExit), ("exhaust", MemoryError)):
        result = app.tasks[name].apply(("a",), tenant="acme")
        assert isinstance(result.result, TaskAborted)
        assert isinstance(result.result.__cause__, cause)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_stock_worker_consumes_what_it_is_told_to_and_keeps_the_rate(
    pool: str, app: Celery, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Celery's own consumer, told of a tenant's queue, takes it as it is; the task itself enforces its rate."""
    turns = TakeTurns.of(app)
    options = ("-P", pool, "-c", "2", "--prefetch-multiplier", "1")
    with worker(
        settings, tmp_path, *options, app="support.canvas_worker", serves=False, CANVAS_STOCK="1"
    ) as stock:
        turns.registry.worker_alive(stock.name, 60)
        limited = app.tasks["limited"]
        results = [limited.apply_async((str(n),), tenant="acme", priority="high") for n in range(15)]
        plain = app.tasks["plain"].delay("plain")
        assert plain.get(timeout=20) == "plain"
        assert [result.get(timeout=30) for result in results] == [str(n) for n in range(15)]
        ran = [row for row in rows(settings) if row["label"] != "plain"]
        assert sorted(row["id"] for row in ran) == sorted(result.id for result in results)
        assert {(row["tenant"], row["retries"], row["priority"]) for row in ran} == {("acme", 0, 2)}
        starts = sorted(row["at"] for row in ran)
        assert starts[-1] - starts[0] > 14 * 0.1 * 0.9 - 0.1
        assert stock.process.poll() is None


def test_a_stock_worker_survives_the_bodies_that_would_end_it(
    app: Celery, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A tenant's SystemExit or MemoryError fails its task, and the worker goes on with the next."""
    turns = TakeTurns.of(app)
    with worker(
        settings,
        tmp_path,
        "-P",
        "prefork",
        "-c",
        "1",
        app="support.canvas_worker",
        serves=False,
        CANVAS_STOCK="1",
    ) as stock:
        turns.registry.worker_alive(stock.name, 60)
        for name in ("leave", "exhaust"):
            result = app.tasks[name].apply_async((name,), tenant="acme")
            with pytest.raises(TaskAborted):
                result.get(timeout=20)
        assert app.tasks["note"].apply_async(("after",), tenant="acme").get(timeout=20) == "after"
    assert [row["label"] for row in rows(settings)] == ["leave", "exhaust", "after"]


def test_a_body_that_is_told_to_end_does_not_fail(
    app: Celery, amqp: BlockingChannel, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A worker that is shut down at once ends its children: their tasks go back, and nobody calls them failed."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "1", app="support.canvas_worker") as running:
        result = app.tasks["sleep"].apply_async(("sleep", 60), tenant="acme")
        eventually(lambda: rows(settings), what="the task has started")
        running.stop(signal.SIGQUIT)
    assert result.state == "PENDING"

    def is_back() -> bool:
        return bool(amqp.queue_declare("usersequence_acme", passive=True).method.message_count)

    eventually(is_back)
    assert take(amqp)[1].headers["id"] == result.id


def test_a_worker_of_other_queues_hears_nothing_of_tenants(
    app: Celery, settings: Settings, tmp_path: Path
) -> None:
    """The broadcast is not for a worker that does not serve tenants: it consumes what it did before."""
    turns = TakeTurns.of(app)
    with worker(
        settings, tmp_path, "-P", "solo", app="support.canvas_worker", serves=False, CANVAS_STOCK="1"
    ) as stock:
        turns.registry.worker_alive("another@host", 60)
        app.tasks["note"].apply_async(("a",), tenant="acme")
        assert app.tasks["plain"].delay("plain").get(timeout=20) == "plain"
        (queues,) = app.control.inspect([stock.name], timeout=5).active_queues().values()
        assert [queue["name"] for queue in queues] == ["ordinary"]
