"""The HTTP API on a real broker and a real Redis: what an operator does with it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from support.api_server import Client, assert_problem
from support.nesting import nested
from support.workers import worker
from taketurns.reaper.service import ReaperService
from taketurns.topology import tenant_queue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

DEFAULTS: dict[str, Any] = {
    "rate_limit": None,
    "task_rate_limits": {},
    "weight": 1.0,
    "max_concurrency": None,
    "burst_when_idle": False,
    "max_backlog": None,
    "priority_rate_limits": {},
    "paused": False,
    "tags": {},
    "metadata": {},
}


def submit(operator: Client, tenant: str, name: str = "shop.anything", *args: object) -> str:
    """Submit a task for a tenant and return its path."""
    with operator.as_(tenant) as client:
        response = client.post("/tasks", json={"name": name, "args": list(args)})
        assert response.status_code == 202, response.text
        return f"/tasks/{response.json()['task_id']}"


def ready(turns: TakeTurns, tenant: str) -> int | None:
    queue = turns.management.queue(f"usersequence_{tenant}")
    return queue.ready if queue else None


def test_why_a_task_has_not_started(operator: Client, turns: TakeTurns, eventually: Eventually) -> None:
    """The operator is told what keeps a tenant's next task; a tenant is not, and no odd id is taken for a path."""
    submit(operator, "acme")
    eventually(lambda: ready(turns, "acme") == 1)
    answer = operator.get("/tenants/acme/explain")
    assert answer.status_code == 200
    assert answer.json() == {
        "tenant": "acme",
        "reason": "no_worker",
        "message": "no worker is running that serves tenants",
        "seconds": None,
        "position": None,
        "ready": 1,
        "running": 0,
        "workers": [],
        "silent": [],
    }
    assert_problem(operator.get("/tenants/nobody/explain"), 404, code="not_found")
    assert_problem(operator.get("/tenants/a b/explain"), 422, code="invalid_input", field="tenant")
    with operator.as_("acme") as acme:
        assert_problem(acme.get("/tenants/acme/explain"), 403, code="forbidden")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_only_operators_see_and_change_tenants(method: str, operator: Client) -> None:
    """A tenant's token gets a 403, for its own tenant too, whatever the path or the body says."""
    with operator.as_("acme") as acme:
        for path in ("/tenants/acme", "/tenants/a b", *(["/tenants"] if method == "GET" else [])):
            response = acme.request(method, path, json={"paused": True} if method == "PATCH" else None)
            assert_problem(response, 403, code="forbidden")


# ---- seeing


def test_the_list_merges_queues_and_settings(operator: Client, turns: TakeTurns) -> None:
    """Tenants with a queue and tenants with settings are listed together, in the order of their ids."""
    submit(operator, "b")
    submit(operator, "a")
    turns.registry.update("c", rate_limit="10/1s")
    turns.registry.update("a", weight=3.0)
    page = operator.get("/tenants").json()
    for each in page["tenants"]:
        assert each.pop("created_at") == pytest.approx(time.time(), abs=60)
    ended = {"completed": 0, "failed": 0}
    queued = {"has_queue": True, "backlog": {"ready": 1, "unacknowledged": 0}, **ended}
    none = {"has_queue": False, "backlog": {"ready": 0, "unacknowledged": 0}, **ended}
    assert page == {
        "tenants": [
            {"tenant": "a", "queue": "usersequence_a", **queued, **DEFAULTS, "weight": 3.0},
            {"tenant": "b", "queue": "usersequence_b", **queued, **DEFAULTS},
            {"tenant": "c", "queue": "usersequence_c", **none, **DEFAULTS, "rate_limit": "10/1s"},
        ],
        "total": 3,
        "next_cursor": None,
    }


def test_pages_cover_every_tenant_once(operator: Client, turns: TakeTurns) -> None:
    """Following next_cursor shows each tenant once, also if one disappears in between."""
    tenants = [f"t{n}" for n in range(7)]
    for tenant in tenants:
        turns.registry.update(tenant, weight=2.0)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = operator.get("/tenants", params={"limit": 2, "cursor": cursor}).json()
        seen += [each["tenant"] for each in page["tenants"]]
        cursor = page["next_cursor"]
        turns.registry.forget("t1")
    assert seen == tenants


