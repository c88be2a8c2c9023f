"""The publishers: ``python -m chaos.load LOAD``, a process that submits tasks until it gets a SIGTERM.

It writes each submission into the ledger before, and its answer after. What it was told to stop in the midst of is
answered first.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from chaos.ledger import Ledger
from chaos.variables import LEDGER
from support.api_server import Client
from taketurns.api.auth import Tokens
from taketurns.errors import TaketurnsError
from taketurns.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Load:
    """What one publisher process submits.

    Attributes:
        name: begins each label.
        tenants: how many tenants take part, ``t0`` and so on.
        rate: submissions a second, of all threads together; what an outage holds up is not made up for.
        threads: how many submit at a time.
        seed: what the choices depend on.
        shortest, longest: seconds that most tasks take.
        long_part: the part of the tasks that take 0.5 to 1 s instead.
        countdowns: the delays, in turn; 0 is none.
        count: ends after so many; 0 is never.
        url: the API to submit through; by default it is the library.
    """

    name: str
    tenants: int = 20
    rate: float = 90.0
    threads: int = 6
    seed: int = 0
    shortest: float = 0.005
    longest: float = 0.05
    long_part: float = 0.02
    countdowns: Sequence[float] = (0.0,)
    count: int = 0
    url: str | None = None

    def to_json(self) -> str:
        """Return the process' argument."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Order:
    """One task to submit."""

    label: str
    tenant: str
    seconds: float
    countdown: float


class Way(ABC):
    """How tasks are submitted."""

    @abstractmethod
    def submit(self, order: Order) -> str | None:
        """Submit a task; return None if it was accepted, or a word for the error."""


class Library(Way):
    """By ``apply_async``."""

    def __init__(self) -> None:
        from chaos.app import work  # connects to what the environment names

        self._work = work

    def submit(self, order: Order) -> str | None:
        """See the base class."""
        try:
            self._work.apply_async(
                (order.label, order.seconds), tenant=order.tenant, countdown=order.countdown or None
            )
        except TaketurnsError as error:
            return type(error).__name__
        return None


class Http(Way):
    """By the API; for one thread."""

    def __init__(self, url: str) -> None:
        self._client = Client(url, Tokens(Settings.load().api))
        self._tenants: dict[str, Client] = {}

    def submit(self, order: Order) -> str | None:
        """See the base class."""
        if order.tenant not in self._tenants:
            self._tenants[order.tenant] = self._client.as_(order.tenant)
        body = {"name": "chaos.app.work", "args": [order.label, order.seconds]}
        try:
            response = self._tenants[order.tenant].post("/tasks", json=body)
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if response.status_code == HTTPStatus.ACCEPTED else f"HTTP-{response.status_code}"


def publish(load: Load, stop: threading.Event) -> None:
    """Submit until told to stop, or until the load's count is reached."""
    ledger = Path(os.environ[LEDGER])
    library = None if load.url else Library()
    threads = [
        threading.Thread(
            target=_publish, args=(load, number, library or Http(str(load.url)), Ledger(ledger), stop)
        )
        for number in range(load.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _publish(load: Load, number: int, way: Way, ledger: Ledger, stop: threading.Event) -> None:
    choose = random.Random(f"{load.seed} {load.name} {number}")
    interval = load.threads / load.rate
    due = time.monotonic() + interval * number / load.threads
    share = len(range(number, load.count, load.threads)) if load.count else sys.maxsize
    for each in range(share):
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        due = max(due + interval, time.monotonic())
        is_long = choose.random() < load.long_part
        order = Order(
            label=f"{load.name}-{number}-{each}",
            tenant=f"t{choose.randrange(load.tenants)}",
            seconds=round(choose.uniform(*((0.5, 1.0) if is_long else (load.shortest, load.longest))), 4),
            countdown=load.countdowns[(number + each * load.threads) % len(load.countdowns)],
        )
        ledger.write("try", order.label, order.tenant, str(order.countdown))
        error = way.submit(order)
        if error is None:
            ledger.write("ok", order.label)
        else:
            ledger.write("error", order.label, error)


def main() -> None:
    """Publish what the argument says."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    publish(Load(**json.loads(sys.argv[1])), stop)


if __name__ == "__main__":
    main()
