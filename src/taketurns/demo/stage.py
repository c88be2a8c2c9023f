"""What the demo starts, and where to reach it."""

from __future__ import annotations

import secrets
import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, Self

from celery import Celery
from pydantic import SecretStr
from redis import Redis

from taketurns.api.auth import Tokens  # PyJWT is an extra
from taketurns.demo.client import answers
from taketurns.demo.ledger import Ledger
from taketurns.demo.processes import Process, Processes, python, taketurns
from taketurns.management import Management
from taketurns.services.ports import LOOPBACK, free_ports
from taketurns.settings import ApiSettings, ReaperSettings, variable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from celery.app.control import Control

    from taketurns.demo.place import Place

_APP: Final = "taketurns.demo.app"
WORKERS: Final = 2
CONCURRENCY: Final = 2
IDLE_TIME: Final = 5.0
_REAPER_INTERVAL: Final = 1.0
_PING: Final = 1.0
_FLOWER_INTERVAL: Final = 10.0


class Stage:
    """The API, two workers, the reaper, Flower, and for the comparison an API in front of one queue.

    They run from enter to exit, and no longer than this process.

    Args:
        place: where RabbitMQ and Redis are.
        directory: for logs.
    """

    def __init__(self, place: Place, directory: Path) -> None:
        self.place = place
        self.directory = directory
        secret = secrets.token_urlsafe(48)
        # Said in full, so that the caller's own settings have no say.
        self._tokens = Tokens(
            ApiSettings(
                jwt_secret=SecretStr(secret),
                jwt_tenant_claim="sub",
                jwt_role_claim="role",
                jwt_issuer=None,
                jwt_audience=None,
            )
        )
        ports = free_ports(3)
        self.api_url, self.one_queue_url, self.flower_url = (f"http://{LOOPBACK}:{port}" for port in ports)
        self._variables = {
            **place.settings(),
            variable(ApiSettings, "jwt_secret"): secret,
            variable(ReaperSettings, "idle_time"): str(IDLE_TIME),
            variable(ReaperSettings, "interval"): str(_REAPER_INTERVAL),
            "FLOWER_BROKER_API": f"{place.management_url}/api/",  # not as an option: `ps` would show the password
            "FLOWER_TASKS_COLUMNS": "name,uuid,state,routing_key,received,runtime,worker",
        }
        self.workers = [f"worker-{number}@{place.name}" for number in range(1, WORKERS + 1)]
        self.control: Control = Celery("demo", broker=place.amqp_url, set_as_current=False).control
        self._flower_asked = 0.0
        self._processes = Processes(*self._all(*ports))

    def __enter__(self) -> Self:
        self._processes.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.__exit__(kind, error, trace)

    def check(self) -> None:
        """See that all processes still run.

        Raises:
            DemoFailed: one doesn't; the message has the end of its log.
        """
        self._processes.check()

    def refresh_flower(self) -> None:
        """Have Flower ask the workers which queues they consume, at most every few seconds.

        Of itself it asks once, at its start; its page of the broker names no queue that it has not heard of.
        """
        now = time.monotonic()
        if now > self._flower_asked + _FLOWER_INTERVAL:
            self._flower_asked = now
            answers(f"{self.flower_url}/workers?refresh=1&json=1")

    def token(self, tenant: str, *, operator: bool = False) -> str:
        """Return a token for the API, valid for a day."""
        return self._tokens.issue(tenant, operator=operator)

    def ledger(self, name: str) -> Ledger:
        """Return the ledger of a round."""
        return Ledger(self._redis, self.place.name, name)

    @cached_property
    def management(self) -> Management:
        """The management API's client."""
        return Management(self.place.management_url, vhost=self.place.name)

    @cached_property
    def _redis(self) -> Redis:
        return Redis.from_url(self.place.redis_url)

    def _all(self, api: int, one_queue: int, flower: int) -> list[Process]:
        factory = "taketurns.demo.one_queue_api:create_app"
        return [
            self._process(
                "api",
                taketurns("api", "--host", LOOPBACK, "--port", str(api)),
                partial(answers, f"{self.api_url}/health/ready"),
            ),
            self._process(
                "one-queue-api",
                python("uvicorn", "--factory", factory, "--host", LOOPBACK, "--port", str(one_queue)),
                partial(answers, f"{self.one_queue_url}/openapi.json"),
            ),
            *(self._worker(node) for node in self.workers),
            self._process("reaper", taketurns("reaper")),
            self._process(
                "flower",
                python("celery", "-A", _APP, "flower", f"--address={LOOPBACK}", f"--port={flower}"),
                partial(answers, f"{self.flower_url}/healthcheck"),
            ),
        ]

    def _worker(self, node: str) -> Process:
        options = ("-E", "--concurrency", str(CONCURRENCY), "-n", node, "--loglevel", "WARNING")
        return self._process(
            node.partition("@")[0],
            python("celery", "-A", _APP, "worker", *options),
            lambda: bool(self.control.ping([node], timeout=_PING)),
        )

    def _process(self, name: str, command: list[str], answers: Callable[[], bool] = lambda: True) -> Process:
        return Process(name, command, directory=self.directory, variables=self._variables, answers=answers)
