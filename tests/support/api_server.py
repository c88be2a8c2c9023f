"""The HTTP API over real HTTP, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn  # an extra
from celery import Celery
from pydantic import SecretStr

from taketurns import TakeTurns, TenantTask
from taketurns.api import batches, submission
from taketurns.api.app import create_app  # FastAPI is an extra
from taketurns.api.auth import Tokens  # PyJWT is an extra
from taketurns.api.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from fastapi import FastAPI

    from taketurns.settings import Settings

SECRET = "the secret of the tests, which is long enough"
START_WITHIN = 10.0
PATIENCE = 30.0


class Client(httpx.Client):
    """An HTTP client that carries a tenant's token, as clients of the API do."""

    def __init__(self, url: str, tokens: Tokens, **options: Any) -> None:
        # Plain HTTP only, and certificates take their time to load.
        super().__init__(base_url=url, timeout=30.0, verify=False, **options)
        self.tokens = tokens

    def as_(self, tenant: str, *, operator: bool = False) -> Client:
        """Return a client that speaks for a tenant."""
        token = self.tokens.issue(tenant, operator=operator)
        return Client(str(self.base_url), self.tokens, headers={"Authorization": f"Bearer {token}"})


@contextmanager
def serving(turns: TakeTurns, application: FastAPI | None = None, *, port: int = 0) -> Iterator[Client]:
    """Serve the API of an app, or an application of its own, until the block ends; yield a client without a token."""
    config = uvicorn.Config(
        application or create_app(turns),
        port=port,
        log_level="warning",
        backlog=2048,
        timeout_keep_alive=75,  # longer than the client's
    )
    server = Server(config, turns.live)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + START_WITHIN
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.01)
        host, own = server.servers[0].sockets[0].getsockname()[:2]
        secret = turns.settings.api.model_copy(update={"jwt_secret": SecretStr(SECRET)})
        with Client(f"http://{host}:{own}", Tokens(secret)) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def assert_problem(response: httpx.Response, status: int, *, code: str, field: str | None = None) -> str:
    """Check that a response is an error of the one shape, and return its message."""
    body = response.json()
    assert response.status_code == status, body
    assert set(body) == {"error", "message", "field"}
    assert (body["error"], body["field"]) == (code, field), body
    assert body["message"]
    return str(body["message"])


def shop(settings: Settings, *, results: bool = True, **changes: Any) -> TakeTurns:
    """Return a small app whose tasks the API serves; its results are kept in the test's own Redis keys.

    Args:
        settings: the test's settings; they get a JWT secret.
        results: whether the app has a result backend.
        **changes: changed settings of the API.
    """
    app = Celery("shop", backend=settings.redis.redis_url if results else None, set_as_current=False)
    app.conf.result_backend_transport_options = {"global_keyprefix": f"{settings.redis.redis_prefix}-"}

    # Unshared, since Celery would give each test's tasks to all later apps too.
    tenants = {"base": TenantTask, "shared": False}
    app.task(thumbnail, name="shop.thumbnail", expose=True, rate_limit_per_tenant="100/1m:5", **tenants)
    app.task(anything, name="shop.anything", expose=True, **tenants)
    app.task(silent, name="shop.silent", expose=True, ignore_result=True, **tenants)
    app.task(nap, name="shop.nap", expose=True, **tenants)
    app.task(fail, name="shop.fail", expose=True, **tenants)
    app.task(internal, name="shop.internal", **tenants)
    app.task(ordinary, name="shop.ordinary", shared=False)
    api = settings.api.model_copy(update={"jwt_secret": SecretStr(SECRET)} | changes)
    return TakeTurns(app, replace(settings, api=api))


def patient(settings: Settings, patch: pytest.MonkeyPatch) -> Settings:
    """Return settings by which the API waits for servers that are busy, where it would answer 503 otherwise.

    For Redis and for submissions that is longer than anybody may set it.
    """
    for module in (submission, batches):
        patch.setattr(module, "ANSWER_WITHIN", PATIENCE)
    return replace(
        settings,
        redis=settings.redis.model_copy(update={"redis_timeout": PATIENCE}),
        broker=settings.broker.model_copy(
            update={"publish_timeout": PATIENCE, "management_timeout": PATIENCE}
        ),
    )


def thumbnail(image_id: str, size: int = 128) -> str:
    """Have a rate of its own."""
    return f"{image_id}@{size}"


def anything(*args: Any, **kwargs: Any) -> None:
    """Take whatever comes."""


def silent() -> None:
    """Keep no result."""


def nap(seconds: float) -> None:
    """Take some time."""
    time.sleep(seconds)


def fail(label: str) -> None:
    """Fail, for good."""
    raise ValueError(label)


def internal() -> None:
    """Be out of HTTP's reach."""


def ordinary() -> None:
    """Belong to no tenant."""
