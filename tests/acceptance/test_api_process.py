"""The API as a process beside a real worker: from a token to a task's result."""

from __future__ import annotations

import asyncio
import re
import select
import signal
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import httpx
import pytest

from support.api_process import WITHIN, Api
from support.api_server import SECRET
from support.command import COMMAND
from support.connected import rabbitmq_connections, redis_user
from support.workers import Ledger, environment, worker
from taketurns.management import Management

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Broker
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

SUBMISSIONS = 200


def test_from_a_token_to_a_result(
    start: Callable[..., Api], settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A task submitted over HTTP runs for its tenant on a worker, and its result comes back over HTTP."""
    api = start()
    ledger = Ledger(settings)
    with api.client() as client, client.as_("acme") as acme, client.as_("beta") as beta:
        ids = {}
        for tenant, of_tenant in (("acme", acme), ("beta", beta)):
            response = of_tenant.post("/tasks", json={"name": "support.shop.work", "args": [tenant]})
            assert response.status_code == 202, response.text
            ids[tenant] = response.json()["task_id"]
        with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
            eventually(lambda: acme.get(f"/tasks/{ids['acme']}").json()["status"] == "SUCCESS", within=WITHIN)
            eventually(lambda: beta.get(f"/tasks/{ids['beta']}").json()["status"] == "SUCCESS", within=WITHIN)
            assert client.get("/health/ready").json()["status"] == "ready"
        assert acme.get(f"/tasks/{ids['acme']}").json()["result"] == "acme"
        assert acme.get(f"/tasks/{ids['beta']}").status_code == 404
        assert {(row["tenant"], row["label"]) for row in ledger.rows()} == {
            ("acme", "acme"),
            ("beta", "beta"),
        }
        assert acme.get("/me").json()["backlog"] == {"ready": 0, "unacknowledged": 0}


def test_a_connection_may_rest_for_longer_than_clients_let_it(start: Callable[..., Api]) -> None:
    """Httpx uses one again within five seconds: the API must not close it as a request comes."""
    with start().client() as client:
        url = client.base_url
    with closing(HTTPConnection(url.host, url.port, timeout=WITHIN)) as connection:
        for pause in (5.5, 0):
            connection.request("GET", "/health/live")
            response = connection.getresponse()
            # Head and body are two writes: a body not read yet would look like the end of the connection.
            assert response.read()
            assert response.status == 200
            assert connection.sock is not None, "the API has said that it closes it"
            assert not select.select([connection.sock], [], [], pause)[0], "the API has closed it"


def test_many_submissions_at_once_use_few_connections(
    start: Callable[..., Api], settings: Settings, broker: Broker, eventually: Eventually
) -> None:
    """200 requests at a time are all accepted and queued, through as many connections as the settings allow."""

    async def submit_all(api: Api) -> list[int]:
        with api.client() as client:
            url, tokens = client.base_url, client.tokens
        limits = httpx.Limits(max_connections=SUBMISSIONS)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
            answers = await asyncio.gather(
                *(
                    client.post(
                        "/tasks",
                        json={"name": "support.shop.work", "args": [f"{number}"]},
                        headers={"Authorization": f"Bearer {tokens.issue(f't{number % 50}')}"},
                    )
                    for number in range(SUBMISSIONS)
                )
            )
        return [answer.status_code for answer in answers]

    with redis_user(settings.redis.redis_url) as user:
        api = start(TAKETURNS_REDIS_URL=user.url)
        answers = asyncio.run(submit_all(api))
        assert answers == [202] * SUBMISSIONS, api.log
        assert 1 <= user.connections() <= settings.redis.redis_connections
        eventually(lambda: rabbitmq_connections(broker) > 0)
        assert rabbitmq_connections(broker) <= settings.broker.publish_connections
        assert "unknown to GET /tasks" not in api.log
    management = Management(settings.broker.management_url, vhost=broker.vhost)
    eventually(lambda: sum(queue.ready or 0 for queue in management.tenant_queues().values()) == SUBMISSIONS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_api_stops_when_told(number: signal.Signals, start: Callable[..., Api]) -> None:
    """SIGTERM and Ctrl-C end the API with 0 and without a traceback, also while a client stays connected."""
    api = start()
    with api.client() as client, client.as_("acme") as acme:
        assert acme.post("/tasks", json={"name": "support.shop.work"}).status_code == 202
        assert client.get("/health/live").status_code == 200
        assert api.stop(number) == 0, api.log
    assert "Traceback" not in api.log


def test_the_log_is_of_requests_and_not_of_probes(start: Callable[..., Api]) -> None:
    """Each request is one line with its status; successful health checks and tokens are not logged."""
    api = start()
    with api.client() as client, client.as_("acme") as acme:
        for _ in range(3):
            assert client.get("/health/ready").status_code == 200
        assert acme.get("/tasks/nothing").status_code == 404
        token = acme.headers["Authorization"].removeprefix("Bearer ")
    api.stop(signal.SIGTERM)
    requests = [line for line in api.log.splitlines() if " HTTP/1.1" in line]
    assert len(requests) == 1, api.log
    assert '"GET /tasks/nothing HTTP/1.1" 404' in requests[0]
    assert token not in api.log


def test_a_port_in_use_is_told(start: Callable[..., Api], settings: Settings) -> None:
    """A second API on the same port ends with one line that names the port, and how to choose another."""
    with start().client() as client:
        port = client.base_url.port
    assert refusal(settings, "--port", str(port)) == (
        f"taketurns: can't listen on host 127.0.0.1, port {port}: Address already in use; choose others by --host "
        "and --port, or by TAKETURNS_API_HOST and TAKETURNS_API_PORT\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_told(host: str, settings: Settings) -> None:
    """A host that is not this machine is told in one line that names it."""
    says = rf"taketurns: can't listen on host {re.escape(host)}, port 0: .+; choose others by .*\n"
    assert re.fullmatch(says, refusal(settings, "--host", host, "--port", "0"))


def refusal(settings: Settings, *options: str) -> str:
    """Run an API that does not start, and return all that it says."""
    result = subprocess.run(  # our own command
        [COMMAND, "-A", "support.shop", "api", *options],
        env=environment(settings, TAKETURNS_API_JWT_SECRET=SECRET),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    return result.stderr
