"""The HTTP API while RabbitMQ, its management API or Redis is away."""

from __future__ import annotations

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from support.api_server import Client, assert_problem, serving, shop
from support.outages import without_broker, without_management, without_redis
from support.proxy import running
from support.stopwatch import PROMISED, stopwatch
from taketurns.api.app import create_app  # FastAPI is an extra
from taketurns.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from taketurns.settings import Settings

TASK = {"name": "shop.anything"}


def timed(client: Client, method: str, path: str, **options: object) -> tuple[float, httpx.Response]:
    with stopwatch() as seconds:
        response = client.request(method, path, **options)  # type: ignore[arg-type]
        return seconds(), response


def test_without_a_broker_nothing_is_accepted(settings: Settings, nowhere: str) -> None:
    """A submission gets a 503 within five seconds that says when to try again, whatever else was going on."""
    with serving(shop(without_broker(settings, nowhere))) as api, api.as_("acme") as acme:
        seconds, response = timed(acme, "POST", "/tasks", json=TASK)
        assert_problem(response, 503, code="broker_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert seconds < PROMISED


def test_many_submissions_without_a_broker_all_get_their_answer(settings: Settings, nowhere: str) -> None:
    """More requests than there are threads and connections, of many tenants, are answered in time as well."""
    turns = shop(without_broker(settings, nowhere))
    with serving(turns) as api:
        clients = [api.as_(f"t{n}") for n in range(100)]
        with ThreadPoolExecutor(len(clients)) as pool:
            lag = max(
                seconds for seconds, _ in pool.map(lambda each: timed(each, "GET", "/health/live"), clients)
            )
            answers = list(pool.map(lambda client: timed(client, "POST", "/tasks", json=TASK), clients))
            for client in clients:
                client.close()
    assert Counter(response.status_code for _, response in answers) == {503: len(clients)}
    assert max(seconds for seconds, _ in answers) < PROMISED + lag  # a hundred clients are slow by themselves


def test_a_broker_that_comes_back_is_used_again(settings: Settings) -> None:
    """An outage leaves nothing behind: the same process accepts tasks as soon as the broker answers."""
    with running(str(settings.broker.amqp_url)) as proxy:
        away = replace(settings, broker=settings.broker.model_copy(update={"amqp_url": proxy.url}))
        with serving(shop(away)) as api, api.as_("acme") as acme:
            assert acme.post("/tasks", json=TASK).status_code == 202
            proxy.silence()
            seconds, response = timed(acme, "POST", "/tasks", json=TASK)
            assert_problem(response, 503, code="not_confirmed")
            assert seconds < PROMISED
            proxy.drop()
            assert acme.post("/tasks", json=TASK).status_code == 202


def test_without_redis_tasks_are_still_accepted(settings: Settings, nowhere: str) -> None:
    """Submitting goes on while Redis, and a result backend in it, is away; what is kept there can't be told."""
    turns = shop(without_redis(settings, nowhere))
    with serving(turns) as api, api.as_("acme", operator=True) as acme:
        seconds, response = timed(acme, "POST", "/tasks", json=TASK)
        assert response.status_code == 202, response.text
        assert seconds < PROMISED
        queue = turns.management.queue("usersequence_acme")
        assert queue is not None  # nothing is answered that was not asked
        assert queue.ready == 1
        task = f"/tasks/{response.json()['task_id']}"
        for method, path in (("GET", task), ("GET", "/me"), ("GET", "/tenants"), ("DELETE", "/tenants/acme")):
            seconds, response = timed(acme, method, path)
            assert_problem(response, 503, code="redis_unavailable")
            assert seconds < PROMISED
        assert_problem(acme.patch("/tenants/acme", json={"weight": 2}), 503, code="redis_unavailable")
        assert_problem(
            acme.patch("/tenants/acme", json={"weight": 0}), 422, code="invalid_input", field="weight"
        )


def test_without_the_result_backend_no_state_is_told(settings: Settings) -> None:
    """A result backend that is away gets a 503 and not an invented state."""
    turns = shop(settings)
    turns.app.conf.result_backend = "redis://127.0.0.1:1/0"
    with serving(turns) as api, api.as_("acme") as acme:
        task_id = acme.post("/tasks", json=TASK).json()["task_id"]
        assert_problem(acme.get(f"/tasks/{task_id}"), 503, code="results_unavailable")


def test_while_the_management_api_hangs_a_tenant_sees_its_limits_without_its_backlog(
    settings: Settings,
) -> None:
    """It waits as long as a submission does, and not for as long as the reaper may."""
    with running(str(settings.broker.management_url)) as proxy:
        changes = {"management_url": proxy.url, "management_timeout": 300.0, "publish_timeout": 0.5}
        hanging = replace(settings, broker=settings.broker.model_copy(update=changes))
        with serving(shop(hanging)) as api, api.as_("acme") as acme:
            proxy.silence()
            response = acme.get("/me", timeout=60)
            assert response.status_code == 200, response.text
            assert (response.json()["backlog"], response.json()["has_queue"]) == (None, None)


def test_without_the_management_api_only_backlogs_are_unknown(settings: Settings, nowhere: str) -> None:
    """A tenant still sees its limits and an operator still changes them; null says that a backlog is unknown."""
    with (
        serving(shop(without_management(settings, nowhere))) as api,
        api.as_("acme", operator=True) as operator,
    ):
        assert operator.post("/tasks", json=TASK).status_code == 202
        for response in (operator.get("/me"), operator.patch("/tenants/acme", json={"weight": 2})):
            assert response.status_code == 200
            assert (response.json()["backlog"], response.json()["has_queue"]) == (None, None)
        for method, path in (("GET", "/tenants"), ("GET", "/tenants/acme"), ("DELETE", "/tenants/acme")):
            assert_problem(operator.request(method, path), 503, code="management_unavailable")
        assert operator.get("/me").json()["weight"] == 2


# ---- health


def test_health_with_everything_there(settings: Settings) -> None:
    """With all three servers there, the API is ready."""
    with serving(shop(settings)) as api:
        ok = {"status": "ok", "message": ""}
        assert api.get("/health/live").json() == {"status": "alive"}
        response = api.get("/health/ready")
        assert response.json() == {"status": "ready", "broker": ok, "management": ok, "redis": ok}
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("server", "without", "expected"),
    [
        ("broker", without_broker, (503, "unavailable")),
        ("management", without_management, (200, "degraded")),
        ("redis", without_redis, (200, "degraded")),
    ],
)
def test_health_names_what_is_away(
    server: str,
    without: Callable[[Settings, str], Settings],
    expected: tuple[int, str],
    settings: Settings,
    nowhere: str,
) -> None:
    """Each server is named with its state; only without a broker the API is not ready, and it is always alive."""
    with serving(shop(without(settings, nowhere))) as api:
        seconds, response = timed(api, "GET", "/health/ready")
        found = response.json()
        assert (response.status_code, found["status"]) == expected
        states = {name: found[name]["status"] for name in ("broker", "management", "redis")}
        assert states == {"broker": "ok", "management": "ok", "redis": "ok"} | {server: "error"}
        assert found[server]["message"]
        assert "guest" not in response.text, "credentials are nobody's business"
        assert seconds < PROMISED
        assert api.get("/health/live").status_code == 200


