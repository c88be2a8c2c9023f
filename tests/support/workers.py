"""Real worker processes, as a team would start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from taketurns.registry import Registry
from taketurns.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.settings import Settings

TESTS = Path(__file__).parents[1]
ALONE = "--without-mingle"
"""At each start it would wait a second for others' answers, of which nothing here depends."""
START_WITHIN = 90.0


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Return the environment of a process that uses the test's own vhost and key prefix."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAKETURNS_")}
    return {
        **clean,
        "PYTHONPATH": os.fspath(TESTS),
        "PYTHONWARNINGS": "default",
        "TAKETURNS_AMQP_URL": str(settings.broker.amqp_url),
        "TAKETURNS_MANAGEMENT_URL": settings.broker.management_url,
        "TAKETURNS_QUEUE_TYPE": settings.broker.queue_type,
        "TAKETURNS_REDIS_URL": settings.redis.redis_url,
        "TAKETURNS_REDIS_PREFIX": settings.redis.redis_prefix,
        **{f"TAKETURNS_TLS_{name.upper()}": str(value) for name, value in settings.tls if value is not None},
        "TAKETURNS_WORKER_RECONCILE_INTERVAL": "1",
        "TAKETURNS_WORKER_HEARTBEAT_INTERVAL": "1",
        **more,
    }


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started and that have not been waited for."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Worker:
    """One worker process; its output is kept for the message of a failing test."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, name: str) -> None:
        self.process = process
        self.name = name
        self._log = log

    @property
    def output(self) -> str:
        """What the worker has printed so far."""
        return self._log.read_text(errors="replace")

    def pool(self) -> list[int]:
        """Return the ids of its processes that run tasks (prefork), which go on for a while if it is killed."""
        return children_of(self.process.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 30.0) -> int:
        """Send a signal and wait for the end; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)  # Celery writes where all threads are
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not stop:\n{self.output[-8000:]}") from None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Have the process stand still, as if its machine hung, until the block ends."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def started(
    settings: Settings,
    log: Path,
    name: str,
    *arguments: str,
    app: str,
    cwd: Path | None = None,
    **variables: str,
) -> Iterator[Worker]:
    """Run ``celery -A APP ARGUMENTS`` until the block ends.

    Args:
        settings: the settings for the environment.
        log: the folder for its output.
        name: the name of the file there.
        *arguments: Celery's command and its options.
        app: the app's module.
        cwd: the folder in which it runs, and finds the module.
        **variables: more for the environment.
    """
    path = log / f"{name}.log"
    with path.open("wb") as output:
        process = subprocess.Popen(  # our own app
            [sys.executable, "-m", "celery", "-A", app, *arguments],
            cwd=cwd,
            env=environment(settings, **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Worker(process, path, name)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def worker(
    settings: Settings,
    log: Path,
    *options: str,
    name: str = "w1",
    app: str = "support.shop",
    serves: bool = True,
    **more: Any,
) -> Iterator[Worker]:
    """Run ``celery -A APP worker OPTIONS``; it is ready when the block begins. See [started][] for the rest."""
    node = f"{name}@{settings.redis.redis_prefix}"
    arguments = ("worker", "-n", node, "-l", "INFO", ALONE, *options)
    with started(settings, log, name, *arguments, app=app, **more) as this:
        this.name = node
        _wait_until_ready(this, settings, serves=serves)
        yield this


def _wait_until_ready(this: Worker, settings: Settings, *, serves: bool) -> None:
    deadline = time.monotonic() + START_WITHIN
    with closing(Store(settings.redis, settings.tls)) as store:
        registry = Registry(store)
        while time.monotonic() < deadline:
            if this.process.poll() is not None:
                raise AssertionError(
                    f"the worker ended with {this.process.returncode}:\n{this.output[-8000:]}"
                )
            if this.name in registry.workers() if serves else " ready." in this.output:
                return
            time.sleep(0.05)
    raise AssertionError(f"the worker was not ready in {START_WITHIN} s:\n{this.output[-8000:]}")


class Ledger:
    """What the tasks of ``support.shop`` wrote."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis.from_url(settings.redis.redis_url)
        self._key = f"{settings.redis.redis_prefix}-ledger"

    def __len__(self) -> int:
        return int(self._redis.llen(self._key))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each run, in the order in which the runs ended."""
        return [json.loads(row) for row in self._redis.lrange(self._key, 0, -1)]

    def labels(self) -> list[str]:
        """Return the label of each run."""
        return [row["label"] for row in self.rows()]

    def let_go(self) -> None:
        """Have one run of the tasks ``hold`` and ``hold_and_fail`` end."""
        self._redis.rpush(f"{self._key}-let-go", "")
