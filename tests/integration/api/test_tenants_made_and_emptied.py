"""The HTTP API on a real broker and a real Redis: tenants that are created, counted, purged and removed by force."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.api_server import Client, assert_problem
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

NAP = {"name": "shop.nap", "args": [0]}


def submit(operator: Client, tenant: str, count: int = 1) -> None:
    with operator.as_(tenant) as client:
        for _ in range(count):
            response = client.post("/tasks", json=NAP)
            assert response.status_code == 202, response.text


def test_a_tenant_is_created(operator: Client, turns: TakeTurns) -> None:
    """201 with all that is set, and where it is; without an id it has one of its own. Then it exists."""
    response = operator.post(
        "/tenants", json={"tenant": "acme", "rate_limit": "5/1m", "metadata": {"a": None}, "weight": None}
    )
    assert response.status_code == 201, response.text
    acme = response.json()
    assert (acme["rate_limit"], acme["metadata"], acme["weight"], acme["has_queue"]) == (
        "5/1m",
        {"a": None},
        1.0,
        True,
    )
    assert operator.get(response.headers["Location"]).json() == acme
    batch = operator.post("/tenants", json={}).json()["tenant"]
    assert batch.startswith("batch_")
    message = assert_problem(operator.post("/tenants", json={"tenant": "acme"}), 409, code="exists")
    assert "'acme' already" in message
    assert {each.tenant for each in turns.list()} == {"acme", batch}
    with operator.as_("acme") as tenant:
        assert_problem(tenant.post("/tenants", json={}), 403, code="forbidden")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": 7}, "tenant"),
        ({"tenant": "acme", "rate_limit": "0/1s"}, "rate_limit"),
        ({"tenant": "acme", "weight": 0}, "weight"),
        ({"tenant": "acme", "colour": "red"}, "colour"),
        ([], "body"),
    ],
)
def test_a_tenant_of_another_form_is_refused(
    body: object, field: str, operator: Client, turns: TakeTurns
) -> None:
    """With a 422 that names the field, and without a trace."""
    assert_problem(operator.post("/tenants", json=body), 422, code="invalid_input", field=field)
    assert turns.list() == []


def test_a_tenants_tasks_are_counted(
    operator: Client, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """As they wait and have ended; with what is left of the rates."""
    operator.post("/tenants", json={"tenant": "acme", "rate_limit": "100/1s", "paused": True})
    submit(operator, "acme", 3)
    stats = operator.get("/tenants/acme/stats").json()
    (rate, of_task) = stats.pop("limits")
    assert (rate["scope"], rate["limit"], rate["tokens"]) == ("tenant", "100/1s", 1)
    assert of_task["scope"] == "shop.thumbnail"
    assert stats.pop("created_at") == pytest.approx(time.time(), abs=60)
    assert stats == {
        "tenant": "acme",
        "waiting": 3,
        "running": 0,
        "completed": 0,
        "failed": 0,
        "share": None,
        "queued": {"low": 0, "normal": 3, "high": 0},
        "delayed": 0,
        "waits": None,
        "runs": None,
    }
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", app="support.api_app"):
        operator.patch("/tenants/acme", json={"paused": False})
        eventually(lambda: operator.get("/tenants/acme/stats").json()["completed"] == 3)
        ran = operator.get("/tenants/acme/stats").json()["runs"]
        assert ran["count"] == 3
        assert ran["p50"] <= ran["p95"] <= ran["p99"]
    assert operator.get("/tenants/acme").json()["completed"] == 3
    assert_problem(operator.get("/tenants/nobody/stats"), 404, code="not_found")
    assert_problem(operator.get("/tenants/a b/stats"), 422, code="invalid_input", field="tenant")


def test_what_waits_is_purged(operator: Client, turns: TakeTurns, eventually: Eventually) -> None:
    """And counted; the tenant and its settings stay."""
    turns.create("acme", weight=2)
    submit(operator, "acme", 3)
    answer = operator.post("/tenants/acme/purge")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"tenant": "acme", "purged": 3, "running": 0, "silent": [], "due_until": None}
    eventually(lambda: operator.get("/tenants/acme/stats").json()["waiting"] == 0)
    assert operator.get("/tenants/acme").json()["weight"] == 2
    assert_problem(operator.post("/tenants/nobody/purge"), 404, code="not_found")
    assert_problem(operator.post("/tenants/a b/purge"), 422, code="invalid_input", field="tenant")
    with operator.as_("acme") as tenant:
        assert_problem(tenant.post("/tenants/acme/purge"), 403, code="forbidden")


def test_what_waits_for_a_task_is_let_go(operator: Client, turns: TakeTurns) -> None:
    """Once; for operators alone, and for ids that a task can have."""
    with operator.as_("acme") as tenant:
        parent = tenant.post("/tasks", json=NAP).json()["task_id"]
        for _ in range(2):
            child = tenant.post("/tasks", json={**NAP, "depends_on": [parent]}).json()
            assert child["status"] == "BLOCKED"
        path = f"/tenants/acme/tasks/{parent}/release"
        assert_problem(tenant.post(path), 403, code="forbidden")
        answer = operator.post(path)
        assert (answer.status_code, answer.json()) == (
            200,
            {"tenant": "acme", "task_id": parent, "released": 2},
        )
        assert tenant.get(f"/tasks/{child['task_id']}").json()["status"] == "QUEUED"
    assert turns.publisher.waiting("usersequence_acme") == 3
    assert operator.post(path).json()["released"] == 0
    for wrong, field in ((f"/tenants/acme/tasks/{'x' * 101}", "task_id"), ("/tenants/a b/tasks/x", "tenant")):
        assert_problem(operator.post(f"{wrong}/release"), 422, code="invalid_input", field=field)


def test_a_tenant_with_tasks_is_removed_by_force(operator: Client, turns: TakeTurns) -> None:
    """Which must be a yes or no."""
    submit(operator, "acme", 2)
    assert_problem(operator.delete("/tenants/acme"), 409, code="in_use")
    wrong = operator.delete("/tenants/acme", params={"force": "maybe"})
    assert_problem(wrong, 422, code="invalid_input", field="force")
    assert operator.delete("/tenants/acme", params={"force": "true"}).status_code == 204
    assert turns.list() == []
    assert_problem(operator.delete("/tenants/acme?force=true"), 404, code="not_found")