def test_a_vhost_that_is_not_there_is_an_outage(settings: Settings) -> None:
    """A broker that refuses us is as good as none: 503 for a submission, and health tells its reason."""
    url = f"{str(settings.broker.amqp_url).rpartition('/')[0]}/nowhere"
    changed = replace(settings, broker=settings.broker.model_copy(update={"amqp_url": url}))
    with serving(shop(changed)) as api, api.as_("acme") as acme:
        assert_problem(acme.post("/tasks", json=TASK), 503, code="broker_refused")
        response = api.get("/health/ready")
        assert response.status_code == 503
        assert "nowhere" in response.json()["broker"]["message"]


def test_health_is_told_while_all_submissions_wait(settings: Settings) -> None:
    """Requests that wait for a silent broker don't delay the answer that it is silent."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as server:
        turns = shop(without_broker(settings, "{}:{}".format(*server.getsockname())))
        with serving(turns) as api, api.as_("acme") as acme, ThreadPoolExecutor(60) as pool:
            waiting = [pool.submit(acme.post, "/tasks", json=TASK) for _ in range(60)]
            seconds, response = timed(api, "GET", "/health/ready")
            assert not all(each.done() for each in waiting)
            assert response.status_code == 503
            assert seconds < PROMISED
            assert {each.result().status_code for each in waiting} == {503}


# ---- starting


@pytest.mark.parametrize("secret", [None, "short"])
def test_without_a_good_secret_the_api_does_not_start(secret: str | None, settings: Settings) -> None:
    """A missing or short secret is told before anything listens, with the way to make one."""
    turns = shop(settings, jwt_secret=SecretStr(secret) if secret else None)
    with pytest.raises(InvalidSettings, match=r"TAKETURNS_API_JWT_SECRET.*secrets\.token_urlsafe"):
        create_app(turns)
