"""Streams of events by ``taketurns api`` and ``taketurns tasks watch``, of tasks that real workers run."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.api_server import Client
from support.progress import say
from support.publishing import shop_for
from support.sse import Frames
from support.workers import worker
from taketurns.records.lifecycle import Step

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from support.api_process import Api
    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]
    Command = Callable[..., subprocess.CompletedProcess[str]]

STREAMS = 1000
TENANTS = 50
WITHIN = 60.0


def test_a_task_is_followed_from_its_submission_to_its_end(
    start: Callable[..., Api], settings: Settings, tmp_path: Path, taketurns: Command
) -> None:
    """Over HTTP, in Python and on the command line it is the same."""
    api = start()
    with shop_for(settings) as shop, api.client() as client, client.as_("acme") as acme:
        task_id = shop.count.apply_async((3,), tenant="acme").id
        with Frames(acme, f"/tasks/{task_id}/events") as frames:
            assert frames.kinds(2) == ["connected", "queued"]
            with worker(settings, tmp_path, "-P", "threads", "-c", "1"):
                events = list(shop.turns.tasks.follow("acme", task_id, timeout=WITHIN))
                kinds = frames.kinds()
    # Progress is told by the task, and its start by the worker, which may be a little later.
    # Of progress the record keeps the last, and who comes in the middle sees more of it.
    remembered = [each for each in events if each.kind != "progress" or each.data["done"] == 3]
    assert sorted(event.kind for event in remembered) == ["completed", "progress", "queued", "started"]
    assert (sorted({*kinds}), kinds[-1]) == (["completed", "progress", "started"], "completed")
    assert [frame.id for frame in frames.seen[1:]][-1] == events[-1].id
    watched = taketurns("-A", "support.shop", "tasks", "watch", "acme", task_id, "--json")
    assert watched.returncode == 0, watched.stderr
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [(line["event"], line["id"]) for line in lines] == [(each.kind, each.id) for each in remembered]
    assert [(line["done"], line["note"]) for line in lines if line["event"] == "progress"] == [(3, "step 3")]
    after = taketurns("-A", "support.shop", "tasks", "watch", "acme", task_id, "--after", lines[2]["id"])
    assert after.stdout.split()[2:] == ["completed"], after
    unknown = taketurns("-A", "support.shop", "tasks", "watch", "bolt", task_id)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == f"taketurns: of bolt no task of the id {task_id!r} is remembered\n"


def test_streams_end_when_the_api_stops_and_tokens_are_not_logged(
    start: Callable[..., Api], turns: TakeTurns
) -> None:
    """SIGTERM does not wait for them; who connects again goes on after the last event."""
    turns.records.write({"acme": [Step("t", "queued", time.time(), name="shop.mail")]})
    api = start()
    with api.client() as client, client.as_("acme") as acme:
        socket = f"ws://{client.base_url.host}:{client.base_url.port}/ws/tasks/t"
        token = str(acme.headers["Authorization"]).removeprefix("Bearer ")
        with (
            Frames(client, f"/tasks/t/events?access_token={token}") as one,
            Frames(acme, "/events") as all_,
            connect(f"{socket}?access_token={token}", proxy=None) as by_websocket,
        ):
            by_websocket.recv(WITHIN)
            one.take(2)
            all_.take(1)
            began = time.monotonic()
            assert api.stop(signal.SIGTERM) == 0, api.log
            took = time.monotonic() - began
            assert (one.kinds(), all_.kinds()) == ([], [])
            with suppress(ConnectionClosed):
                while True:
                    by_websocket.recv(WITHIN)
            assert by_websocket.close_code == 1012
    assert took < 5
    assert token not in api.log
    for path in ("/tasks/t/events", "/ws/tasks/t"):
        assert f"{path}?access_token=***" in api.log
    assert "Traceback" not in api.log


def test_a_thousand_streams(start: Callable[..., Api], turns: TakeTurns) -> None:
    """One process serves them with its default settings, and what happens reaches every one."""
    api = start()
    tasks = {f"task-{number}": f"t{number % TENANTS}" for number in range(STREAMS)}
    tell(turns, tasks, "queued")
    with api.client() as client:
        url, tokens = client.base_url, client.tokens
    before = resident(api.process.pid)

    async def follow_all() -> tuple[float, float, list[list[str]]]:
        opened = await asyncio.gather(
            *(
                Following.open(
                    str(url.host), int(url.port or 0), f"/tasks/{task}/events", tokens.issue(tenant)
                )
                for task, tenant in tasks.items()
            )
        )
        memory = (resident(api.process.pid) - before) / STREAMS
        began = time.monotonic()
        await asyncio.to_thread(tell, turns, tasks, "started", "completed")
        kinds = await asyncio.gather(*(each.rest() for each in opened))
        return memory, time.monotonic() - began, kinds

    memory, seconds, kinds = asyncio.run(asyncio.wait_for(follow_all(), WITHIN))
    say(f"{STREAMS} streams take {memory / 1024:.0f} kB each; 2 events for each came within {seconds:.1f} s")
    assert kinds == [["started", "completed"]] * STREAMS
    assert memory < 200 * 1024
    connections = turns.store.call(lambda redis: redis.client_list())
    assert len(connections) < 100
    with Client(str(url), tokens) as again:
        assert again.get("/health/live").status_code == 200


class Following:
    """One stream, with as little as that takes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int, path: str, token: str) -> Following:
        """Open a stream whose history has one event."""
        self = cls(*await asyncio.open_connection(host, port))
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._writer.write(request.encode())
        status = await self._reader.readline()
        assert status.startswith(b"HTTP/1.1 200 "), status
        assert [await self.kind() for _ in range(2)] == ["connected", "queued"]
        return self

    async def kind(self) -> str:
        """Return what the next event is; empty: the stream has ended."""
        while line := await self._reader.readline():
            if line.startswith(b"event: "):
                return line.removeprefix(b"event: ").strip().decode()
            if line == b"0\r\n":  # the last chunk
                break
        self._writer.close()
        return ""

    async def rest(self) -> list[str]:
        """Return what there is until the end."""
        kinds = []
        while kind := await self.kind():
            kinds.append(kind)
        return kinds


def tell(turns: TakeTurns, tasks: dict[str, str], *kinds: Any) -> None:
    """Have these steps of the tasks happen."""
    steps: dict[str, list[Step]] = {}
    for task_id, tenant in tasks.items():
        steps.setdefault(tenant, []).extend(
            Step(task_id, kind, time.time(), name="shop.mail") for kind in kinds
        )
    turns.records.write(steps)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
