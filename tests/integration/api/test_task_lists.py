"""A tenant's own tasks over HTTP: options of a submission, lists, cancelling."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.api_server import Client
    from taketurns import TakeTurns

    Eventually = Callable[..., None]


def submit(client: Client, **options: Any) -> str:
    response = client.post("/tasks", json={"name": "shop.anything", **options})
    assert response.status_code == 202, response.text
    return str(response.json()["task_id"])


def ids(client: Client, **filters: Any) -> list[str]:
    answer = client.get("/tasks", params=filters)
    assert answer.status_code == 200, answer.text
    return [task["task_id"] for task in answer.json()["tasks"]]


def test_a_submission_takes_the_options_of_a_task(acme: Client) -> None:
    task_id = submit(acme, priority="high", countdown=60, max_retries=0, time_limit=9, tags=["a", "b=1"])
    state = acme.get(f"/tasks/{task_id}").json()
    assert (state["status"], state["priority"], state["tags"]) == ("DELAYED", "high", ["a", "b=1"])
    assert state["due_at"] == pytest.approx(time.time() + 60, abs=20)
    later = acme.post("/tasks", json={"name": "shop.anything", "countdown": 60, "soft_time_limit": 5})
    assert (later.status_code, later.json()["status"]) == (202, "DELAYED")
    soon = submit(acme, eta="2020-01-01T00:00:00Z", expires=60)
    assert acme.get(f"/tasks/{soon}").json()["status"] == "QUEUED"


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_submission_may_depend_on_tasks_of_its_own_tenant(acme: Client, api: Client) -> None:
    parent = submit(acme)
    response = acme.post("/tasks", json={"name": "shop.anything", "depends_on": [parent]})
    assert (response.status_code, response.json()["status"]) == (202, "BLOCKED")
    child = response.json()["task_id"]
    state = acme.get(f"/tasks/{child}").json()
    assert (state["status"], state["depends_on"]) == ("BLOCKED", [parent])
    assert ids(acme, state="BLOCKED") == [child]
    with api.as_("bolt") as bolt:
        for client, parents in ((bolt, [parent]), (acme, [parent, "unknown"])):
            refused = client.post("/tasks", json={"name": "shop.anything", "depends_on": parents})
            assert_problem(refused, 422, code="invalid_input", field="depends_on")
    assert acme.delete(f"/tasks/{parent}").json()["status"] == "CANCELLED"
    failed = acme.get(f"/tasks/{child}").json()
    assert (failed["status"], failed["error"]["type"]) == ("FAILURE", "DependencyFailed")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"priority": 1}, "priority"),
        ({"countdown": -1}, "countdown"),
        ({"countdown": 1e9}, "countdown"),
        ({"countdown": "5"}, "countdown"),
        ({"eta": "tomorrow"}, "eta"),
        ({"eta": "2026-01-01", "countdown": 1}, "eta"),
        ({"eta": "9999-01-01"}, "eta"),
        ({"expires": 0}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"expires": 1e300}, "expires"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"time_limit": 0}, "time_limit"),
        ({"soft_time_limit": 0}, "soft_time_limit"),
        ({"soft_time_limit": 5, "time_limit": 1}, "soft_time_limit"),
        ({"depends_on": "x"}, "depends_on"),
        ({"depends_on": [1]}, "depends_on"),
        ({"depends_on": [""]}, "depends_on"),
        ({"tags": [""]}, "tags"),
        ({"tags": ["x" * 101]}, "tags"),
        ({"tags": "x"}, "tags"),
        ({"queue": "celery"}, "queue"),
    ],
)
def test_an_option_that_is_none_is_refused(options: dict[str, Any], field: str, acme: Client) -> None:
    response = acme.post("/tasks", json={"name": "shop.anything", **options})
    assert response.status_code == 422, response.text
    assert response.json()["field"].split(".")[0] == field
    assert ids(acme) == [], "and nothing was submitted"


def test_a_tenant_lists_its_own_tasks_by_pages_and_filters(api: Client, acme: Client) -> None:
    first, second, third = (submit(acme, tags=tags) for tags in (["x"], [], ["x", "y"]))
    with api.as_("bolt") as bolt:
        submit(bolt, tags=["x"])
        assert len(ids(bolt)) == 1
    assert ids(acme) == [third, second, first]
    assert ids(acme, tag="x") == [third, first]
    assert ids(acme, state=["RUNNING", "QUEUED"], name="shop.anything", since="1h") == [third, second, first]
    assert ids(acme, state="SUCCESS") == ids(acme, until="1h") == ids(acme, name="other") == []
    page = acme.get("/tasks", params={"limit": 2}).json()
    assert [task["task_id"] for task in page["tasks"]] == [third, second]
    assert ids(acme, limit=2, cursor=page["cursor"]) == [first]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"state": "DONE"}, "state"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "nan:x"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"since": "x"}, "since"),
        ({"sort": "name"}, "sort"),
    ],
)
def test_a_list_refuses_what_it_does_not_know(query: dict[str, Any], field: str, acme: Client) -> None:
    answer = acme.get("/tasks", params=query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].split(".")[0] == field


def test_a_tenant_cancels_its_own_tasks_and_nobody_elses(api: Client, acme: Client) -> None:
    task_id = submit(acme)
    with api.as_("mallory") as mallory:
        assert_problem(mallory.delete(f"/tasks/{task_id}"), 404, code="not_found")
        assert mallory.delete("/tasks", params={"all": True}).json()["cancelled"] == 0
    assert acme.get(f"/tasks/{task_id}").json()["status"] == "QUEUED"
    for _ in range(2):
        answer = acme.delete(f"/tasks/{task_id}")
        assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    assert_problem(acme.delete("/tasks/unknown"), 404, code="not_found")


def test_tasks_are_cancelled_by_filter(acme: Client, turns: TakeTurns) -> None:
    tagged = [submit(acme, tags=["batch"]) for _ in range(3)]
    other = submit(acme)
    assert_problem(acme.delete("/tasks"), 422, code="invalid_input", field="all")
    assert_problem(
        acme.delete("/tasks", params={"all": True, "tag": "x"}), 422, code="invalid_input", field="all"
    )
    done = acme.delete("/tasks", params={"tag": "batch"}).json()
    assert done == {"cancelled": 3, "running": 0, "terminated": 0, "silent": []}
    assert acme.delete("/tasks", params={"tag": "batch"}).json()["cancelled"] == 0
    assert {acme.get(f"/tasks/{each}").json()["status"] for each in tagged} == {"CANCELLED"}
    assert acme.get(f"/tasks/{other}").json()["status"] == "QUEUED"
    assert sorted(turns.registry.cancellations.since(0.0)[0]) == sorted(tagged)
