"""Our routers in another FastAPI application, over real HTTP."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support.api_server import Client, assert_problem, serving
from support.sse import Frames
from taketurns.api.auth import Caller
from taketurns.api.mounting import health_router, operator_router, tenant_router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns import TakeTurns

LARGE = b" " * (1024 * 1024 + 1)
ACME = {"User": "acme"}
TASK = {"name": "shop.anything"}


async def user(user: Annotated[str, Header()], via: Annotated[str, Query()] = "") -> str:
    if user == "nobody":
        raise HTTPException(401, "log in") from ValueError("no such user")
    return user


def operator(user: Annotated[str, Depends(user)]) -> None:
    if user != "root":
        raise HTTPException(403, "go away")


def application(turns: TakeTurns) -> FastAPI:
    """Return somebody else's application, with its own errors."""
    app = FastAPI()
    app.include_router(tenant_router(turns, current_tenant=user), prefix="/v1/queue")
    app.include_router(operator_router(turns, require_operator=operator), prefix="/v1/queue")
    app.include_router(health_router(turns), prefix="/hidden", include_in_schema=False)

    @app.exception_handler(HTTPException)
    async def oops(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"oops": error.detail}, error.status_code)

    @app.post("/own")
    async def own(request: Request, number: int) -> int:
        return number + len(await request.body())

    return app


@pytest.fixture
def host(turns: TakeTurns) -> Iterator[Client]:
    with closing(turns), serving(turns, application(turns)) as client:
        yield client


def test_the_applications_user_is_the_tenant(host: Client) -> None:
    """What its own dependency returns is whose queue it is; of another's task nothing is told."""
    accepted = host.post("/v1/queue/tasks", json=TASK, headers=ACME).json()
    assert (accepted["tenant"], accepted["queue"]) == ("acme", "usersequence_acme")
    path = f"/v1/queue/tasks/{accepted['task_id']}"
    assert host.get(path, headers=ACME).json()["status"] == "QUEUED"
    assert_problem(host.get(path, headers={"User": "globex"}), 404, code="not_found")
    assert host.get("/v1/queue/me", headers=ACME).json()["backlog"] is not None


def test_the_applications_user_follows_its_own_tasks(host: Client) -> None:
    """By server-sent events and WebSockets, whom the application's own dependency speaks for."""
    task_id = host.post("/v1/queue/tasks", json=TASK, headers=ACME).json()["task_id"]
    path = f"/v1/queue/tasks/{task_id}/events"
    with Frames(host, path, headers=ACME) as frames:
        assert frames.kinds(2) == ["connected", "queued"]
    assert_problem(host.get(path, headers={"User": "globex"}), 404, code="not_found")
    assert host.get(path, headers={"User": "nobody"}).json() == {"oops": "log in"}
    socket = f"ws://{host.base_url.host}:{host.base_url.port}/v1/queue/ws/tasks/{task_id}?via=mail"
    with connect(socket, additional_headers=ACME, proxy=None) as connection:
        assert [json.loads(connection.recv(10))["event"] for _ in range(2)] == ["connected", "queued"]
    for user, code in (("globex", 4404), ("a b", 4422)):
        with connect(socket, additional_headers={"User": user}, proxy=None) as connection:
            with pytest.raises(ConnectionClosed):
                connection.recv(10)
            assert connection.close_code == code
    with pytest.raises(InvalidStatus, match="401"), connect(socket, additional_headers={"User": "nobody"}):
        pass


def test_operators_are_whom_the_application_lets_through(host: Client) -> None:
    assert host.get("/v1/queue/tenants", headers={"User": "root"}).status_code == 200
    refused = host.get("/v1/queue/tenants", headers=ACME)
    assert (refused.status_code, refused.json()) == (403, {"oops": "go away"})


def test_our_routes_keep_our_errors_and_limits(host: Client) -> None:
    """Bodies, unknown fields and parameters are refused in our shape below any prefix."""
    post = "/v1/queue/tasks"
    json = {"Content-Type": "application/json", **ACME}
    assert_problem(host.post(post, content=LARGE, headers=json), 413, code="body_too_large", field="body")
    assert_problem(
        host.post(post, content=iter([LARGE]), headers=json), 413, code="body_too_large", field="body"
    )
    assert_problem(
        host.post(post, json={**TASK, "nme": 1}, headers=ACME), 422, code="invalid_input", field="nme"
    )
    deep = host.post(post, content=b"[" * 100_000, headers=json)
    assert_problem(deep, 422, code="invalid_input", field="body")
    unheard = host.get("/v1/queue/me?x=1", headers=ACME)
    assert_problem(unheard, 422, code="invalid_input", field="x")
    assert host.get("/v1/queue/me?via=mail", headers=ACME).status_code == 200
    for nobody in (host.get("/v1/queue/me"), host.post(post, json=TASK)):  # what the application's user needs
        assert_problem(nobody, 422, code="invalid_input", field="user")
    assert_problem(
        host.get("/v1/queue/me", headers={"User": "a b"}), 422, code="invalid_input", field="tenant"
    )


def test_the_applications_own_routes_and_errors_stay(host: Client) -> None:
    """Neither our shape nor our limit is anywhere but on our routes."""
    assert host.post("/own?number=1", content=LARGE).json() == 1 + len(LARGE)
    assert "detail" in host.post("/own?number=x").json()
    assert host.get("/nowhere").json() == {"detail": "Not Found"}
    refused = host.get("/v1/queue/me", headers={"User": "nobody"})
    assert (refused.status_code, refused.json()) == (401, {"oops": "log in"})


def test_the_applications_documentation_shows_our_routes(host: Client) -> None:
    paths = host.get("/openapi.json").json()["paths"]
    assert {"/own", "/v1/queue/tasks", "/v1/queue/tenants/{tenant}"} <= paths.keys()
    assert "/hidden/health/live" not in paths
    assert "401" not in paths["/v1/queue/tasks"]["post"]["responses"]


def test_hidden_routes_work(host: Client) -> None:
    assert host.get("/hidden/health/live").status_code == 200


def test_a_dependency_may_return_a_caller(turns: TakeTurns) -> None:
    app = FastAPI()
    app.include_router(tenant_router(turns, current_tenant=lambda: Caller("acme", operator=True)))
    with closing(turns), serving(turns, app) as host:
        assert host.get("/me").json()["operator"] is True
