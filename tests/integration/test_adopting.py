"""An app that exists already, with resolver, default tenant, task_cls, routers and beat; real processes."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from celery import Celery, chain, chord, group, signature

from support.canvas import rows
from support.publishing import close
from support.workers import environment, started, worker
from taketurns import TakeTurns
from taketurns.errors import InvalidTenant, MissingTenant, TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns.settings import Settings

    Eventually = Callable[..., None]

APP = "support.adopted"


@pytest.fixture
def adopted(settings: Settings) -> Iterator[Any]:
    """The module of the app, in this process."""
    sys.modules.pop(APP, None)
    with mock.patch.dict("os.environ", environment(settings), clear=True):
        module = importlib.import_module(APP)
    yield module
    close(module.app)
    sys.modules.pop(APP, None)


def tenants_of(settings: Settings) -> dict[str, str]:
    """Return for which tenants the tasks of each label ran."""
    found: dict[str, set[str]] = {}
    for row in rows(settings):
        found.setdefault(row["label"], set()).add(str(row["tenant"]))
    return {label: " ".join(sorted(several)) for label, several in found.items()}


def take_all(amqp: BlockingChannel, queue: str) -> list[Any]:
    """Take the arguments of all messages of a queue."""
    amqp.queue_declare(queue, durable=True, passive=True)
    taken = []
    while (body := amqp.basic_get(queue, auto_ack=True)[2]) is not None:
        taken.append(json.loads(body)[0])
    return taken


def test_every_way_to_submit_asks_the_resolver(adopted: Any, amqp: BlockingChannel) -> None:
    """Calls that say nothing of tenants get the resolver's, or the default one; what they name comes first."""
    app, work = adopted.app, adopted.work
    work.delay("delay", customer="acme")
    work.apply_async(("apply_async",), {"customer": "acme"})
    work.apply_async(args=["priority"], kwargs={"customer": "acme"}, priority=5, expires=60, producer=None)
    work.s("signature", customer="acme").delay()
    work.s(customer="acme").apply_async(("partial",))
    group(work.s("group", customer="acme"), work.s("group", customer="beta")).delay()
    chain(work.si("chain", customer="acme"), work.si("never sent")).delay()
    app.send_task("work", ("send_task",), {"customer": "acme"})
    app.send_task("work", ["positional"], {"customer": "acme"}, None, None, "an-id")
    signature("work", ("by name",), {"customer": "acme"}, app=app).delay()
    work.delay("default")
    work.apply_async(("named",), {"customer": "acme"}, tenant="beta")
    work.for_tenant("beta").delay("bound", customer="acme")
    app.send_task("work", ("send_task",), {"customer": "acme"}, tenant="beta")
    adopted.prefixed.delay("prefixed", customer="acme")
    assert {args[0] for args in take_all(amqp, "usersequence_acme")} == {
        "delay",
        "apply_async",
        "priority",
        "signature",
        "partial",
        "group",
        "chain",
        "send_task",
        "positional",
        "by name",
        "prefixed",
    }
    assert [args[0] for args in take_all(amqp, "usersequence_beta")] == [
        "group",
        "named",
        "bound",
        "send_task",
    ]
    _, properties, body = amqp.basic_get("usersequence_house")
    assert properties is not None
    assert json.loads(body or b"")[0] == ["default"]
    assert properties.headers["trace"] == "t-1"  # what a base class of the team's own adds


def test_what_a_resolver_says_wrongly_is_an_error_at_the_call(adopted: Any) -> None:
    """By whatever way the call is made, and nothing is sent."""
    for call in (
        lambda: adopted.work.delay("a", customer="not valid"),
        lambda: adopted.app.send_task("work", ("a",), {"customer": "not valid"}),
    ):
        with pytest.raises(
            InvalidTenant, match=r"tenant_resolver support.adopted.by_customer returned for task 'work'"
        ):
            call()


def test_send_task_of_a_tenants_task_is_strict_too(app: Celery, amqp: BlockingChannel) -> None:
    """Without resolver and default, a registered task's name alone is no reason to go without a tenant."""
    with pytest.raises(MissingTenant, match="'note'"):
        app.send_task("note", ("a",))
    with pytest.raises(TaketurnsError, match="leave out queue"):
        app.send_task("note", ("a",), tenant="acme", queue="images")
    result = app.send_task("note", ("a",), tenant="acme", task_id="an-id", countdown=None, shadow="note")
    assert result.id == "an-id"
    assert take_all(amqp, "usersequence_acme") == [["a"]]


def test_send_task_of_any_other_name_goes_as_ever(adopted: Any, amqp: BlockingChannel) -> None:
    """An ordinary task, or one that is registered elsewhere only, is routed by task_routes; no resolver is asked."""
    send = adopted.app.send_task
    send("ordinary", ("ordinary",), {"customer": "not valid"})
    send("ordinary", ("with queue=",), queue="chosen")
    send("routed", ("routed",))
    send("emails:unknown", ("unknown",), {"customer": "acme"})
    send("unknown", ("unknown",))
    send("unknown", ("unknown",), tenant="acme")
    assert take_all(amqp, "ordinary") == [["ordinary"], ["unknown"], ["unknown"]]
    assert take_all(amqp, "chosen") == [["with queue="]]
    assert take_all(amqp, "mapped") == [["routed"]]
    assert take_all(amqp, "emails") == [["unknown"]]


