"""Callers whose tenant is shared with others: fairness by tenant, isolation by owner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.api_server import Client, assert_problem, serving, shop
from support.letters import bury
from support.sse import Frames
from taketurns.resolving import Tenancy
from taketurns.tenant_key import TenantFunction, TenantKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taketurns.settings import Settings

TASK = {"name": "shop.anything"}
WITHIN = 10.0


def keyed(settings: Settings, function: TenantFunction) -> Any:
    """Return the shop with a tenant key."""
    turns = shop(settings)
    turns.tenancy = Tenancy(key=TenantKey(function))
    return turns


def test_owners_share_a_queue_and_see_only_their_own(settings: Settings) -> None:
    """Another owner's task is as unknown as one that does not exist, although it waits in the same queue."""
    turns = keyed(settings, lambda owner: owner.partition(".")[2])
    with serving(turns) as api, api.as_("ann.acme") as ann, api.as_("ben.acme") as ben:
        accepted = ann.post("/tasks", json=TASK).json()
        assert (accepted["tenant"], accepted["queue"]) == ("ann.acme", "usersequence_acme")
        assert ben.post("/tasks", json=TASK).json()["queue"] == "usersequence_acme"
        task = f"/tasks/{accepted['task_id']}"
        assert ann.get(task).json()["queue"] == "usersequence_acme"
        assert_problem(ben.get(task), 404, code="not_found")
        with api.as_("acme") as stranger:  # named like the tenant, mapped to another one
            assert_problem(stranger.get(task), 404, code="not_found")
        turns.update("acme", rate_limit="5/1h")
        for client, owner in ((ann, "ann.acme"), (ben, "ben.acme")):
            me = client.get("/me").json()
            assert (me["owner"], me["tenant"], me["rate_limit"]) == (owner, "acme", "5/1h")
            assert me["backlog"]["ready"] == 2


@pytest.fixture
def turns(settings: Settings) -> Any:
    """The shop, where what is after the dot is the tenant."""
    return keyed(settings, lambda owner: owner.partition(".")[2] or owner)


@pytest.fixture
def ann(api: Client) -> Iterator[Client]:
    with api.as_("ann.acme") as client:
        yield client


@pytest.fixture
def ben(api: Client) -> Iterator[Client]:
    with api.as_("ben.acme") as client:
        yield client


def submitted(client: Client, **more: Any) -> str:
    """Submit a task, and return its id."""
    response = client.post("/tasks", json={**TASK, **more})
    assert response.status_code == 202, response.text
    assert response.json()["queue"] == "usersequence_acme"
    return str(response.json()["task_id"])


def listed(client: Client, **filters: str) -> list[str]:
    response = client.get("/tasks", params=filters)
    assert response.status_code == 200, response.text
    return [each["task_id"] for each in response.json()["tasks"]]


def test_nobody_lists_or_cancels_the_tasks_of_who_shares_its_tenant(ann: Client, ben: Client) -> None:
    """Neither by an id nor by a filter that fits them, and without a sign that they are there."""
    mine, theirs = submitted(ann, tags=["import"]), submitted(ben, tags=["import"])
    batch = ben.post("/tasks/batch", json=[{**TASK, "tags": ["import"]}] * 2).json()
    assert batch["tenant"] == "ben.acme"
    of_ben = {theirs, *(each["task_id"] for each in batch["tasks"])}
    assert listed(ann) == listed(ann, tag="import") == [mine]
    assert set(listed(ben)) == of_ben
    assert_problem(ann.delete(f"/tasks/{theirs}"), 404, code="not_found")
    assert ann.delete("/tasks", params={"tag": "import"}).json()["cancelled"] == 1
    assert ann.get(f"/tasks/{mine}").json()["status"] == "CANCELLED"
    assert {ben.get(f"/tasks/{each}").json()["status"] for each in of_ben} == {"QUEUED"}
    assert ben.get(f"/tasks/{theirs}").json()["queue"] == "usersequence_acme"


def test_nobody_hears_of_the_tasks_of_who_shares_its_tenant(ann: Client, ben: Client) -> None:
    """By server-sent events of a task and of all tasks, and by a WebSocket."""
    theirs = submitted(ben)
    assert_problem(ann.get(f"/tasks/{theirs}/events"), 404, code="not_found")
    url = f"ws://{ann.base_url.host}:{ann.base_url.port}/ws/tasks/{theirs}"
    headers = {"Authorization": ann.headers["Authorization"]}
    with connect(url, proxy=None, open_timeout=WITHIN, additional_headers=headers) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(WITHIN)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4404
    with Frames(ann, "/events") as stream:
        assert stream.kinds(1) == ["connected"]
        submitted(ben)
        mine = submitted(ann)
        heard = json.loads(stream.take(1)[0].data)
        assert (heard["event"], heard["task_id"]) == ("queued", mine)


def test_nobody_depends_on_the_tasks_of_who_shares_its_tenant(ann: Client, ben: Client) -> None:
    """Their ids are unknown ids; in a batch too."""
    mine, theirs = submitted(ann), submitted(ben)
    refused = ann.post("/tasks", json={**TASK, "depends_on": [theirs]})
    unknown = ann.post("/tasks", json={**TASK, "depends_on": ["nothing"]})
    told = assert_problem(refused, 422, code="invalid_input", field="depends_on")
    assert told.replace(theirs, "nothing") == unknown.json()["message"]
    assert_problem(
        ann.post("/tasks", json={**TASK, "depends_on": [mine, theirs]}),
        422,
        code="invalid_input",
        field="depends_on",
    )
    child = ann.post("/tasks", json={**TASK, "depends_on": [mine]}).json()
    assert child["status"] == "BLOCKED"
    assert ann.get(f"/tasks/{child['task_id']}").json()["queue"] == "usersequence_acme"


