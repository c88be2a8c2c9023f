"""A team's ordinary worker process, with tenant queues: what every pool must do."""

from __future__ import annotations

import itertools
import json
import pickle
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from amqp import Message
from pika import BasicProperties, BlockingConnection, URLParameters

from support.workers import worker
from taketurns.tenants import queue_name
from taketurns.topology import DEAD_QUEUE, EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Broker
    from support.workers import Ledger, Worker
    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.fixture
def amqp(broker: Broker) -> Iterator[BlockingConnection]:
    """A client that is not Celery."""
    connection = BlockingConnection(URLParameters(broker.amqp_url))
    yield connection
    if connection.is_open:
        connection.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_pool_serves_tenants_and_ordinary_tasks(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Two tenants' tasks and an ordinary one all run once, and their results come back."""
    with worker(settings, tmp_path, "-P", pool, "-c", "2"):
        results = [
            shop.work.apply_async((f"{tenant}{n}",), tenant=tenant)
            for tenant in ("a", "b")
            for n in range(20)
        ]
        results.append(shop.ordinary.delay("o"))
        assert [result.get(timeout=20) for result in results] == [
            *(f"{tenant}{n}" for tenant in ("a", "b") for n in range(20)),
            "o",
        ]
    rows = ledger.rows()
    assert Counter(row["tenant"] for row in rows) == {"a": 20, "b": 20, None: 1}
    assert not any(row["redelivered"] for row in rows)


def test_a_started_task_reaches_its_process_in_the_same_pass_of_the_loop(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """The loop calls taketurns before the pool.

    In the other order a task that starts from the hand would wait for a timer to wake the loop, ten times a second.
    """
    for number in range(800):
        shop.work.apply_async((str(number),), tenant="a")
    with worker(settings, tmp_path, "-P", "prefork", "-c", "1"):
        eventually(lambda: len(ledger) == 800, within=60)


def test_a_worker_finds_queues_that_it_never_heard_of(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Tasks published before any worker ran are found, and so are queues of which the broadcast was missed."""
    shop.work.apply_async(("early",), tenant="early")
    with worker(settings, tmp_path, "-P", "solo"):
        eventually(lambda: ledger.labels() == ["early"])
        shop.turns.publisher.broadcast = lambda _: None
        shop.work.apply_async(("unheard",), tenant="unheard")
        eventually(lambda: ledger.labels() == ["early", "unheard"])


def test_a_canvas_runs_on_the_tenants_queue(shop: Any, settings: Settings, tmp_path: Path) -> None:
    """A chord of the tenant's, and a task submitted by a running one, keep their tenant."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "4"):
        assert shop.total("acme").apply_async().get(timeout=20) == 10


def test_a_task_passes_its_tenant_on(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A task submitted inside a running one runs for the same tenant; a retry as well."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "2"):
        shop.parent.apply_async(("p",), tenant="acme")
        shop.flaky.apply_async(("f",), tenant="acme")
        eventually(lambda: sorted(ledger.labels()) == ["f-0", "f-1", "p", "p-child"])
    assert {row["tenant"] for row in ledger.rows()} == {"acme"}


def test_a_worker_with_queues_of_its_own_leaves_tenants_alone(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """``-Q ordinary`` serves no tenant queue, unless the settings say always."""
    shop.work.apply_async(("t",), tenant="acme")
    shop.ordinary.delay("o")
    with worker(settings, tmp_path, "-P", "solo", "-Q", "ordinary", serves=False):
        eventually(lambda: ledger.labels() == ["o"])
    assert ledger.labels() == ["o"]
    with worker(
        settings, tmp_path, "-P", "solo", "-Q", "ordinary", name="w2", TAKETURNS_WORKER_SERVE_TENANTS="always"
    ):
        eventually(lambda: ledger.labels() == ["o", "t"])


def test_a_worker_that_excludes_the_apps_queue_serves_tenants_beside_its_backlog(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """What the documentation tells those to start whose old queue is full."""
    for number in range(8):
        shop.ordinary.delay(f"o{number}")
    with worker(settings, tmp_path, "-P", "solo", "-X", "ordinary"):
        shop.work.apply_async(("t",), tenant="acme")
        eventually(lambda: ledger.labels() == ["t"])
        eventually(lambda: shop.turns.publisher.waiting("ordinary") == 8)


def test_operators_commands_work(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """active_queues names tenant queues; cancel_consumer and add_consumer stop and start them."""
    with worker(settings, tmp_path, "-P", "solo") as running:
        inspect = shop.app.control.inspect([running.name], timeout=5)
        shop.work.apply_async(("1",), tenant="acme").get(timeout=20)

        def active() -> list[str]:
            return [queue["name"] for queue in (inspect.active_queues() or {})[running.name]]

        assert set(active()) == {"ordinary", "usersequence_acme"}
        shop.app.control.cancel_consumer("usersequence_acme", destination=[running.name], reply=True)
        eventually(lambda: active() == ["ordinary"])
        result = shop.work.apply_async(("2",), tenant="acme")
        listing = shop.turns.management
        eventually(lambda: listing.queue("usersequence_acme").ready == 1)
        shop.app.control.add_consumer("usersequence_acme", destination=[running.name], reply=True)
        assert result.get(timeout=20) == "2"


def test_pause_and_limits_apply_to_the_backlog(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A paused tenant's tasks wait while another's run; a limit given at run time spaces those that follow."""
    registry = shop.turns.registry
    registry.update("acme", paused=True, rate_limit="20/1s")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        for n in range(6):
            shop.work.apply_async((f"a{n}",), tenant="acme")
        shop.work.apply_async(("b",), tenant="b").get(timeout=20)
        assert ledger.labels() == ["b"]
        registry.update("acme", paused=False)
        eventually(lambda: len(ledger) == 7)
    starts = sorted(row["started"] for row in ledger.rows() if row["tenant"] == "acme")
    assert starts[-1] - starts[0] >= 5 * 0.05 * 0.9


def test_a_queue_added_at_run_time_is_served(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """``add_consumer`` with an ordinary queue that does not exist yet declares it, as on a stock worker."""
    with worker(settings, tmp_path, "-P", "solo") as running:
        shop.app.control.add_consumer("extra", destination=[running.name], reply=True)
        shop.ordinary.apply_async(("x",), queue="extra")
        eventually(lambda: ledger.labels() == ["x"])


def test_a_worker_that_serves_no_tenants_refuses_their_queues(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """``add_consumer`` of a tenant queue costs such a worker nothing: it says so, and goes on."""
    shop.work.apply_async(("t",), tenant="acme")
    with worker(settings, tmp_path, "-P", "solo", "-Q", "ordinary", serves=False) as running:
        shop.app.control.add_consumer("usersequence_acme", destination=[running.name], reply=True)
        eventually(lambda: "does not serve tenants" in running.output)
        shop.ordinary.delay("o")
        eventually(lambda: ledger.labels() == ["o"])


def test_a_request_that_fails_in_celery_leaves_its_slot(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Whatever Celery makes of a message, the only slot of the worker is there for the next one."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "1", app="support.failing_pool"):
        shop.work.apply_async(("fails",), tenant="acme")
        shop.work.apply_async(("runs",), tenant="acme")
        eventually(lambda: ledger.labels() == ["runs"])
        eventually(lambda: shop.turns.management.queue(DEAD_QUEUE).ready == 1)


def test_a_drained_queue_is_not_served_although_it_was_unknown(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A worker told to drain a queue that it discovers only afterwards leaves it alone until the drain ends."""
    with worker(settings, tmp_path, "-P", "solo") as running:
        control = shop.app.control
        told = {"tenants": ["acme"], "seconds": 60}
        control.broadcast("taketurns_drain", arguments=told, reply=True, destination=[running.name])
        shop.work.apply_async(("late",), tenant="acme")
        shop.work.apply_async(("other",), tenant="other").get(timeout=20)
        holding = control.broadcast(
            "taketurns_holding", arguments={"tenants": ["acme"]}, reply=True, destination=[running.name]
        )
        assert holding == [{running.name: {"holding": []}}]
        assert ledger.labels() == ["other"]
        control.broadcast("taketurns_resume", arguments={"tenants": ["acme"]}, destination=[running.name])
        eventually(lambda: ledger.labels() == ["other", "late"])


def test_a_tasks_own_limit_is_kept_by_all_workers(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """rate_limit_per_tenant spaces one tenant's starts over two workers, and holds nobody else up."""
    with (
        worker(settings, tmp_path, "-P", "threads", "-c", "2", name="w1"),
        worker(settings, tmp_path, "-P", "threads", "-c", "2", name="w2"),
    ):
        for n in range(12):
            shop.limited.apply_async((f"l{n}",), tenant="acme")
        shop.work.apply_async(("free",), tenant="acme").get(timeout=20)
        eventually(lambda: len(ledger) == 13)
    starts = sorted(row["started"] for row in ledger.rows() if row["label"].startswith("l"))
    assert starts[-1] - starts[0] >= 11 * 0.1 * 0.9
    assert Counter(ledger.labels()) == Counter([*(f"l{n}" for n in range(12)), "free"])


def test_a_tenant_at_its_maximum_uses_its_slot_well(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """With max_concurrency 1 a tenant's tasks run one at a time, each as soon as the one before it has ended."""
    shop.turns.registry.update("acme", max_concurrency=1)
    for n in range(20):
        shop.work.apply_async((f"{n}", 0.02), tenant="acme")
    with worker(settings, tmp_path, "-P", "threads", "-c", "4"):
        eventually(lambda: len(ledger) == 20, within=20)
    runs = sorted((row["started"], row["ended"]) for row in ledger.rows())
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(runs))
    # A slot that nobody wakes is looked at four times a second: that would take five seconds.
    assert runs[-1][1] - runs[0][0] < 3


POISON: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "pickle": (
        pickle.dumps(([], {}, {})),
        {"content_type": "application/x-python-serialize"},
        "content type",
    ),
    "not JSON": (b"{", {}, "undecodable"),
    "a number": (b"7", {}, "body"),
    "an object": (b'{"args": []}', {}, "body"),
    "two elements": (b"[[], {}]", {}, "body"),
    "wrong elements": (b"[{}, [], 1]", {}, "body"),
    "unknown task": (b"[[], {}, {}]", {"headers": {"task": "nobody.knows", "id": "u-1"}}, "unknown task"),
    "time limits of text": (
        b"[[], {}, {}]",
        {"headers": {"task": "support.shop.work", "id": "t-1", "timelimit": ["1m", None]}},
        "time limits",
    ),
    "three time limits": (
        b"[[], {}, {}]",
        {"headers": {"task": "support.shop.work", "id": "t-2", "timelimit": [1, 2, 3]}},
        "time limits",
    ),
    "retries of text": (
        b"[[], {}, {}]",
        {"headers": {"task": "support.shop.work", "id": "r-1", "retries": "x"}},
        "retries in its headers is 'x'",
    ),
    "fewer retries than none": (
        b"[[], {}, {}]",
        {"headers": {"task": "support.shop.work", "id": "r-2", "retries": -1}},
        "retries in its headers is -1",
    ),
    "no retries": (
        b"[[], {}, {}]",
        {"headers": {"task": "support.shop.work", "id": "r-3", "retries": None}},
        "retries in its headers is None",
    ),
    "callbacks that are a number": (b'[["c-1"], {}, {"callbacks": 5}]', {}, "callbacks in its options"),
    "a chain of what is no signature": (b'[["c-2"], {}, {"chain": [{"a": 1}]}]', {}, "chain in its options"),
    "a chord that is a number": (b'[["c-3"], {}, {"chord": 5}]', {}, "chord in its options"),
    "an id that is no UTF-8": (
        b"[[], {}, {}]",
        {"headers": {"task": "support.shop.work", "id": b"\xed\xa0\x80"}},
        "id in its headers is",
    ),
    "no task": (b"[[], {}, {}]", {"headers": {"id": "n-1"}}, "task in its headers is None"),
}


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_poison_goes_to_the_dead_letters_and_the_worker_goes_on(
    pool: str, shop: Any, settings: Settings, amqp: BlockingConnection, tmp_path: Path, eventually: Eventually
) -> None:
    """A message that can never run ends in usersequence.dead with the reason; the tasks behind it run."""
    queue = shop.turns.publisher.ensure("acme")
    channel = amqp.channel()
    for body, properties, _ in POISON.values():
        given = {
            "content_type": "application/json",
            "headers": {"task": "support.shop.work", "id": "p-1"},
            "delivery_mode": 2,
            **properties,
        }
        channel.basic_publish(EXCHANGE, queue, body, BasicProperties(**given))
    with worker(settings, tmp_path, "-P", pool, "-c", "1"):
        assert shop.work.apply_async(("after",), tenant="acme").get(timeout=20) == "after"
        management = shop.turns.management
        eventually(lambda: management.queue(DEAD_QUEUE).ready == len(POISON))
        eventually(lambda: management.queue(queue).unacknowledged == 0)
    reasons = []
    for _ in POISON:
        _, properties, body = channel.basic_get(DEAD_QUEUE, auto_ack=True)
        assert properties.headers["taketurns_tenant"] == "acme"
        reasons.append((body, properties.headers["taketurns_dead_reason"]))
    for body, _, reason in POISON.values():
        assert any(body == dead and reason in why for dead, why in reasons), (body, reasons)


HEADERS = (
    *("task", "id", "lang", "root_id", "parent_id", "group", "group_index", "shadow", "origin", "meth"),
    *(
        "retries",
        "timelimit",
        "eta",
        "expires",
        "argsrepr",
        "kwargsrepr",
        "ignore_result",
        "replaced_task_nesting",
    ),
    *("stamps", "stamped_headers", "x-death", "compression"),
    *("taketurns_tenant", "taketurns_owner", "taketurns_submission", "taketurns_eta", "taketurns_retry"),
    *("taketurns_redelivered", "taketurns_admitted", "taketurns_replays", "taketurns_tags", "taketurns_due"),
    *("taketurns_countdown", "taketurns_depends_on", "taketurns_schedule", "taketurns_waiting_since"),
)
STRANGE: tuple[Any, ...] = (["x"], {"x": ["y"]}, 7, -1, 10**12, 1.5, True, None, "", "x", b"\xed\xa0\x80")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_header_takes_the_worker_along_or_keeps_a_slot(
    pool: str, shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Whatever stands in a header: its message runs or is a dead letter, and the worker goes on as before."""
    queue = shop.turns.publisher.ensure("acme")
    with shop.app.connection_for_write() as connection:
        several = itertools.product(HEADERS, STRANGE, ("support.shop.work", "support.shop.insist"))
        for number, (name, value, task) in enumerate(several):
            headers = {"task": task, "id": f"s-{number}", name: value}
            message = Message(
                b'[["s"], {}, {}]', content_type="application/json", application_headers=headers
            )
            connection.default_channel.basic_publish(message, EXCHANGE, queue)
    management = shop.turns.management
    with worker(settings, tmp_path, "-P", pool, "-c", "2") as running:
        eventually(lambda: management.queue(queue).ready == 0, within=60)
        eventually(lambda: management.queue(queue).unacknowledged == 0, within=20)
        assert shop.work.apply_async(("after",), tenant="acme").get(timeout=20) == "after"
        running.stop()
        assert "Unrecoverable" not in running.output
        assert "Pool callback raised" not in running.output


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_body_that_would_end_the_worker_fails_its_task(
    pool: str, shop: Any, settings: Settings, tmp_path: Path
) -> None:
    """SystemExit out of a task is a failure of that task; its worker runs the next."""
    with worker(settings, tmp_path, "-P", pool, "-c", "1"):
        left = shop.leave.apply_async(tenant="acme")
        with pytest.raises(Exception, match=r"TaskAborted|SystemExit"):
            left.get(timeout=20)
        assert shop.work.apply_async(("on",), tenant="acme").get(timeout=20) == "on"


def test_a_deleted_queue_costs_the_worker_nothing_else(
    shop: Any, settings: Settings, broker: Broker, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A queue deleted by hand, and one declared otherwise, leave connection and running tasks alone."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "2") as running:
        long = shop.work.apply_async(("long", 1.5), tenant="acme")
        eventually(lambda: shop.turns.management.queue("usersequence_acme").unacknowledged == 1)
        for tenant in ("b", "c"):
            shop.work.apply_async((tenant,), tenant=tenant).get(timeout=20)
            requests.delete(
                broker.api(f"queues/{{vhost}}/usersequence_{tenant}"), timeout=10
            ).raise_for_status()
        requests.put(
            broker.api("queues/{vhost}/usersequence_q"),
            json={"durable": True, "arguments": {"x-queue-type": "quorum"}},
            timeout=10,
        ).raise_for_status()
        assert shop.work.apply_async(("q",), tenant="q").get(timeout=20) == "q"
        assert long.get(timeout=20) == "long"
        assert "onnection to broker lost" not in running.output
    assert Counter(ledger.labels()) == {"long": 1, "b": 1, "c": 1, "q": 1}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_clean_stop_runs_nothing_twice(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """SIGTERM lets the running tasks end and gives the rest back; the next worker runs that, each task once."""
    for n in range(40):
        shop.work.apply_async((f"{n}", 0.05), tenant=f"t{n % 5}")
    with worker(settings, tmp_path, "-P", pool, "-c", "2") as first:
        eventually(lambda: len(ledger) >= 6)
        assert first.stop() == 0
        done = len(ledger)
        assert done < 40
    management = shop.turns.management
    eventually(lambda: sum(info.ready or 0 for info in management.tenant_queues().values()) == 40 - done)
    with worker(settings, tmp_path, "-P", pool, "-c", "2", name="w2"):
        eventually(lambda: len(ledger) >= 40, within=20)
    assert Counter(ledger.labels()) == {f"{n}": 1 for n in range(40)}


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_now_and_the_next_worker_runs_what_was_running(
    pool: str,
    number: signal.Signals,
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    management = shop.turns.management
    tasks = [shop.work.apply_async((f"{n}", 30), tenant="acme").id for n in range(3)]
    with worker(settings, tmp_path, "-P", pool, "-c", "1") as first:
        if pool == "solo":  # which answers nobody while it runs a task
            # Not as soon as it has the message: a signal just before the task's sleep would not end that.
            eventually(lambda: any(shop.turns.tasks.get("acme", task).stored == "RUNNING" for task in tasks))
        else:
            inspect = shop.app.control.inspect(destination=[first.name])
            eventually(lambda: (inspect.active() or {}).get(first.name))
        first.process.send_signal(number)
        eventually(lambda: "another signal stops now" in first.output)
        first.stop(number, within=15)
        assert "Error on stopping" not in first.output
    eventually(lambda: management.queue("usersequence_acme").ready == 3)
    assert not ledger.labels()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_grace_of_a_stop_ends(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A task that ends within it runs once; one that does not goes back."""
    management = shop.turns.management
    shop.work.apply_async(("short", 1.5), tenant="acme")
    shop.work.apply_async(("long", 30), tenant="bolt")
    with worker(settings, tmp_path, "-P", pool, "-c", "2", TAKETURNS_WORKER_STOP_GRACE="3") as first:
        eventually(lambda: first.output.count(" received") == 2)  # both have a process or thread
        first.stop(within=15)
        assert "1 tasks still run after 3 s of grace" in first.output
    assert ledger.labels() == ["short"]
    eventually(lambda: management.queue("usersequence_bolt").ready == 1)
    assert management.queue("usersequence_acme").ready == 0


def test_a_stopping_worker_waits_for_no_task_that_lost_its_process(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """SIGTERM right after a task was terminated ends the worker; the task behind it runs on the next one."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "1") as first:
        long = shop.work.apply_async(("long", 60), tenant="acme")
        shop.work.apply_async(("next",), tenant="acme")
        eventually(lambda: shop.app.control.inspect([first.name]).active()[first.name])
        shop.app.control.revoke(long.id, terminate=True, destination=[first.name], reply=True)
        assert first.stop() == 0
    with worker(settings, tmp_path, "-P", "prefork", "-c", "1", name="w2"):
        eventually(lambda: "next" in ledger.labels(), within=20)
    assert "long" not in ledger.labels()


def test_a_running_task_is_activity(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """A tenant's idle time begins when its last task has ended, not when that was submitted."""
    registry = shop.turns.registry
    with worker(settings, tmp_path, "-P", "threads", "-c", "1"):
        shop.work.apply_async(("long", 3), tenant="acme")
        submitted = registry.activity()["acme"]
        eventually(lambda: ledger.labels() == ["long"])
        eventually(lambda: registry.activity()["acme"] > submitted + 2)


def test_a_killed_worker_loses_nothing(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """After kill -9 another worker runs everything, and at most what was running runs twice."""
    for n in range(30):
        shop.work.apply_async((f"{n}", 0.05), tenant=f"t{n % 3}")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2") as first:
        eventually(lambda: len(ledger) >= 5)
        first.stop(signal.SIGKILL)
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", name="w2"):
        eventually(lambda: len(set(ledger.labels())) == 30, within=20)
    assert sum(count - 1 for count in Counter(ledger.labels()).values()) <= 2


def test_what_waits_behind_a_long_task_goes_back_to_who_has_a_slot(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """The hand of a worker whose slots are taken for long does not keep a message from a worker that came later."""
    shop.work.apply_async(("long", 9.0), tenant="acme")
    for label in "abc":
        shop.work.apply_async((label,), tenant="acme")
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", TAKETURNS_WORKER_MAX_HELD="1"):
        eventually(lambda: _unacknowledged(shop.turns) > 1)
        with worker(settings, tmp_path, "-P", "threads", "-c", "1", name="w2", TAKETURNS_WORKER_MAX_HELD="1"):
            eventually(lambda: sorted(ledger.labels()) == ["a", "b", "c"], within=8)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_lost_connection_is_made_again(
    pool: str,
    shop: Any,
    settings: Settings,
    broker: Broker,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """When the broker closes its connections the worker comes back by itself and serves as before."""
    with worker(settings, tmp_path, "-P", pool, "-c", "2") as running:
        shop.work.apply_async(("before",), tenant="acme").get(timeout=20)
        eventually(lambda: not _unacknowledged(shop.turns))  # else it would run again
        _lose_connection(running, broker, eventually)
        results = [shop.work.apply_async((f"{n}",), tenant=f"t{n % 4}") for n in range(20)]
        assert [result.get(timeout=30) for result in results] == [f"{n}" for n in range(20)]
        eventually(lambda: not _unacknowledged(shop.turns))
    assert len(ledger) == 21


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_heartbeats_and_acknowledgements_go_on_after_a_reconnect(
    pool: str,
    shop: Any,
    settings: Settings,
    broker: Broker,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """A task of three heartbeats' time runs once, on a connection that is not the worker's first."""
    with worker(settings, tmp_path, "-P", pool, "-c", "2", SHOP_HEARTBEAT="3") as running:
        lost = _lose_connection(running, broker, eventually)
        shop.work.apply_async(("long", 10), tenant="acme", ignore_result=True)
        eventually(lambda: ledger.labels() == ["long"], within=30)
        eventually(lambda: not _unacknowledged(shop.turns))
        shop.work.apply_async(("next",), tenant="acme")
        eventually(lambda: ledger.labels() == ["long", "next"])
        assert running.output.count("onnection to broker lost") == lost


def test_gevent_is_refused(settings: Settings, tmp_path: Path) -> None:
    """A pool that can't serve tenants stops the start, and the message says which can."""
    pytest.importorskip("gevent")
    with (
        pytest.raises(AssertionError, match="start the worker with -P prefork, threads or solo"),
        worker(settings, tmp_path, "-P", "gevent"),
    ):
        pass


def test_pika_sees_durable_queues_and_persistent_messages(shop: Any, amqp: BlockingConnection) -> None:
    """A client that is not Celery finds the tenant's queue durable and the task persistent, JSON, and named."""
    shop.work.apply_async(("x",), tenant="acme")
    channel = amqp.channel()
    channel.queue_declare(queue_name("acme"), durable=True, passive=True)
    _, properties, body = channel.basic_get(queue_name("acme"), auto_ack=True)
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/json"
    assert properties.headers["taketurns_tenant"] == "acme"
    assert json.loads(body)[0] == ["x"]


def _lose_connection(running: Worker, broker: Broker, eventually: Eventually) -> int:
    """Close the vhost's connections until the worker has lost its own and is back; return how often it has lost one.

    The management API knows of a connection only seconds after it was made.
    """

    def lost() -> int:
        return running.output.count("onnection to broker lost")

    def close() -> int:
        answer = requests.get(broker.api("vhosts/{vhost}/connections"), timeout=10)
        answer.raise_for_status()
        for each in answer.json():
            name = quote(each["name"], safe="")
            requests.delete(f"{broker.management_url}/api/connections/{name}", timeout=10)
        return lost()

    eventually(close, within=20)
    eventually(lambda: running.output.count("Connected to amqp") == 1 + lost(), within=20)
    return lost()


def _unacknowledged(turns: TakeTurns) -> int:
    return sum(info.unacknowledged or 0 for info in turns.management.tenant_queues().values())