def test_an_app_that_is_finalised_by_hand_is_not_by_send_task(
    settings: Settings, amqp: BlockingChannel
) -> None:
    """Celery's own send_task does not touch such an app's tasks either."""
    app = Celery("byhand", autofinalize=False, set_as_current=False)
    app.conf.task_default_queue = "ordinary"
    TakeTurns(app, settings, default_tenant="acme")
    app.send_task("work", ("a",))
    assert not app.finalized
    assert take_all(amqp, "ordinary") == [["a"]]
    close(app)


def test_workers_take_each_task_from_where_it_was_sent(
    adopted: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """queue=, a name router and task_routes of ordinary tasks hold; tenants' tasks go into their queues past them.

    What an old publisher has sent runs where it is, without a tenant; its retry has the resolver's. If a header names
    one, its limits hold: what has to wait does so in the tenant's queue.
    """
    with Celery("old", broker=settings.broker.amqp_url, set_as_current=False) as old:
        old.send_task("again", ("old",), {"customer": "acme"}, queue="ordinary")
        for _ in range(2):
            old.send_task("paced", ("paced",), headers={"taketurns_tenant": "acme"}, queue="ordinary")
    others = ("worker", "-n", "w2@%h", "-P", "solo", "-Q", "emails,chosen,mapped")
    with (
        worker(settings, tmp_path, "-P", "threads", "-c", "2", app=APP),
        started(settings, tmp_path, "w2", *others, app=APP),
    ):
        adopted.send.delay("by its name")
        adopted.ordinary.apply_async(("by queue=",), queue="chosen")
        adopted.routed.delay("by task_routes")
        adopted.ordinary.delay("by default")
        adopted.work.delay("tenant's", customer="acme")
        adopted.prefixed.delay("prefixed", customer="acme")
        adopted.fail.delay("no", customer="acme")
        eventually(lambda: len(rows(settings)) == 11, within=40)
    ran = [(row["label"], row["came_by"], row["tenant"], row["retries"]) for row in rows(settings)]
    assert set(ran) == {
        ("by its name", "emails", None, 0),
        ("by queue=", "chosen", None, 0),
        ("by task_routes", "mapped", None, 0),
        ("by default", "ordinary", None, 0),
        ("tenant's", "usersequence_acme", "acme", 0),
        ("prefixed", "usersequence_acme", "acme", 0),
        ("office: no", "usersequence_acme", "acme", 0),
        ("old", "ordinary", None, 0),
        ("old", "usersequence_acme", "acme", 1),
        ("paced", "ordinary", "acme", 0),
        ("paced", "usersequence_acme", "acme", 0),
    }


def test_what_tasks_submit_and_what_follows_them(
    adopted: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A fan-out's children are their customers', the rest the parent's; chains, chords and retries keep their tenant.

    The result backend has no chords of its own, so that Celery's chord_unlock has to run, and to be ordinary.
    """
    results = tmp_path / "results"
    results.mkdir()
    backend = f"file://{results}"
    adopted.app.conf.result_backend = backend
    with worker(settings, tmp_path, "-P", "threads", "-c", "4", app=APP, ADOPTED_RESULTS=backend):
        adopted.fan_out.apply_async((["beta", "corp"],), tenant="acme")
        adopted.again.delay("again", customer="dell")
        work = adopted.work
        chain(work.si("chain 1", customer="acme"), work.si("chain 2")).delay()
        chord(
            [work.s("a", customer="acme"), work.s("b", customer="beta")], adopted.collect.s(customer="corp")
        ).delay()
        eventually(lambda: len(rows(settings)) == 11, within=40, what="11 tasks have run")
    assert tenants_of(settings) == {
        "fan out": "acme",
        "for beta": "beta",
        "for corp": "corp",
        "for nobody": "acme",
        "again": "dell",
        "chain 1": "acme",
        "chain 2": "acme",
        "a": "acme",
        "b": "beta",
        "a b": "corp",
    }


def test_beat_submits_for_tenants(
    adopted: Any, settings: Settings, tmp_path: Path, amqp: BlockingChannel, eventually: Eventually
) -> None:
    """An entry's tenant is its options', the resolver's or the default; a bad one costs the others nothing."""
    arguments = ("beat", "-l", "INFO", "--max-interval", "1", "-s", str(tmp_path / "schedule"))
    with started(settings, tmp_path, "beat", *arguments, app=APP) as beat:
        with worker(settings, tmp_path, "-P", "threads", "-c", "4", app=APP):
            labels = {"resolved": "beat", "named": "named", "default": "house", "ordinary": "None"}
            eventually(lambda: tenants_of(settings) == labels, within=40, what="each entry has run")
            counts = len(rows(settings))
            eventually(lambda: len(rows(settings)) >= counts + 8, within=40, what="and again")
        assert "'not valid' is not valid" in beat.output
        assert "by_customer returned for task 'work'" in beat.output
    assert take_all(amqp, "elsewhere")