def test_tenants_are_filtered_by_tags(operator: Client, turns: TakeTurns) -> None:
    """Repeated tags must all match, whether the tenant has a queue or not; the pages are of those that do."""
    submit(operator, "a")
    submit(operator, "untagged")
    turns.registry.update("a", tags={"plan": "pro", "region": "eu"})
    turns.registry.update("b", tags={"plan": "pro", "note": "a=b & c"})

    def names(*tags: str, **more: Any) -> tuple[list[str], int]:
        page = operator.get("/tenants", params={"tag": tags, **more}).json()
        return [each["tenant"] for each in page["tenants"]], page["total"]

    assert names("plan=pro") == (["a", "b"], 2)
    assert names("plan=pro", "region=eu") == (["a"], 1)
    assert names("note=a=b & c") == (["b"], 1)
    assert names("plan=free") == ([], 0)
    assert names("plan=pro", limit=1) == (["a"], 2)
    assert names() == (["a", "b", "untagged"], 3)
    (a,) = operator.get("/tenants", params={"tag": "region=eu"}).json()["tenants"]
    assert (a["has_queue"], a["backlog"]["ready"], a["tags"]) == (True, 1, {"plan": "pro", "region": "eu"})


def test_a_malformed_filter_names_the_tag(operator: Client) -> None:
    """What is no key=value gets a 422 that names ``tag``."""
    for tags in (["plan"], ["plan=pro", "=x"], ["plan="], ["a b=c"], [""], ["plan=pro", "plan=free"]):
        response = operator.get("/tenants", params={"tag": tags})
        assert_problem(response, 422, code="invalid_input", field="tag")


def test_a_bad_page_size_names_its_field(operator: Client) -> None:
    """A page has 1 to 1,000 tenants."""
    for limit in ("0", "1001", "x", ""):
        response = operator.get("/tenants", params={"limit": limit})
        assert_problem(response, 422, code="invalid_input", field="limit")


def test_one_tenant(operator: Client, turns: TakeTurns) -> None:
    """A tenant with a queue, one with settings, and none."""
    submit(operator, "acme")
    turns.registry.update("beta", paused=True)
    acme, beta = operator.get("/tenants/acme").json(), operator.get("/tenants/beta").json()
    assert (acme["has_queue"], acme["backlog"]["ready"], acme["paused"]) == (True, 1, False)
    assert (beta["has_queue"], beta["backlog"]["ready"], beta["paused"]) == (False, 0, True)
    assert_problem(operator.get("/tenants/gamma"), 404, code="not_found")


# ---- changing


def test_a_patch_changes_what_it_names(operator: Client) -> None:
    """Only given fields change, null brings the default back, and an empty patch changes nothing."""

    def patch(**changes: Any) -> dict[str, Any]:
        response = operator.patch("/tenants/acme", json=changes)
        assert response.status_code == 200, response.text
        settings = {name: response.json()[name] for name in DEFAULTS}
        if changes:
            assert {name: operator.get("/tenants/acme").json()[name] for name in DEFAULTS} == settings
        return settings

    assert patch() == DEFAULTS
    assert patch(rate_limit="10/60s:5", weight=2) == {**DEFAULTS, "rate_limit": "10/60s:5", "weight": 2.0}
    assert patch(max_concurrency=4, paused=True)["rate_limit"] == "10/60s:5"
    assert patch(rate_limit=None) == {**DEFAULTS, "weight": 2.0, "max_concurrency": 4, "paused": True}
    assert patch(weight=None, max_concurrency=None, paused=None) == DEFAULTS


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("burst_when_idle", [True]),
        ("task_rate_limits", [{"shop.mail": "1/1s"}, {"shop.nap": "10/60s:5"}]),
        ("priority_rate_limits", [{"low": "1/1s", "high": "10/60s:5"}, {"normal": "1/1h"}]),
        ("tags", [{"plan": "pro", "region": "eu"}, {"plan": "free", "note": "ä = \n"}]),
        ("metadata", [{"a": {"b": [1, 2.5, None, "ä"]}, "c": 10**30}, {"a": nested(31)}]),
    ],
)
def test_settings_without_limits_of_their_own_are_patched(
    operator: Client, field: str, values: list[object]
) -> None:
    """A mapping takes the old one's place, null brings the default back, and operators see what they set."""
    for value in [*values, DEFAULTS[field]]:
        response = operator.patch("/tenants/acme", json={field: value})
        assert response.json() | {field: value} == response.json(), response.text
        assert operator.get("/tenants/acme").json() == response.json()
    operator.patch("/tenants/acme", json={field: values[0]})
    assert operator.patch("/tenants/acme", json={field: None}).json()[field] == DEFAULTS[field]


