"""Flower beside real workers: it names the tenant queues, and its buttons work on them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests

from support.publishing import shop_for  # reads the environment, so not at import
from support.workers import environment, worker
from taketurns.services.ports import LOOPBACK, free_ports
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taketurns.settings import Settings

ACME, GLOBEX = queue_name("acme"), queue_name("globex")


class Flower:
    """Flower's pages and its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_up(self) -> bool:
        """Return whether it answers."""
        try:
            return requests.get(f"{self._url}/healthcheck", timeout=5).ok
        except requests.ConnectionError:
            return False

    def page(self, path: str) -> str:
        """Return a page."""
        return self._answer("GET", path).text

    def api(self, path: str, **parameters: str) -> Any:
        """Return the answer of its HTTP API."""
        return self._answer("GET", f"/api/{path}", params=parameters).json()

    def press(self, button: str, **fields: str) -> None:
        """Do what a button of its pages does."""
        self._answer("POST", f"/api/{button}", data=fields)

    def queues_of(self, node: str) -> set[str]:
        """Return the queues that it says a worker consumes, asked just now."""
        told = self.api("workers", refresh="1", workername=node)[node]
        return {queue["name"] for queue in told.get("active_queues", [])}

    def _answer(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = requests.request(method, self._url + path, timeout=20, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer


@contextmanager
def running_flower(settings: Settings, log: Path) -> Iterator[Flower]:
    """Run ``celery -A support.shop flower`` until the block ends."""
    (port,) = free_ports(1)
    variables = environment(
        settings,
        FLOWER_BROKER_API=f"{settings.broker.management_url}/api/",
        FLOWER_UNAUTHENTICATED_API="true",
    )
    command = [sys.executable, "-m", "celery", "-A", "support.shop", "flower"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # our own Flower
            [*command, f"--address={LOOPBACK}", f"--port={port}"],
            env=variables,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Flower(f"http://{LOOPBACK}:{port}")
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Any]:
    """The app as a publisher; it tells Flower each task's queue, as Celery's documentation advises."""
    with shop_for(settings) as module:
        module.app.conf.task_send_sent_event = True
        yield module


def test_its_pages_name_the_tenant_queues(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """The broker page lists the tenants' queues with what is in them, the task page the queue of each task."""
    with (
        worker(settings, tmp_path, "-E", "-c", "1") as this,
        running_flower(settings, tmp_path / "flower") as flower,
    ):
        eventually(flower.is_up, within=40)
        eventually(lambda: this.name in flower.api("workers", status="1"), within=20)
        first = shop.work.apply_async(("first", 600.0), tenant="acme")
        waiting = [shop.work.apply_async(("next",), tenant="acme") for _ in range(3)]
        quick = shop.work.apply_async(("other",), tenant="globex")

        def lengths() -> dict[str, int]:
            # Asked anew each time: the answer to Flower's own first question may come late, and replaces later ones.
            flower.queues_of(this.name)
            listed = flower.api("queues/length")["active_queues"]
            return {queue["name"]: queue.get("messages", 0) for queue in listed}

        eventually(lambda: lengths() == {"ordinary": 0, ACME: 4, GLOBEX: 1}, within=30)
        page = flower.page("/broker")
        assert ACME in page
        assert GLOBEX in page

        told = flower.api("tasks")
        assert {told[each.id]["routing_key"] for each in waiting} == {ACME}
        assert told[quick.id]["routing_key"] == GLOBEX
        assert ACME in flower.page(f"/task/{waiting[0].id}")
        assert ACME in flower.page(f"/worker/{this.name}")

        first.revoke(terminate=True)
        assert waiting[-1].get(timeout=20) == "next"
        eventually(lambda: flower.api("tasks")[first.id]["state"] == "REVOKED")


def test_its_buttons_work_on_tenant_queues(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Cancelling a worker's consumer of a tenant queue in Flower stops its tasks, and adding it again runs them."""
    with (
        worker(settings, tmp_path, "-E", "-c", "1") as this,
        running_flower(settings, tmp_path / "flower") as flower,
    ):
        shop.work.apply_async(("before",), tenant="acme").get(timeout=20)
        eventually(flower.is_up, within=40)
        eventually(lambda: ACME in flower.queues_of(this.name), within=20)

        flower.press(f"worker/queue/cancel-consumer/{this.name}", queue=ACME)
        eventually(lambda: ACME not in flower.queues_of(this.name), within=20)
        held = shop.work.apply_async(("held",), tenant="acme")
        shop.work.apply_async(("other",), tenant="globex").get(timeout=20)
        assert not held.ready()

        flower.press(f"worker/queue/add-consumer/{this.name}", queue=ACME)
        assert held.get(timeout=20) == "held"
        assert ACME in flower.queues_of(this.name)