def test_idempotency_keys_are_the_owners(ann: Client, ben: Client) -> None:
    """The same key of two owners that share a tenant is two keys, whatever the tasks are; in a batch too."""
    first = ann.post("/tasks", json={**TASK, "idempotency_key": "order-1"}).json()
    assert ann.post("/tasks", json={**TASK, "idempotency_key": "order-1"}).json() == {
        **first,
        "duplicate": True,
    }
    other = ben.post("/tasks", json={**TASK, "args": [2], "idempotency_key": "order-1"}).json()
    assert other["duplicate"] is False
    assert other["task_id"] != first["task_id"]
    (entry,) = ben.post("/tasks/batch", json=[{**TASK, "args": [2], "idempotency_key": "order-1"}]).json()[
        "tasks"
    ]
    assert (entry["task_id"], entry["duplicate"]) == (other["task_id"], True)


def test_schedules_are_the_owners(turns: Any, ann: Client, ben: Client) -> None:
    """One name is two schedules; to remove the tenant removes no owner's."""
    nightly = {"name": "nightly", "task": "shop.anything", "cron": "30 2 * * *"}
    assert ann.post("/schedules", json=nightly).status_code == 201
    assert_problem(ben.get("/schedules/nightly"), 404, code="not_found")
    assert ben.get("/schedules").json()["schedules"] == []
    assert_problem(ben.patch("/schedules/nightly", json={"paused": True}), 404, code="not_found")
    assert_problem(ben.delete("/schedules/nightly"), 404, code="not_found")
    assert ben.post("/schedules", json={**nightly, "paused": True}).status_code == 201
    assert ann.get("/schedules/nightly").json()["paused"] is False
    turns.update("acme", weight=2)
    turns.remove("acme")
    assert [client.get("/schedules/nightly").status_code for client in (ann, ben)] == [200, 200]


def test_dead_letters_are_the_owners(turns: Any, api: Client, ann: Client, ben: Client) -> None:
    """Who shares a tenant neither sees, nor replays, nor discards them; operators can tell them apart."""
    bury(turns, "d-1", owner="ann.acme")
    bury(turns, "d-2", owner="ben.acme")
    bury(turns, "d-3")  # of nobody but the tenant
    assert [each["id"] for each in ann.get("/me/dead-letters").json()["letters"]] == ["d-1"]
    for letter in ("d-2", "d-3"):
        for method, path in (("GET", ""), ("POST", "/replay"), ("DELETE", "")):
            assert_problem(ann.request(method, f"/me/dead-letters/{letter}{path}"), 404, code="not_found")
    assert ann.post("/me/dead-letters/replay", json={"task_id": "task-d-2"}).json() == {"replayed": 0}
    assert ann.delete("/me/dead-letters", params={"all": True}).json() == {"discarded": 1}
    assert ben.post("/me/dead-letters/replay", json={"all": True}).json() == {"replayed": 1}
    assert ben.get("/tasks/task-d-2").json()["queue"] == "usersequence_acme"
    assert listed(ann) == []
    with api.as_("root", operator=True) as operator:
        (letter,) = operator.get("/dead-letters", params={"tenant": "acme"}).json()["letters"]
        assert (letter["id"], letter["owner"]) == ("d-3", "acme")
        assert operator.get("/dead-letters", params={"owner": "ben.acme"}).json()["letters"] == []


def test_statistics_are_of_the_tenant_and_what_is_recorded_of_the_owner(
    turns: Any, api: Client, ann: Client, ben: Client, eventually: Callable[..., None]
) -> None:
    """Operators see the tenant, and none of what only its owners have."""
    for _ in range(3):
        submitted(ann, priority="high")
    submitted(ben)
    eventually(lambda: ben.get("/me/stats").json()["waiting"] == 4)
    found = ben.get("/me/stats").json()
    assert (found["tenant"], found["queued"]) == ("acme", {"low": 0, "normal": 1, "high": 0})
    assert ann.get("/me/stats").json()["queued"]["high"] == 3
    with api.as_("root", operator=True) as operator:
        found = operator.get("/tenants/acme/stats").json()
    assert (found["waiting"], found["queued"], found["delayed"], found["waits"]) == (4, None, None, None)
    # A task is throttled by the limits of the tenant.
    turns.update("acme", rate_limit="1/1d")
    limits = turns.limits.of("acme", "shop.anything", None, None)
    assert turns.limiter.admit("acme", "shop.anything", limits, lease="task-1").admitted
    eventually(lambda: ben.get("/tasks").json()["tasks"][0]["status"] == "THROTTLED")


def test_by_default_owner_and_tenant_are_the_same(settings: Settings) -> None:
    """As there was nothing else before."""
    with serving(shop(settings)) as api, api.as_("acme") as acme:
        me = acme.get("/me").json()
        assert (me["owner"], me["tenant"], me["queue"]) == ("acme", "acme", "usersequence_acme")


def test_a_key_that_returns_no_tenant_is_told(settings: Settings) -> None:
    """With the function and the owner, and nothing is submitted."""
    with serving(keyed(settings, lambda _: "no tenant")) as api, api.as_("acme") as acme:
        for response in (acme.post("/tasks", json=TASK), acme.get("/me")):
            assert response.status_code == 422
            assert "returned for 'acme'" in response.json()["message"]


def test_a_place_without_a_function_is_told_at_the_start(settings: Settings) -> None:
    """Not at the first request."""
    turns = shop(settings)
    turns.tenancy = Tenancy(key=TenantKey("nowhere:f"))
    with pytest.raises(Exception, match=r"TAKETURNS_TENANT_KEY_FUNCTION: 'nowhere:f'"), serving(turns):
        pass
