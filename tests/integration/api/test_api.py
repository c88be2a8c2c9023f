"""The HTTP API on a real broker and a real Redis: what a tenant does with it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import taketurns
from support.api_server import Client, assert_problem, serving, shop
from taketurns.limits.limiter import Limits
from taketurns.limits.rate import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

# Celery 5.7 stores results by a call that redis-py 8 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

THUMBNAIL = {"name": "shop.thumbnail", "args": ["i-1"]}


# ---- who is calling


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": "Basic YWNtZTp4"},
        {"Authorization": b"Bearer \xff"},
    ],
)
def test_without_a_token_there_is_nothing(headers: Any, api: Client) -> None:
    """No token, another scheme and a bad token get a 401 that asks for a bearer token."""
    for path in ("/me", "/tasks/x", "/tenants", "/tenants/acme"):
        response = api.get(path, headers=headers)
        assert_problem(response, 401, code="not_authenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_counts_before_the_body(api: Client) -> None:
    """Without a token nobody learns whether a body would have been right."""
    assert_problem(api.post("/tasks", json={"nonsense": 1}), 401, code="not_authenticated")


def test_an_operator_submits_for_its_own_tenant(operator: Client) -> None:
    """An operator's tasks go to the tenant that its token names."""
    assert operator.post("/tasks", json=THUMBNAIL).json()["queue"] == "usersequence_root"


# ---- what became of it


def submit(client: Client, name: str = "shop.anything") -> str:
    response = client.post("/tasks", json={"name": name})
    assert response.status_code == 202, response.text
    return str(response.json()["task_id"])


def test_a_new_task_is_queued(acme: Client) -> None:
    """A task is known from its submission on."""
    before = time.time()
    state = acme.get(f"/tasks/{(task_id := submit(acme))}").json()
    assert before - 1 < state.pop("submitted_at") < time.time() + 1
    assert state == {
        "task_id": task_id,
        "name": "shop.anything",
        "tenant": "acme",
        "queue": "usersequence_acme",
        "status": "QUEUED",
        "priority": "normal",
        "tags": [],
        "depends_on": [],
        "due_at": None,
        "started_at": None,
        "ended_at": None,
        "worker": None,
        "attempts": 0,
        "progress": None,
        "result": None,
        "cancelling": False,
        "error": None,
    }


@pytest.mark.parametrize(
    ("state", "result", "shown"),
    [
        ("STARTED", {"pid": 1}, {"status": "RUNNING", "result": None, "error": None}),
        ("PROGRESS", {"done": 3}, {"status": "RUNNING", "result": None, "error": None}),
        ("SUCCESS", {"sum": [3, None]}, {"status": "SUCCESS", "result": {"sum": [3, None]}, "error": None}),
        ("SUCCESS", [float("nan"), "\ud800"], {"status": "SUCCESS", "result": [None, "?"], "error": None}),
        (
            "FAILURE",
            ValueError("no such image"),
            {
                "status": "FAILURE",
                "result": None,
                "error": {"type": "ValueError", "message": "no such image"},
            },
        ),
    ],
)
def test_a_task_shows_what_became_of_it(
    state: str, result: object, shown: dict[str, Any], acme: Client, turns: TakeTurns
) -> None:
    """State, result and error come from the app's result backend."""
    task_id = submit(acme)
    turns.app.backend.store_result(task_id, result, state)
    answer = acme.get(f"/tasks/{task_id}").json()
    assert {name: answer[name] for name in shown} == shown


