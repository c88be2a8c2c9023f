"""What submitting over HTTP costs: ``python tests/benchmarks/submitting.py``.

- A batch of tasks, confirmed, against a loop of ``apply_async`` of a stock task, unconfirmed: tasks a second.
- Single ``POST /tasks``, so many a second whatever the answers, against a bare FastAPI route that publishes one
  message and waits for its confirm: milliseconds from when the request was due. They take turns, second by second.

Ends with 1 if a bar is missed. Needs the RabbitMQ and the Redis that TAKETURNS_AMQP_URL and TAKETURNS_REDIS_URL name;
it removes its queues, and its keys.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import uvicorn  # an extra
from celery import Celery
from fastapi import Body, FastAPI  # an extra
from pydantic import SecretStr

from taketurns import Settings, TakeTurns, TenantTask
from taketurns.api.app import create_app
from taketurns.api.auth import Tokens
from taketurns.connections import PublishConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_RATE = 0.8
MOST_LATENCY = 2.0
SECRET = "the secret of the benchmark, which is long enough"
RUN = os.environ.setdefault("SUBMITTING_RUN", f"submitting_{uuid.uuid4().hex[:8]}")
BARE = f"{RUN}_bare"


def nothing(label: str, size: int = 0) -> None:
    """Be submitted."""


def made() -> TakeTurns:
    """Return the app: a tenants' task, and a stock one."""
    os.environ["TAKETURNS_API_JWT_SECRET"] = SECRET
    os.environ["TAKETURNS_REDIS_PREFIX"] = RUN
    settings = Settings.load()
    app = Celery("submitting", backend=settings.redis.redis_url, set_as_current=False)
    turns = TakeTurns(app, settings)
    app.task(nothing, name="submitting.tenant", base=TenantTask, expose=True, shared=False)
    app.task(nothing, name="submitting.stock", ignore_result=True, shared=False)
    return turns


def serve(kind: str, fd: int) -> None:
    """Serve the API, or the bare route, on a socket."""
    turns = made()
    if kind == "api":
        application = create_app(turns)
    else:
        application = FastAPI()
        own = threading.local()  # a connection for each thread of the pool

        @application.post("/tasks", status_code=202)
        def publish(task: Annotated[dict[str, Any], Body()]) -> dict[str, str]:
            if not hasattr(own, "producer"):
                own.connection = PublishConnection.of(turns.app)
                own.producer = turns.app.amqp.Producer(own.connection, auto_declare=False)
            own.connection.extend(10)
            own.producer.publish(task, routing_key=BARE, serializer="json", mandatory=True, delivery_mode=2)
            return {"task_id": "x"}

    uvicorn.run(application, fd=fd, log_level="warning", timeout_keep_alive=120)


@contextmanager
def server(kind: str) -> Iterator[str]:
    """Run one of the servers as a process of its own; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, __file__, "--serve", kind, "--fd", str(listening.fileno())]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def batch_rate(turns: TakeTurns, url: str, token: str, count: int, rounds: int) -> bool:
    """Print both rates, and tell whether the bar is kept."""
    body = json.dumps([{"name": "submitting.tenant", "args": [f"i-{number}"]} for number in range(count)])
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    stock = turns.app.tasks["submitting.stock"]
    bare, batches = [], []
    with httpx.Client(base_url=url, timeout=120, headers=headers) as client:
        client.post("/tasks/batch", content=json.dumps(json.loads(body)[:10])).raise_for_status()
        for _ in range(rounds):
            started = time.perf_counter()
            for number in range(count):
                stock.apply_async((f"i-{number}",), queue=BARE)
            bare.append(count / (time.perf_counter() - started))
            started = time.perf_counter()
            answer = client.post("/tasks/batch", content=body).raise_for_status().json()
            assert answer["accepted"] == count
            batches.append(count / (time.perf_counter() - started))
    ratio = statistics.median(batches) / statistics.median(bare)
    print(f"bare loop of apply_async, unconfirmed   {statistics.median(bare):8.0f} tasks/s")
    print(f"batches of {count:>6} over HTTP, confirmed  {statistics.median(batches):8.0f} tasks/s")
    print(f"ratio {ratio:.2f} (bar: {LEAST_RATE} at least)")
    return ratio >= LEAST_RATE


class Lean:
    """A pool of connections that send one and the same request; the client is not to be what is measured."""

    def __init__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)
        told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST /tasks HTTP/1.1\r\nHost: {host}\r\n{told}Content-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self) -> None:
        """Send it, and read the answer, which must be a 202."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 202 " in head.split(b"\r\n", 1)[0], head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        self._idle.append((reader, writer))


async def latencies(clients: dict[str, Lean], rate: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each request, by kind; they take turns, a second each."""
    found: dict[str, list[float]] = {kind: [] for kind in clients}

    async def one(kind: str, due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await clients[kind].post()
        found[kind].append((time.perf_counter() - due) * 1000)

    for turn in range(rounds + 1):
        for kind in clients:
            began = time.perf_counter() + 0.05
            await asyncio.gather(*(one(kind, began + number / rate) for number in range(rate)))
            if turn == 0:
                found[kind].clear()  # connections were opened, queues declared
    return found


def single_latency(urls: dict[str, str], token: str, rate: int, rounds: int) -> bool:
    """Print both latencies, and tell whether the bar is kept."""
    body = json.dumps({"name": "submitting.tenant", "args": ["i-1"]}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    clients = {kind: Lean(url, headers, body) for kind, url in urls.items()}
    found = asyncio.run(latencies(clients, rate, rounds))
    told = {}
    for kind, milliseconds in found.items():
        told[kind] = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=100)[98]
        print(f"POST /tasks, {kind:<5} {rate}/s   p50 {told[kind][0]:7.2f} ms   p99 {told[kind][1]:7.2f} ms")
    ratios = [ours / bare for ours, bare in zip(told["api"], told["bare"], strict=True)]
    print(f"ratios {ratios[0]:.2f} and {ratios[1]:.2f} (bar: {MOST_LATENCY:g} at most)")
    return max(ratios) <= MOST_LATENCY


def _delete(key: str, redis: Any) -> None:
    redis.delete(key)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="tasks of a batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="batches of each kind (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=200, help="requests a second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=15, help="seconds of each kind (default: %(default)s)")
    parser.add_argument("--serve", choices=("api", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.fd)
        return 0
    turns = made()
    api = turns.settings.api.model_copy(update={"jwt_secret": SecretStr(SECRET)})
    token = Tokens(api).issue(RUN)
    with turns.app.connection_for_write() as connection:
        connection.default_channel.queue_declare(BARE, durable=True, auto_delete=False)
        try:
            with server("api") as ours, server("bare") as bare:
                kept = batch_rate(turns, ours, token, options.count, options.rounds)
                kept &= single_latency({"bare": bare, "api": ours}, token, options.rate, options.seconds)
        finally:
            for queue in (BARE, f"usersequence_{RUN}"):
                connection.default_channel.queue_delete(queue)
            keys = turns.store.call(lambda redis: list(redis.scan_iter(match=f"{RUN}*", count=1000)))
            for key in keys:
                turns.store.call(partial(_delete, key))
    turns.close()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
