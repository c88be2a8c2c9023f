"""Store, limiter and registry while Redis is really away: killed, or stopped in the middle of a call."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from taketurns.errors import InvalidRate, RegistryRefused, RegistryUnavailable
from taketurns.limits.limiter import Admission, Limiter, Limits
from taketurns.limits.rate import parse_rate
from taketurns.records.records import Records
from taketurns.registry import Registry
from taketurns.services.ports import free_ports
from taketurns.settings import LimiterSettings, RecordsSettings, RedisSettings
from taketurns.store import Client, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 0.2
RETRY_AFTER = 0.5
LIMITS = Limits(parse_rate("1/1h"))


class RedisProcess:
    """A Redis of one test's own, to be killed and stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.directory),
        ]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        with Store(RedisSettings(redis_url=self.url, redis_retry_after=0.01)) as store:
            while time.monotonic() < deadline:
                try:
                    store.ping()
                except RegistryUnavailable:
                    assert self._process.poll() is None
                else:
                    return
        pytest.fail("redis-server does not answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """Stop it as a whole: connections are accepted by the kernel, and nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture
def redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    try:
        process.start()
        caplog.clear()  # of what waiting for the start has logged
        yield process
    finally:
        process.kill()


@pytest.fixture
def store(redis: RedisProcess) -> Iterator[Store]:
    settings = RedisSettings(redis_url=redis.url, redis_timeout=TIMEOUT, redis_retry_after=RETRY_AFTER)
    with Store(settings) as store:
        yield store


def fails(store: Store) -> bool:
    try:
        store.ping()
    except RegistryUnavailable:
        return True
    return False


def seconds_of(operation: Callable[[], object]) -> float:
    started = time.monotonic()
    operation()
    return time.monotonic() - started


_READONLY = ("EVAL", "return redis.error_reply('READONLY in a script')", "0")


@contextmanager
def call_from_before_an_outage(
    command: tuple[str, ...], redis: RedisProcess, store: Store
) -> Iterator[Callable[[], object]]:
    """Begin a call, have an outage come and go that another call notices, and yield what ends the first one."""
    begun, go = threading.Event(), threading.Event()

    def late(client: Client) -> object:
        begun.set()
        assert go.wait(10)
        return client.execute_command(*command)

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(store.call, late)

        def end() -> object:
            go.set()
            return answer.result()

        begun.wait()
        redis.stall()
        assert fails(store)
        redis.go_on()
        yield end


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "taketurns.store"]


def test_a_stalled_redis_costs_one_timeout(redis: RedisProcess, store: Store) -> None:
    """The first call fails within the timeout, with an open connection or without; later ones at once."""
    store.ping()
    redis.stall()
    assert TIMEOUT * 0.9 <= seconds_of(lambda: fails(store)) < 2 * TIMEOUT
    assert seconds_of(lambda: [fails(store) for _ in range(50)]) < TIMEOUT
    with Store(RedisSettings(redis_url=redis.url, redis_timeout=TIMEOUT)) as fresh:
        assert TIMEOUT * 0.9 <= seconds_of(lambda: fails(fresh)) < 2 * TIMEOUT


def test_nothing_is_sent_before_it_is_time(
    redis: RedisProcess, store: Store, eventually: Callable[..., None]
) -> None:
    """After a failure no call is made for a while although Redis answers again; then calls succeed."""
    store.ping()
    redis.stall()
    assert fails(store)
    failed_at = time.monotonic()
    redis.go_on()
    with Store(RedisSettings(redis_url=redis.url)) as other:
        other.ping()
        while time.monotonic() < failed_at + 0.8 * RETRY_AFTER:
            with pytest.raises(RegistryUnavailable, match="next attempt in"):
                store.ping()
    eventually(lambda: not fails(store), within=2)


