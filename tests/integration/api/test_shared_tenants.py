"""Callers whose tenant is shared with others: fairness by tenant, isolation by owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import assert_problem, serving, shop
from taketurns.resolving import Tenancy
from taketurns.tenant_key import TenantFunction, TenantKey

if TYPE_CHECKING:
    from taketurns.settings import Settings

TASK = {"name": "shop.anything"}


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
