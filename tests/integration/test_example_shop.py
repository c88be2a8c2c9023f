"""The example of an app that exists already: with one queue, with a canary, and after three changed lines."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from support.workers import environment, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Broker
    from taketurns.settings import Settings

SHOP = Path(__file__).parents[2] / "examples" / "shop"
IMAGES = 60
CALLS = f"""
from shop import import_catalogue, sell
import_catalogue("big", list(range({IMAGES})))
import_catalogue("small", [1, 2])
sell(10, "small")
sell(2000, "small")
"""


def lines_of(version: str) -> list[str]:
    return [line for line in (SHOP / version / "shop.py").read_text().splitlines() if line]


def test_three_lines_differ() -> None:
    """An import, a base class and TakeTurns(app): nothing else is between the two versions."""
    changes = [line for line in difflib.ndiff(lines_of("before"), lines_of("after")) if line[0] in "+-"]
    assert changes == [
        "+ from taketurns import TakeTurns, TenantTask",
        "+ TakeTurns(app, tenant_resolver=customer_of)",
        "- class CustomerTask(Reporting, Task):",
        "+ class CustomerTask(Reporting, TenantTask):",
    ]


class Shop:
    """One version of the shop, with its processes and its book; in the canary, the new one beside an old worker."""

    def __init__(self, version: str, settings: Settings, folder: Path) -> None:
        self._processes = ExitStack()
        self._settings = settings
        self._folder = folder
        self._book = folder / "book.txt"
        self._where: dict[str, Any] = {
            "SHOP_BOOK": str(self._book),
            "CELERY_BROKER_URL": str(settings.broker.amqp_url),
            "CELERY_RESULT_BACKEND": settings.redis.redis_url,
        }
        self._before = {"app": "shop", "cwd": SHOP / "before", **self._where}
        self._is_canary = version == "canary"
        if self._is_canary:
            self._where["TAKETURNS_CANARY_TENANTS"] = "big"
        self._app = {"app": "shop", "cwd": SHOP / ("after" if self._is_canary else version), **self._where}

    def sell(self) -> None:
        """Be the shop's web pages: a customer's large catalogue, then a small one and two sales."""
        subprocess.run(
            [sys.executable, "-c", CALLS],
            cwd=self._app["cwd"],
            env=environment(self._settings, **self._where),
            check=True,
            timeout=60,
        )

    def open(self) -> None:
        """Start two workers and beat, as the shop always did; in the canary, a worker of the old code too."""
        commands = {
            "main": ("worker", "-c", "2"),
            "emails": ("worker", "-n", "emails@%h", "-Q", "emails", "-P", "solo"),
            "beat": ("beat", "-s", str(self._folder / "schedule")),
        }
        for name, command in commands.items():
            process = started(self._settings, self._folder, name, *command, **self._app)
            self._processes.enter_context(process)
        if self._is_canary:
            old = started(
                self._settings, self._folder, "old", "worker", "-n", "old@%h", "-P", "solo", **self._before
            )
            self._processes.enter_context(old)

    def close(self) -> None:
        self._processes.close()

    def book(self) -> list[str]:
        """Return what the tasks wrote, without the times."""
        if not self._book.exists():
            return []
        return [line.split(" ", 1)[1] for line in self._book.read_text().splitlines()]


@pytest.fixture(params=["before", "canary", "after"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(version: str, settings: Settings, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(version, settings, tmp_path)
    yield shop
    shop.close()


def waiting(amqp: Any, queue: str) -> int | None:
    """Return how many messages wait in a queue, None if there is none."""
    channel = amqp.connection.channel()
    try:
        return int(channel.queue_declare(queue, passive=True).method.message_count)
    except ChannelClosedByBroker:
        return None


def test_the_shop_works_as_before_and_with_a_canary_and_then_in_turns(
    version: str, shop: Shop, broker: Broker, amqp: Any, eventually: Callable[..., None]
) -> None:
    """Chord, beat, task_routes and the base class do the same; but the small customer no longer waits.

    In the canary the big customer alone has a queue; the others' tasks are where they were, for old and new workers.
    """
    shop.sell()
    sold = {
        queue: waiting(amqp, queue)
        for queue in ("emails", "celery", "usersequence_big", "usersequence_small")
    }
    assert (
        sold
        == {
            "before": {
                "emails": 2,
                "celery": IMAGES + 4,
                "usersequence_big": None,
                "usersequence_small": None,
            },
            "canary": {"emails": 2, "celery": 4, "usersequence_big": IMAGES, "usersequence_small": None},
            "after": {"emails": 2, "celery": None, "usersequence_big": IMAGES, "usersequence_small": 4},
        }[version]
    )
    shop.open()
    expected = {
        f"publish {IMAGES} images for big",
        "publish 2 images for small",
        "charge 10 for small",
        "shop.charge failed for small: tell the office",
        "receipt over 10 for small",
        "receipt over 2000 for small",
        "statement for big",
        "statement for small",
        "stock for tiny",
    }
    eventually(lambda: expected <= set(shop.book()), within=90, what="all is done")
    book = shop.book()
    once = [line for line in book if not re.match("statement|stock", line)]
    assert sorted(once) == sorted(
        [
            *(line for line in expected if not re.match("statement|stock", line)),
            *(f"resize {image} for big" for image in range(IMAGES)),
            *(f"resize {image} for small" for image in (1, 2)),
        ]
    )
    before_small = sum("for big" in line for line in book[: book.index("publish 2 images for small")])
    if version == "before":
        assert before_small >= IMAGES - 2
    else:
        assert before_small <= IMAGES / (4 if version == "after" else 2)
    has_queue = {
        tenant: waiting(amqp, f"usersequence_{tenant}") is not None for tenant in ("big", "small", "tiny")
    }
    assert has_queue == {
        "big": version != "before",
        "small": version == "after",
        "tiny": version == "after",
    }
