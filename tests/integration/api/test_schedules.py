"""A tenant's schedules over HTTP: its own, of exposed tasks, with arguments that fit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import Client, assert_problem, serving, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns import TakeTurns
    from taketurns.settings import Settings

JSON = {"Content-Type": "application/json"}
NIGHTLY = {"name": "nightly", "task": "shop.thumbnail", "args": ["i-1"], "cron": "30 2 * * *"}


@pytest.fixture
def bolt(api: Client) -> Iterator[Client]:
    with api.as_("bolt") as client:
        yield client


def test_a_schedule_is_created_seen_changed_and_removed(acme: Client, turns: TakeTurns) -> None:
    response = acme.post("/schedules", json={**NIGHTLY, "timezone": "Europe/Berlin", "missed": "once"})
    assert response.status_code == 201, response.text
    assert response.headers["Location"] == "/schedules/nightly"
    made = response.json()
    stored = turns.schedules.get("acme", "nightly")
    assert (made["next_due_at"], made["created_at"]) == (stored.next_due_at, stored.created_at)
    assert {name: made[name] for name in ("tenant", "cron", "every", "timezone", "missed", "kwargs")} == {
        "tenant": "acme",
        "cron": "30 2 * * *",
        "every": None,
        "timezone": "Europe/Berlin",
        "missed": "once",
        "kwargs": {},
    }
    assert acme.get("/schedules/nightly").json() == made
    assert acme.get("/schedules").json() == {"schedules": [made], "beat": False}
    assert turns.registry.lead("beat", "somebody", 30)
    assert acme.get("/schedules").json()["beat"] is True
    changed = acme.patch("/schedules/nightly", json={"every": "1h", "kwargs": {"size": 3}}).json()
    assert (changed["every"], changed["cron"], changed["timezone"]) == ("1h", None, None)
    assert (changed["args"], changed["kwargs"], changed["missed"]) == (["i-1"], {"size": 3}, "once")
    assert (changed["priority"], changed["expires"]) == (None, None)
    changed = acme.patch("/schedules/nightly", json={"priority": "low", "expires": 3600}).json()
    assert (changed["priority"], changed["expires"]) == ("low", 3600.0)
    assert acme.patch("/schedules/nightly", json={"paused": True}).json()["next_due_at"] is None
    assert acme.patch("/schedules/nightly", json={}).json()["paused"] is True
    assert_problem(acme.post("/schedules", json=NIGHTLY), 409, code="exists")
    assert acme.delete("/schedules/nightly").status_code == 204
    assert_problem(acme.delete("/schedules/nightly"), 404, code="not_found")
    assert acme.get("/schedules").json()["schedules"] == []


def test_a_tenant_sees_and_changes_only_its_own(acme: Client, bolt: Client, turns: TakeTurns) -> None:
    """Another's is not there, as one that there is not; and both may have one of the same name."""
    acme.post("/schedules", json=NIGHTLY).raise_for_status()
    before = turns.schedules.get("acme", "nightly")
    for method, body in (("GET", None), ("PATCH", {"paused": True}), ("DELETE", None)):
        theirs = bolt.request(method, "/schedules/nightly", json=body)
        assert assert_problem(theirs, 404, code="not_found") == "tenant 'bolt' has no schedule 'nightly'"
    assert bolt.get("/schedules").json()["schedules"] == []
    bolt.post("/schedules", json=NIGHTLY).raise_for_status()
    bolt.delete("/schedules/nightly").raise_for_status()
    assert_problem(
        bolt.post("/schedules", json={**NIGHTLY, "tenant": "acme"}), 422, code="invalid_input", field="tenant"
    )
    assert turns.schedules.get("acme", "nightly") == before


def test_only_exposed_tasks_can_be_scheduled(acme: Client, turns: TakeTurns) -> None:
    """And a schedule of another one, which an operator has made, is not there over HTTP."""
    acme.post("/schedules", json=NIGHTLY).raise_for_status()
    for name in ("shop.nothing", "shop.internal", "shop.ordinary", "celery.chord"):
        told = acme.post("/schedules", json={"name": "x", "task": name, "every": "1s"})
        assert_problem(told, 422, code="unknown_task", field="task")
        assert_problem(
            acme.patch("/schedules/nightly", json={"task": name}), 422, code="unknown_task", field="task"
        )
    turns.schedules.create("acme", "hidden", "shop.internal", every="1h")
    for method, body in (("GET", None), ("PATCH", {"args": []}), ("DELETE", None)):
        assert_problem(acme.request(method, "/schedules/hidden", json=body), 404, code="not_found")
    assert [each["name"] for each in acme.get("/schedules").json()["schedules"]] == ["nightly"]
    assert turns.schedules.get("acme", "hidden").every == "1h"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": "* * * *"}, "cron"),
        ({"cron": None}, "cron"),
        ({"every": "30s"}, "cron"),
        ({"cron": None, "every": "30"}, "every"),
        ({"timezone": "Europe/Nowhere"}, "timezone"),
        ({"missed": "maybe"}, "missed"),
        ({"paused": "yes"}, "paused"),
        ({"priority": "urgent"}, "priority"),
        ({"expires": 0}, "expires"),
        ({"expires": 1e9}, "expires"),
        ({"args": []}, "args"),
        ({"args": ["i-1", 2, 3]}, "args"),
        ({"kwargs": {"colour": 1}}, "kwargs"),
        ({"kwargs": {"size": "\ud800"}}, "kwargs"),
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"task": ""}, "task"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_is_no_schedule_is_refused(
    changes: dict[str, Any], field: str, acme: Client, turns: TakeTurns
) -> None:
    """With a 422 that names the field, at creation and when it is changed."""
    made = acme.post("/schedules", content=json.dumps({**NIGHTLY, **changes}), headers=JSON)
    assert_problem(made, 422, code="invalid_input", field=field)
    assert turns.schedules.list() == []
    if "name" in changes or "every" in changes:
        return
    acme.post("/schedules", json=NIGHTLY).raise_for_status()
    changed = acme.patch("/schedules/nightly", content=json.dumps(changes), headers=JSON)
    assert_problem(changed, 422, code="invalid_input", field=field)
    assert turns.schedules.get("acme", "nightly").cron == NIGHTLY["cron"]


def test_more_than_a_tenant_may_have_are_refused(settings: Settings) -> None:
    few = replace(settings, schedules=settings.schedules.model_copy(update={"per_tenant": 1}))
    with serving(shop(few)) as api, api.as_("acme") as acme:
        acme.post("/schedules", json=NIGHTLY).raise_for_status()
        assert_problem(acme.post("/schedules", json={**NIGHTLY, "name": "other"}), 409, code="too_many")


def test_without_a_token_there_are_none(api: Client) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/x"), ("PATCH", "/x"), ("DELETE", "/x")):
        assert_problem(api.request(method, f"/schedules{path}"), 401, code="not_authenticated")
