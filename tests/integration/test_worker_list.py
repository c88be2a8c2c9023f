"""The list of workers, in Python, over HTTP and on the command line, with real ones."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from kombu.pidbox import Mailbox

from support.api_server import assert_problem, serving, shop
from support.command import invoke
from support.outages import without_broker, without_redis
from support.workers import environment, worker
from taketurns.errors import BrokerUnavailable, PublishNotConfirmed, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings
    from taketurns.worker_list import WorkerInfo


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    with closing(shop(settings)) as turns:
        yield turns


def told(turns: TakeTurns) -> dict[str, WorkerInfo]:
    return {each.name: each for each in turns.workers()}


def test_workers_tell_what_they_do_and_the_others_are_named(
    turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """One that stands still is silent, and lost when it is killed; one that was stopped is not told of."""
    turns.registry.worker_alive("left@host", 60)
    turns.registry.worker_gone("left@host")
    nap = turns.app.tasks["shop.nap"]
    app = "support.api_app"
    with (
        worker(settings, tmp_path, "-P", "solo", name="w2", app=app) as other,
        other.silent(),
        worker(settings, tmp_path, "-P", "threads", "-c", "2", app=app) as alive,
    ):
        for tenant in ("acme", "bolt"):
            nap.apply_async((60,), tenant=tenant)
        eventually(lambda: told(turns)[alive.name].running == 2, within=20)
        nap.apply_async((0,), tenant="acme")
        turns.publisher.ensure("idle")
        eventually(lambda: told(turns)[alive.name].serves == 3, within=20)
        began = time.monotonic()
        found = told(turns)
        assert time.monotonic() - began < 3
        busy = found[alive.name]
        assert (busy.state, busy.pid, busy.slots) == ("alive", alive.process.pid, 2)
        assert busy.tenants == {"acme": 1, "bolt": 1}
        assert busy.hand in {0, 1}
        assert (busy.heartbeat_age or 0) < 3
        assert found.keys() == {alive.name, other.name}
        assert found[other.name].state in {"silent", "lost"}
        other.process.kill()
        eventually(lambda: told(turns)[other.name].state == "lost", within=10)
        lost = told(turns)[other.name]
        assert (lost.heartbeat_age or 0) >= 3
        assert (lost.running, lost.hand, lost.slots, lost.serves, lost.tenants) == (None,) * 5
        assert_told_alike(turns, settings, [alive.name, other.name])
        with refused_once():
            assert told(turns)[alive.name].state == "alive"
        alive.process.kill()  # its naps are long


def assert_told_alike(turns: TakeTurns, settings: Settings, names: list[str]) -> None:
    """HTTP and the command line tell the same as the library."""

    def fixed(workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "heartbeat_age": None, "hand": None} for each in workers]

    with serving(turns) as api, api.as_("root", operator=True) as operator, api.as_("acme") as acme:
        over_http = operator.get("/workers").json()["workers"]
        assert_problem(acme.get("/workers"), 403, code="forbidden")
    printed = invoke("workers", "list", "--json", **environment(settings))
    assert [each["name"] for each in over_http] == names
    assert fixed(json.loads(printed.stdout)["workers"]) == fixed(over_http)
    table = invoke("workers", "list", **environment(settings))
    assert (table.returncode, table.stderr) == (0, "")
    assert "acme (1), bolt (1)" in table.stdout
    assert "lost" in table.stdout


@contextmanager
def refused_once() -> Iterator[None]:
    """Have RabbitMQ refuse a question, as it may while the queue of a killed worker goes away."""
    call = Mailbox.call
    refused: list[bool] = []

    def first_refused(self: Mailbox, *arguments: Any, **options: Any) -> Any:
        if not refused:
            refused.append(True)
            raise PublishNotConfirmed("RabbitMQ could not store the message")
        return call(self, *arguments, **options)

    with mock.patch.object(Mailbox, "call", first_refused):
        yield
    assert refused


def test_without_workers_it_is_said(turns: TakeTurns, settings: Settings) -> None:
    """An empty list is no failure."""
    assert turns.workers() == []
    printed = invoke("workers", "list", **environment(settings))
    assert (printed.returncode, printed.stdout) == (0, "")
    assert printed.stderr == "There are no workers that serve tenants.\n"


def test_what_is_away_is_told(settings: Settings, nowhere: str) -> None:
    """Without Redis nobody knows the workers; without RabbitMQ nobody can ask them."""
    with closing(shop(without_redis(settings, nowhere))) as turns, pytest.raises(RegistryUnavailable):
        turns.workers()
    with closing(shop(without_broker(settings, nowhere))) as turns:
        turns.registry.worker_alive("w1@host", 60)
        with pytest.raises(BrokerUnavailable):
            turns.workers()
        with serving(turns) as api, api.as_("root", operator=True) as operator:
            assert_problem(operator.get("/workers"), 503, code="broker_unavailable")