def test_tags_and_metadata_are_the_operators_own(operator: Client, turns: TakeTurns) -> None:
    """A tenant sees its limits, and not what operators note about it."""
    turns.registry.update(
        "acme", tags={"risk": "high"}, metadata={"a": 1}, priority_rate_limits={"low": "1/1s"}
    )
    with operator.as_("acme") as acme:
        me = acme.get("/me").json()
    assert me["priority_rate_limits"] == {"low": "1/1s"}
    assert not {"tags", "metadata"} & me.keys()


BAD_VALUES: list[tuple[str, object]] = [
    ("rate_limit", "often"),
    ("rate_limit", "10/0s"),
    ("rate_limit", "0/1s"),
    ("rate_limit", ""),
    ("rate_limit", 10),
    ("rate_limit", "10/1s\n"),
    ("weight", 0),
    ("weight", -1),
    ("weight", float("nan")),
    ("weight", float("inf")),
    ("weight", "2"),
    ("weight", True),
    ("max_concurrency", 0),
    ("max_concurrency", 1.5),
    ("max_concurrency", "4"),
    ("max_backlog", 0),
    ("max_backlog", "4"),
    ("paused", "yes"),
    ("paused", 1),
    ("burst_when_idle", "yes"),
    ("burst_when_idle", 1),
    ("priority_rate_limits", {"low": "often"}),
    ("priority_rate_limits", {"urgent": "1/1s"}),
    ("priority_rate_limits", []),
    ("task_rate_limits", {"shop.mail": "often"}),
    ("task_rate_limits", []),
    ("tags", {"a b": "c"}),
    ("tags", {"a": ""}),
    ("tags", {"a": "\ud800"}),
    ("tags", ["a=b"]),
    ("tags", {f"k{n}": "v" for n in range(65)}),
    ("metadata", []),
    ("metadata", {"a": "x" * 20_000}),
    ("metadata", {"a": float("nan")}),
    ("metadata", {"a": "\ud800"}),
    ("metadata", {"a": nested(40)}),
    ("tenant", "other"),
    ("nonsense", 1),
]


def test_a_bad_value_names_its_field(operator: Client, turns: TakeTurns) -> None:
    """A malformed rate, a weight of 0 and the like get a 422 that names the field, and nothing changes."""
    for field, value in BAD_VALUES:
        content = json.dumps({"max_concurrency": 2, field: value})
        response = operator.patch(
            "/tenants/acme", content=content, headers={"Content-Type": "application/json"}
        )
        assert_problem(response, 422, code="invalid_input", field=field)
    assert not turns.registry.exists("acme")