def test_a_result_without_end_is_shown_as_text(acme: Client, turns: TakeTurns) -> None:
    """A result that is nested too deeply for others' JSON is still an answer."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    turns.app.backend.store_result(task_id := submit(acme), deep, "SUCCESS")
    assert acme.get(f"/tasks/{task_id}").json()["result"].startswith("[[[")


def test_another_tenants_task_is_not_there(api: Client, acme: Client, operator: Client) -> None:
    """A task of another tenant, operators included, looks exactly like one that never was."""
    task_id = submit(acme)
    with api.as_("mallory") as mallory:
        answers = [
            mallory.get(f"/tasks/{task_id}"),
            operator.get(f"/tasks/{task_id}"),
            mallory.get("/tasks/5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11"),
            mallory.get("/tasks/..%00"),
        ]
    for answer in answers:
        assert_problem(answer, 404, code="not_found")
    assert len({answer.content for answer in answers}) == 1


def test_a_task_is_known_without_results(settings: Settings) -> None:
    """Without a result backend, or for a task that ignores its result, the record still tells its state."""
    with serving(shop(settings)) as api, api.as_("acme") as acme:
        assert acme.get(f"/tasks/{submit(acme, 'shop.silent')}").json()["status"] == "QUEUED"
    with serving(shop(settings, results=False)) as api, api.as_("acme") as acme:
        assert acme.get(f"/tasks/{submit(acme)}").json()["status"] == "QUEUED"


# ---- the caller's own limits


def test_me_shows_the_callers_own_limits(acme: Client, turns: TakeTurns) -> None:
    """A tenant sees its settings, its backlog, and for each limit the tokens and when the next one comes."""
    turns.registry.update(
        "acme", rate_limit="10/60s:2", weight=2.0, max_concurrency=3, max_backlog=1000, paused=True
    )
    submit(acme)
    limits = Limits(tenant_rate=parse_rate("10/60s:2"))
    assert turns.limiter.admit("acme", "shop.anything", limits, lease="a").admitted
    assert turns.limiter.admit("acme", "shop.anything", limits, lease="b").admitted
    me = acme.get("/me").json()
    tenant, task = me.pop("limits")
    assert me == {
        "tenant": "acme",
        "owner": "acme",
        "operator": False,
        "queue": "usersequence_acme",
        "has_queue": True,
        "backlog": {"ready": 1, "unacknowledged": 0},
        "rate_limit": "10/60s:2",
        "task_rate_limits": {},
        "weight": 2.0,
        "max_concurrency": 3,
        "burst_when_idle": False,
        "max_backlog": 1000,
        "priority_rate_limits": {},
        "paused": True,
    }
    assert (tenant["scope"], tenant["limit"], tenant["capacity"]) == ("tenant", "10/1m:2", 2)
    assert tenant["refill_per_second"] == pytest.approx(10 / 60)
    assert 0 <= tenant["tokens"] < 1
    assert 3 < tenant["next_token_in"] <= 6
    assert (task["scope"], task["tokens"], task["next_token_in"]) == ("shop.thumbnail", 5, 0)


def test_me_shows_the_tenants_own_rate_for_a_task(acme: Client, turns: TakeTurns) -> None:
    """The rate that an operator set for a tenant's task takes the place of the task's own."""
    turns.registry.update("acme", task_rate_limits={"shop.thumbnail": "1/1h"})
    (limit,) = acme.get("/me").json()["limits"]
    assert (limit["scope"], limit["limit"]) == ("shop.thumbnail", "1/1h")


def test_me_of_a_newcomer_is_all_defaults(acme: Client, settings: Settings) -> None:
    """A tenant that was never seen before has the default settings and an empty backlog."""
    me = acme.get("/me").json()
    assert (me["has_queue"], me["backlog"]) == (False, {"ready": 0, "unacknowledged": 0})
    assert (me["rate_limit"], me["weight"], me["paused"]) == (None, 1.0, False)
    limited = replace(settings, limiter=settings.limiter.model_copy(update={"default_rate_limit": "7/1s"}))
    with serving(shop(limited)) as api, api.as_("acme") as client:
        assert client.get("/me").json()["limits"][0]["limit"] == "7/1s"


# ---- the document


def test_every_operation_is_documented(api: Client) -> None:
    """The OpenAPI document has the package's version, and for each operation a summary and its errors."""
    document = api.get("/openapi.json").json()
    assert document["info"]["version"] == taketurns.__version__
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("post", "/tasks"),
        ("get", "/tasks"),
        ("delete", "/tasks"),
        ("post", "/tasks/batch"),
        ("get", "/tasks/{task_id}"),
        ("delete", "/tasks/{task_id}"),
        ("get", "/tasks/{task_id}/events"),
        ("get", "/events"),
        ("get", "/schedules"),
        ("post", "/schedules"),
        ("get", "/schedules/{name}"),
        ("patch", "/schedules/{name}"),
        ("delete", "/schedules/{name}"),
        ("get", "/me"),
        ("get", "/me/stats"),
        ("get", "/me/dead-letters"),
        ("delete", "/me/dead-letters"),
        ("post", "/me/dead-letters/replay"),
        ("get", "/me/dead-letters/{letter_id}"),
        ("delete", "/me/dead-letters/{letter_id}"),
        ("post", "/me/dead-letters/{letter_id}/replay"),
        ("get", "/tenants"),
        ("post", "/tenants"),
        ("get", "/tenants/{tenant}"),
        ("get", "/tenants/{tenant}/explain"),
        ("get", "/tenants/{tenant}/stats"),
        ("post", "/tenants/{tenant}/purge"),
        ("post", "/tenants/{tenant}/tasks/{task_id}/release"),
        ("patch", "/tenants/{tenant}"),
        ("delete", "/tenants/{tenant}"),
        ("get", "/dead-letters"),
        ("delete", "/dead-letters"),
        ("post", "/dead-letters/replay"),
        ("get", "/dead-letters/{letter_id}"),
        ("delete", "/dead-letters/{letter_id}"),
        ("post", "/dead-letters/{letter_id}/replay"),
        ("get", "/workers"),
        ("get", "/status"),
        ("get", "/health/live"),
        ("get", "/health/ready"),
    }
    for (_, path), operation in operations.items():
        assert operation["summary"]
        assert operation["tags"]
        errors = {status for status in operation["responses"] if status >= "400"}
        assert path.startswith("/health") or "401" in errors
        assert "requestBody" not in operation or "413" in errors
        assert path.startswith("/health") or path == "/status" or "503" in errors
        for status in errors:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]["$ref"]
            shapes = {"/health/ready": "Ready", "/tasks/batch": "BatchProblem"}
            assert schema.rsplit("/", 1)[-1] in (shapes.get(path, "Problem"), "Problem")
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_docs_page_needs_no_other_host(page: str, api: Client) -> None:
    """What it loads is served here, for networks that reach no CDN."""
    response = api.get(page)
    assert response.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert loaded
    assert "//" not in "".join(loaded)
    for path in loaded:
        assert api.get(path).status_code == 200, path


def test_a_path_that_is_not_there_is_an_error_of_the_same_shape(api: Client) -> None:
    """FastAPI's own errors have the one shape too."""
    assert_problem(api.get("/nothing"), 404, code="not_found")
    response = api.put("/tasks")
    assert_problem(response, 405, code="method_not_allowed")
    assert response.headers["Allow"] == "DELETE, GET, POST"
    assert api.get("/tasks/batch").status_code == 401  # as the task of this id
    assert api.patch("/tasks/batch").headers["Allow"] == "POST"
    assert api.put("/tenants/acme").headers["Allow"] == "DELETE, GET, PATCH"
    response = api.patch("/tenants/acme/purge")
    assert_problem(response, 405, code="method_not_allowed")
    assert response.headers["Allow"] == "POST"