def test_one_call_at_a_time_looks_whether_it_is_back(redis: RedisProcess, store: Store) -> None:
    """However many threads have something to ask, Redis is tried once in a while during an outage."""

    def connections(client: Client) -> int:
        return int(client.info("stats")["total_connections_received"])

    before = store.call(connections)
    redis.stall()
    assert fails(store)
    until = time.monotonic() + 3.5 * RETRY_AFTER

    def ask(_: int) -> None:
        while time.monotonic() < until:
            fails(store)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    redis.go_on()
    # Each attempt opened a connection, which Redis counts now that it goes on; so does this question's.
    with Store(RedisSettings(redis_url=redis.url)) as other:
        attempts = other.call(connections) - before - 1
    assert 1 <= attempts <= 3


def test_an_outage_is_logged_once(
    redis: RedisProcess, store: Store, caplog: pytest.LogCaptureFixture, eventually: Callable[..., None]
) -> None:
    """However many threads fail, an outage is one line at its begin and one at its end; so is the next."""
    caplog.set_level(logging.DEBUG, logger="taketurns.store")
    for outage in (1, 2):
        store.ping()
        redis.stall()
        barrier = threading.Barrier(8)

        def call_many_times(barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            until = time.monotonic() + 2.5 * RETRY_AFTER
            while time.monotonic() < until:
                fails(store)

        with ThreadPoolExecutor(8) as threads:
            for _ in range(8):
                threads.submit(call_many_times)
        redis.go_on()
        eventually(lambda: not fails(store), within=3)
        told = lines(caplog)
        assert len(told) == 2 * outage
        assert told[-2].startswith("Redis is away: ")
        assert told[-1].startswith("Redis answers again, ")


def test_a_call_from_before_the_outage_does_not_end_it(
    redis: RedisProcess, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A success of a call that began before the outage is no news: one attempt after it decides."""
    with call_from_before_an_outage(("PING",), redis, store) as end:
        assert end()
    with pytest.raises(RegistryUnavailable, match="next attempt in"):
        store.ping()
    assert len(lines(caplog)) == 1


def test_a_call_from_before_the_outage_does_not_begin_another(
    redis: RedisProcess, store: Store, caplog: pytest.LogCaptureFixture, eventually: Callable[..., None]
) -> None:
    """A failure of a call that began before an outage that is over is its caller's alone."""
    with call_from_before_an_outage(_READONLY, redis, store) as end:
        eventually(lambda: not fails(store), within=3)
        with pytest.raises(RegistryUnavailable, match="in a script"):
            end()
    store.ping()
    assert len(lines(caplog)) == 2


def test_a_late_answer_is_nobodys(redis: RedisProcess, store: Store, eventually: Callable[..., None]) -> None:
    """What Redis answers after the timeout is not taken for the answer to a later call."""

    def echo(text: str) -> str:
        return str(store.call(lambda client: client.echo(text)))

    assert echo("early") == "early"
    redis.stall()
    with pytest.raises(RegistryUnavailable):
        echo("late")
    redis.go_on()
    eventually(lambda: not fails(store), within=3)
    assert [echo(text) for text in "abcde"] == list("abcde")


def test_a_call_that_timed_out_is_not_repeated(
    redis: RedisProcess, store: Store, eventually: Callable[..., None]
) -> None:
    """A command that was sent and not answered in time is executed once at most."""
    store.call(lambda client: client.set("count", 0))
    redis.stall()
    with pytest.raises(RegistryUnavailable):
        store.call(lambda client: client.incr("count"))
    redis.go_on()
    eventually(lambda: not fails(store), within=3)
    assert store.call(lambda client: client.get("count")) in ("0", "1")


def test_an_open_limiter_admits_everything(redis: RedisProcess, store: Store) -> None:
    """Open: with Redis killed all tasks are admitted, quickly, and nothing else raises."""
    limiter = Limiter(store, LimiterSettings(when_redis_is_away="open"))
    assert limiter.admit("acme", "mail", LIMITS, lease="a").admitted
    assert not limiter.admit("acme", "mail", LIMITS, lease="b").admitted
    redis.kill()
    decisions = {limiter.admit("acme", "mail", LIMITS, lease="c") for _ in range(100)}
    assert decisions == {Admission(admitted=True)}
    assert limiter.claim("acme", "mail", LIMITS, owner="w", ttl=1) == 0
    limiter.unclaim("acme", "w")
    limiter.release("acme", "a")
    limiter.renew({"acme": ["a"]})
    with pytest.raises(RegistryUnavailable):
        limiter.status("acme", LIMITS.tenant_rate, {})


def test_a_closed_limiter_admits_nothing_that_is_limited(redis: RedisProcess, store: Store) -> None:
    """Closed: with Redis killed tasks with a limit wait for the next attempt, and those without go on."""
    limiter = Limiter(store, LimiterSettings(when_redis_is_away="closed"))
    redis.kill()
    decisions = {limiter.admit("acme", "mail", LIMITS, lease="a") for _ in range(100)}
    assert decisions == {Admission(admitted=False, retry_after=RETRY_AFTER)}
    assert limiter.claim("acme", "mail", LIMITS, owner="w", ttl=1) == RETRY_AFTER
    assert limiter.admit("acme", "mail", Limits(), lease="a").admitted


def test_a_restarted_redis_is_taught_the_scripts_again(
    redis: RedisProcess, store: Store, eventually: Callable[..., None]
) -> None:
    """A Redis that has lost scripts and data limits again as soon as it is back; no call raises for it."""
    limiter = Limiter(store, LimiterSettings(when_redis_is_away="closed"))
    assert limiter.admit("acme", "mail", LIMITS, lease="a").admitted
    redis.kill()
    assert not limiter.admit("acme", "mail", LIMITS, lease="b").admitted
    redis.start()
    eventually(lambda: limiter.admit("acme", "mail", LIMITS, lease="c").admitted, within=3)
    assert limiter.admit("acme", "mail", LIMITS, lease="d").reason == "tenant_rate"


def test_an_idle_connection_that_was_cut_is_no_outage(
    redis: RedisProcess, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that a restart has cut while nobody used them are replaced without an error."""
    store.ping()
    redis.kill()
    redis.start()
    caplog.clear()  # of what waiting for the start has logged
    store.ping()
    assert lines(caplog) == []


def test_a_redis_that_refuses_is_away(
    redis: RedisProcess, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis out of memory is an outage like any other; the log says what it answered."""
    limiter = Limiter(store, LimiterSettings(when_redis_is_away="open"))
    store.call(lambda client: client.config_set("maxmemory", 1))
    assert limiter.admit("acme", "mail", LIMITS, lease="a") == Admission(admitted=True)
    assert "maxmemory" in lines(caplog)[-1]


def test_what_a_script_finds_out_of_redis_is_no_refusal(redis: RedisProcess, store: Store) -> None:
    """Its error is a script's, and yet any other call would have it."""
    write = store.batch("taketurns.records", "write.lua")
    store.call(lambda client: client.config_set("maxmemory", 1))
    steps = json.dumps([[1, "t", 1, "", "QUEUED", "1", "{}", []]])
    with pytest.raises(RegistryUnavailable, match="maxmemory") as refused:
        write([([store.key(str(place))] * 6, [1, 1, 1, "", 1, steps]) for place in range(2)])
    assert not isinstance(refused.value, RegistryRefused)


def test_the_registry_says_that_redis_is_away(redis: RedisProcess, store: Store) -> None:
    """Every question to the registry raises RegistryUnavailable; a bad value is still told as such."""
    registry = Registry(store)
    redis.kill()
    for ask in (
        lambda: registry.get("acme"),
        lambda: registry.update("acme", weight=2),
        lambda: registry.touch("acme"),
        lambda: registry.mark_draining(["acme"], 5),
        registry.workers,
        registry.version,
        lambda: registry.lead("reaper", "one", 5),
        lambda: Records(store, RecordsSettings()).get("acme", "id"),
    ):
        with pytest.raises(RegistryUnavailable):
            ask()
    with pytest.raises(InvalidRate):
        registry.update("acme", rate_limit="often")
