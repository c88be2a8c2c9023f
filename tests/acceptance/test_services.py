"""The private nodes, as a developer and as a dying process meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pika
import pytest
from redis import Redis

from taketurns.services import NodesUnavailable, PrivateNodes, programs
from taketurns.services.nodes import missing_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_programs = pytest.mark.skipif(
    bool(missing_programs()), reason="RabbitMQ and Redis are not installed here"
)

NODES = """
from taketurns.services import PrivateNodes
with PrivateNodes(directory):
    print("ready", flush=True)
    signal.pause()
"""
ONLY_REDIS = """
from taketurns.services.identity import Identity
from taketurns.services.redis_server import RedisServer
RedisServer(directory, Identity.prepare(directory, RedisServer.ports)).start()
print("ready", flush=True)
signal.pause()
"""


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it; its start time tells it from a later one with the same id."""

    pid: int
    parent: int
    name: str
    started: int

    @classmethod
    def all(cls) -> set[Process]:
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, fields = path.read_text().split("(", 1)[1].rsplit(")", 1)
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, parent, *rest = fields.split()
            if state != "Z":
                found.add(cls(int(path.parent.name), int(parent), name, int(rest[17])))
        return found

    @classmethod
    def below(cls, pid: int) -> set[Process]:
        """Return the descendants of a process."""
        children = {process for process in cls.all() if process.parent == pid}
        return children.union(*(cls.below(child.pid) for child in children))

    @property
    def alive(self) -> bool:
        return any((other.pid, other.started) == (self.pid, self.started) for other in Process.all())

    @property
    def command_line(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""


@contextmanager
def running(script: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process group of its own, from the moment it says that it is ready."""
    header = f"import signal, pathlib; directory = pathlib.Path({os.fspath(directory)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", header + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def services(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("taketurns"), "services", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def leave_something(urls: dict[str, str]) -> None:
    """Store a persistent message and a key."""
    with pika.BlockingConnection(parameters(urls)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("", "kept", b"kept", pika.BasicProperties(delivery_mode=2))
    with Redis.from_url(urls["TAKETURNS_REDIS_URL"]) as redis:
        redis.set("kept", b"kept")


def what_is_left(urls: dict[str, str]) -> tuple[bytes | None, bytes | None]:
    """Return the message and the key."""
    with pika.BlockingConnection(parameters(urls)) as connection:
        _, _, body = connection.channel().basic_get("kept", auto_ack=True)
    with Redis.from_url(urls["TAKETURNS_REDIS_URL"]) as redis:
        value: bytes | None = redis.get("kept")
    return body, value


def parameters(urls: dict[str, str]) -> pika.URLParameters:
    # pika reads the vhost "/" from "%2F" only
    return pika.URLParameters(urls["TAKETURNS_AMQP_URL"].removesuffix("//") + "/%2F")


def naming(directory: Path) -> set[Process]:
    """Return the processes whose command line names the directory: the guardians, and RabbitMQ."""
    return {process for process in Process.all() if str(directory) in process.command_line}


@needs_programs
def test_all_servers_end_with_a_killed_process(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """After kill -9 of their process RabbitMQ, its port mapper and Redis are gone within seconds."""
    with running(NODES, tmp_path) as process:
        servers = Process.below(process.pid)
        assert {"beam.smp", "epmd", "redis-server"} <= {server.name for server in servers}
        process.kill()
    eventually(lambda: not any(server.alive for server in servers), within=10)


@needs_programs
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_server_ends_when_its_process_group_is_signalled(
    signum: signal.Signals, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Ctrl-C, kill and kill -9 of the whole process group end a server too."""
    with running(ONLY_REDIS, tmp_path) as process:
        servers = Process.below(process.pid)
        assert "redis-server" in {server.name for server in servers}
        os.killpg(process.pid, signum)
    eventually(lambda: not any(server.alive for server in servers), within=5)


@needs_programs
def test_a_server_ends_with_its_guardian(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """Not even kill -9 of the guardian leaves its server behind."""
    with running(ONLY_REDIS, tmp_path) as process:
        (server,) = (below for below in Process.below(process.pid) if below.name == "redis-server")
        os.kill(server.parent, signal.SIGKILL)
        eventually(lambda: not server.alive, within=5)


@needs_programs
def test_up_is_idempotent_and_down_keeps_the_data(tmp_path: Path) -> None:
    """`services up` starts the nodes once, `down` ends them, and the next `up` finds data and addresses again."""
    where = ("--directory", tmp_path / "nodes")
    before = services("status", *where)
    assert (before.returncode, before.stdout) == (1, "rabbitmq is down\nredis is down\n")
    try:
        first = services("up", *where)
        assert first.returncode == 0, first.stderr
        urls = dict(line.split("=", 1) for line in first.stdout.splitlines())
        assert set(urls) == {"TAKETURNS_AMQP_URL", "TAKETURNS_MANAGEMENT_URL", "TAKETURNS_REDIS_URL"}
        processes = naming(tmp_path)
        assert services("up", *where).stdout == first.stdout
        assert naming(tmp_path) == processes
        assert services("status", *where).returncode == 0
        leave_something(urls)

        assert services("down", *where).returncode == 0
        assert services("status", *where).returncode == 1

        again = services("up", "--json", *where)
        assert json.loads(again.stdout) == urls
        assert what_is_left(urls) == (b"kept", b"kept")
    finally:
        assert services("down", *where).returncode == 0
    assert not naming(tmp_path)


@needs_programs
def test_up_starts_only_what_is_down(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """`services up` brings a killed Redis back at its old address, and RabbitMQ and its port mapper run on."""
    where = ("--directory", tmp_path / "nodes")
    try:
        first = services("up", *where)
        assert first.returncode == 0, first.stderr
        before = naming(tmp_path)
        guardians = {process.pid for process in before}
        (redis,) = (
            each for each in Process.all() if each.name == "redis-server" and each.parent in guardians
        )
        os.kill(redis.pid, signal.SIGKILL)
        eventually(lambda: services("status", *where).stdout == "rabbitmq is up\nredis is down\n")

        again = services("up", *where)
        assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
        assert again.stderr == f"Starting Redis in {tmp_path / 'nodes'} ...\n"
        assert services("status", *where).returncode == 0
        gone = {process for process in before if not process.alive}
        assert {process.pid for process in gone} == {redis.parent}
    finally:
        assert services("down", *where).returncode == 0
    assert not naming(tmp_path)


@needs_programs
def test_a_failed_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """A server that can't start shows the end of its log, and those started before it are stopped."""
    damaged = tmp_path / "redis" / "appendonlydir" / "appendonly.aof.manifest"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("damaged\n")
    with pytest.raises(
        NodesUnavailable, match=r"redis did not start: it ended(.|\n)*AOF(.|\n)*to start afresh"
    ):
        PrivateNodes(tmp_path).start()
    assert not naming(tmp_path)


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without programs and without Docker the error says exactly what to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "FIRST", "")
    monkeypatch.setattr(programs, "LAST", ())
    with pytest.raises(
        NodesUnavailable, match=r"rabbitmq-server, epmd, redis-server: not found.*apt install"
    ):
        PrivateNodes(tmp_path / "nodes").start()
    assert not (tmp_path / "nodes").exists()
