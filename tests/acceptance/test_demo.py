"""The demo, run as the command that ``make demo`` runs, without a terminal, on the tests' own servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from redis import Redis

from taketurns.services.nodes import missing_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Servers

MODULE = [sys.executable, "-m", "taketurns.demo"]
STARTED = "A submits"
STAYS = "Ctrl-C ends the demo"


class Demo:
    """One demo: its process, what it prints, and what it leaves behind."""

    def __init__(self, servers: Servers, directory: Path) -> None:
        self.directory = directory / "demo"
        self.process: subprocess.Popen[bytes] | None = None
        self._servers = servers
        self._output = directory / "output"

    @property
    def output(self) -> str:
        """What it has printed so far, errors included."""
        return self._output.read_text(errors="replace")

    def start(self, *options: str, **variables: str | None) -> None:
        """Start it on the tests' servers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TAKETURNS_")}
        changes = {
            "TAKETURNS_AMQP_URL": self._servers.amqp_url,
            "TAKETURNS_MANAGEMENT_URL": self._servers.management_url,
            "TAKETURNS_REDIS_URL": self._servers.redis_url,
            **variables,
        }
        environment |= {name: value for name, value in changes.items() if value is not None}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(  # our own demo
                [*MODULE, "--directory", str(self.directory), *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, within: float = 240.0) -> int:
        """Wait for its end; return the exit status."""
        assert self.process is not None
        return self.process.wait(within)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, and nothing to its children."""
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def name(self) -> str:
        """The vhost and key prefix of its own."""
        found = re.search(r"vhost (taketurns-demo-\w+)", self.output)
        assert found, self.output
        return found[1]

    def address(self, label: str) -> str:
        """Return an address that it printed."""
        found = re.search(rf"^{label} +(\S+)", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    def processes(self) -> set[str]:
        """Return the command lines of everything that it started and that still runs."""
        home, found = f"HOME={self.directory}\0".encode(), set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                started_by_it = home in (process / "environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if command and (started_by_it or f"{self.directory}/" in command):
                found.add(command)
        return found

    def vhost_exists(self) -> bool:
        """Return whether its vhost is there."""
        url = f"{self._servers.management_url}/api/vhosts/{quote(self.name)}"
        return requests.get(url, timeout=10).status_code == requests.codes.ok

    def keys(self) -> list[bytes]:
        """Return its keys in Redis."""
        with Redis.from_url(self._servers.redis_url) as redis:
            return list(redis.scan_iter(match=f"{self.name}*", count=1000))


@pytest.fixture
def demo(servers: Servers, tmp_path: Path, eventually: Callable[..., None]) -> Iterator[Demo]:
    """A demo that is not started yet; nothing of it runs when the test has ended."""
    this = Demo(servers, tmp_path)
    yield this
    if this.process is not None and this.process.poll() is None:
        this.process.terminate()
        this.process.wait(60)
    eventually(lambda: not this.processes(), within=60, what="an end of the demo's processes")


@contextmanager
def shown(demo: Demo) -> Iterator[None]:
    """Show the demo's output if what follows fails."""
    try:
        yield
    except BaseException:
        sys.stderr.write(demo.output)
        raise


def test_every_promise_is_judged_and_nothing_is_left(demo: Demo) -> None:
    """A small demo without a terminal says of each promise whether it was kept, and leaves no queue, key or process.

    What depends on how busy the machine is may be missed here, and is then what the exit code says.
    """
    demo.start("--scale", "0.2")
    with shown(demo):
        exit_code = demo.wait()
        for promise in (
            r"(kept  |MISSED) B's median wait is \d+ times shorter than through one queue",
            r"(kept  |MISSED) C's median wait is \d+ times shorter than through one queue",
            r"kept   D, limited to 10/1s, started \d+ tasks at most in any second \(bar: 11\)",
            r"(kept  |MISSED) D's starts are \d+ ms apart at least \(bar: 90 ms\)",
            r"kept   tenant queues left at the end: none",
            r"usersequence_A is gone",
        ):
            assert re.search(promise, demo.output), promise
        assert exit_code == (1 if "MISSED" in demo.output else 0)
        assert not re.search(r"\x1b", demo.output), "control characters for a terminal that is not there"
        assert not demo.vhost_exists()
        assert demo.keys() == []
        assert demo.processes() == set()


def test_kept_up_it_can_be_tried_until_ctrl_c(demo: Demo, eventually: Callable[..., None]) -> None:
    """With KEEP=1 the printed addresses answer and the printed command works, and Ctrl-C ends everything."""
    demo.start("--scale", "0.02", KEEP="1")
    with shown(demo):
        eventually(lambda: STAYS in demo.output or demo.process.poll() is not None, within=180)  # type: ignore[union-attr]
        assert requests.get(demo.address("API docs"), timeout=10).ok
        assert requests.get(demo.address("Flower"), timeout=10).ok
        assert requests.get(demo.address("RabbitMQ management"), timeout=10).ok

        api = demo.address("API docs").removesuffix("/docs")
        command = re.search(r"^  (curl .*\n.*)$", demo.output, re.MULTILINE)
        assert command
        token = re.search(r"Bearer (\S+)'", command[1])
        body = re.search(r"-d '(.*)'", command[1])
        assert token
        assert body
        headers = {"Authorization": f"Bearer {token[1]}", "Content-Type": "application/json"}
        accepted = requests.post(f"{api}/tasks", data=body[1], headers=headers, timeout=10)
        assert accepted.status_code == requests.codes.accepted, accepted.text
        task = f"{api}/tasks/{accepted.json()['task_id']}"
        eventually(
            lambda: requests.get(task, headers=headers, timeout=10).json()["result"] == "Hello, World!"
        )

        demo.signal(signal.SIGINT)
        assert demo.wait(60) == 128 + signal.SIGINT
        assert not demo.vhost_exists()
        assert demo.processes() == set()


def test_a_signal_amid_the_traffic_ends_everything(demo: Demo, eventually: Callable[..., None]) -> None:
    """A SIGTERM while tasks are submitted ends the demo in order: no process, vhost or key is left."""
    demo.start()
    with shown(demo):
        eventually(lambda: "[one queue]" in demo.output, within=90)
        demo.signal(signal.SIGTERM)
        assert demo.wait(60) == 128 + signal.SIGTERM
        assert not demo.vhost_exists()
        assert demo.keys() == []
        assert demo.processes() == set()


@pytest.mark.skipif(bool(missing_programs()), reason="RabbitMQ and Redis are not installed here")
def test_a_killed_demo_leaves_no_process(demo: Demo, eventually: Callable[..., None]) -> None:
    """Even kill -9 of the demo ends all its processes within seconds, RabbitMQ and Redis of its own included."""
    demo.start(TAKETURNS_AMQP_URL=None, TAKETURNS_MANAGEMENT_URL=None, TAKETURNS_REDIS_URL=None)
    with shown(demo):
        eventually(lambda: STARTED in demo.output, within=120)
        running = " ".join(demo.processes())
        for part in ("worker", "api", "reaper", "flower", "beam", "epmd", "redis-server"):
            assert part in running
        demo.signal(signal.SIGKILL)
        demo.wait(10)
        eventually(lambda: not demo.processes(), within=40)


def test_the_death_of_a_process_is_told_with_its_log(demo: Demo, eventually: Callable[..., None]) -> None:
    """When a process of the demo dies, the demo says which, shows the end of its log, and exits with 1."""
    demo.start()
    with shown(demo):
        eventually(lambda: STARTED in demo.output, within=90)
        os.kill(int((demo.directory / "flower.lock").read_text()), signal.SIGTERM)
        assert demo.wait(60) == 1
        assert "taketurns demo: the demo's flower failed: it ended" in demo.output
        assert "detected, shutting down" in demo.output, "the end of its log"
        assert "Traceback" not in demo.output
        assert not demo.vhost_exists()


def test_a_part_of_the_servers_is_not_enough(demo: Demo) -> None:
    """With only some of the three addresses the demo names all three and exits with 1."""
    demo.start(TAKETURNS_REDIS_URL=None)
    assert demo.wait(30) == 1
    assert "set all of TAKETURNS_AMQP_URL, TAKETURNS_MANAGEMENT_URL, TAKETURNS_REDIS_URL" in demo.output


def test_a_refused_login_is_explained(demo: Demo, servers: Servers) -> None:
    """A wrong password for the management API ends the demo with a line that says what is needed."""
    scheme, _, rest = servers.management_url.partition("://")
    demo.start(TAKETURNS_MANAGEMENT_URL=f"{scheme}://nobody:wrong@{rest.rpartition('@')[2]}")
    assert demo.wait(30) == 1
    assert "answered 401" in demo.output
    assert "tag administrator" in demo.output
    assert "Traceback" not in demo.output