def test_a_change_applies_at_once(
    operator: Client, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Workers learn of a change when it is made, not only when they look for changes by themselves."""
    assert operator.patch("/tenants/root", json={"paused": True}).status_code == 200
    task = submit(operator, "root", "shop.nap", 0)
    with worker(
        settings,
        tmp_path,
        *("-P", "threads", "-c", "1"),
        app="support.api_app",
        TAKETURNS_WORKER_HEARTBEAT_INTERVAL="60",
        TAKETURNS_WORKER_RECONCILE_INTERVAL="60",
    ):
        assert operator.get(task).json()["status"] == "QUEUED"
        assert operator.patch("/tenants/root", json={"paused": False}).status_code == 200
        eventually(lambda: operator.get(task).json()["status"] == "SUCCESS")


# ---- removing


def test_an_idle_tenant_can_be_removed(operator: Client, turns: TakeTurns) -> None:
    """Settings, queue and activity of a tenant without messages go; a second time it is unknown."""
    submit(operator, "acme")
    with turns.app.connection_for_write() as connection:
        tenant_queue("acme")(connection.default_channel).purge()
    turns.registry.update("acme", weight=2.0)
    response = operator.delete("/tenants/acme")
    assert response.status_code == 204, response.text
    assert response.content == b""
    assert turns.management.queue("usersequence_acme") is None
    assert not turns.registry.exists("acme")
    assert_problem(operator.delete("/tenants/acme"), 404, code="not_found")
    submit(operator, "acme")  # through the lost queue, if the API has not noticed yet
    ReaperService(turns).run_once()
    assert ready(turns, "acme") == 1


def test_a_tenant_that_is_served_can_be_removed(
    operator: Client, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """While a worker runs a task of the tenant nothing is removed; afterwards the worker lets go of its queue."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", app="support.api_app"):
        task = submit(operator, "root", "shop.nap", 1.5)
        eventually(lambda: operator.get("/me").json()["backlog"] == {"ready": 0, "unacknowledged": 1})
        message = assert_problem(operator.delete("/tenants/root"), 409, code="in_use")
        assert "1 message unacknowledged" in message
        eventually(lambda: operator.get(task).json()["status"] == "SUCCESS")
        eventually(lambda: operator.delete("/tenants/root").status_code == 204)
        assert operator.get("/me").json()["has_queue"] is False


def test_a_tenant_without_a_queue_can_be_removed(operator: Client, turns: TakeTurns) -> None:
    """Settings alone are removed too."""
    turns.registry.update("acme", weight=2.0)
    assert operator.delete("/tenants/acme").status_code == 204
    assert not turns.registry.exists("acme")


def test_a_tenant_with_messages_stays(operator: Client, turns: TakeTurns) -> None:
    """A queue that holds messages gets a 409 that says so; queue, message and settings stay."""
    submit(operator, "acme")
    turns.registry.update("acme", weight=2.0)
    message = assert_problem(operator.delete("/tenants/acme"), 409, code="in_use")
    assert "1 message" in message
    assert ready(turns, "acme") == 1
    assert turns.registry.get("acme").weight == 2.0
    assert turns.registry.draining() == set()


# ---- names

VALID = ["a.b", "A@b.co", "a:b", "a+b", "a-b_c", "0", "x" * 128, "a..b", "a.usersequence_b"]
INVALID = ["../x", "a/b", "a%2Fb", "a b", "a\x00b", "a\n", "a\nb", "\n", "x" * 129]
INVALID += ["ä", "日本", ".a", "-a", "a?b", "a#b", "*", "{x}"]


def test_every_valid_tenant_id_works_in_the_path(operator: Client, turns: TakeTurns) -> None:
    """A valid tenant id leads to this very tenant and its queue, whatever it is made of."""
    for number, tenant in enumerate(VALID, start=1):
        submit(operator, tenant)
        path = f"/tenants/{quote(tenant, safe='')}"
        assert operator.patch(path, json={"max_concurrency": number}).json()["tenant"] == tenant
        assert operator.get(path).json()["queue"] == f"usersequence_{tenant}"
        assert_problem(operator.delete(path), 409, code="in_use")
    assert {tenant: each.max_concurrency for tenant, each in turns.registry.all().items()} == {
        tenant: number for number, tenant in enumerate(VALID, start=1)
    }
    assert {name: queue.ready for name, queue in turns.management.tenant_queues().items()} == {
        f"usersequence_{tenant}": 1 for tenant in VALID
    }


def test_every_other_name_names_the_tenant(operator: Client, turns: TakeTurns) -> None:
    """What can be no tenant id gets a 422 that names ``tenant``, and touches nothing."""
    for tenant in INVALID:
        for method in ("GET", "PATCH", "DELETE"):
            response = operator.request(
                method,
                f"/tenants/{quote(tenant, safe='')}",
                json={"weight": 2.0} if method == "PATCH" else None,
            )
            assert_problem(response, 422, code="invalid_input", field="tenant")
    assert turns.registry.all() == {}
