"""Names that tenants may have, and names that they may not, tried wherever a name can be given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt  # an extra
import pytest

from support.api_server import SECRET, Client, assert_problem
from support.command import invoke
from taketurns.api.auth import NotAuthenticated
from taketurns.errors import InvalidTenant
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from taketurns import TakeTurns

ACCEPTED = "1 to 128 characters of A-Z a-z 0-9 . _ @ : + -, the first one a letter or digit"

VALID = ["a.b", "A@b.co", "amq.x", "a:b+c-d_e", "0", "x" * 128, "a.usersequence_b", "A"]
INVALID = [
    *("", " ", "a b", " a", "a ", "a\t", "a\n", "a\x00", "x" * 129),
    *("../x", "..", ".", "a/b", "%2F", "a%2Fb", "a%20b", "a\\b", "a?b", "a#b", "a&b", "a;b"),
    *(
        "日本",
        "ä",
        "\u0430",
        "\u202ea",
        "a\u00a0b",
        "\uff11",
        "{a}",
        "*",
        "a,b",
        "'a'",
        '"a"',
        "<a>",
        "-a",
        "_a",
        "@a",
        ":a",
    ),
]


@pytest.mark.parametrize("tenant", VALID)
def test_a_valid_name_is_the_same_everywhere(tenant: str, api: Client, turns: TakeTurns) -> None:
    """Its task is in its own queue, by whichever way; its settings are its own; and its queue can be removed."""
    queue = f"usersequence_{tenant}"
    path = f"/tenants/{quote(tenant, safe='')}"
    with api.as_(tenant) as client, api.as_("root", operator=True) as operator:
        assert client.post("/tasks", json={"name": "shop.anything"}).json()["queue"] == queue
        turns.app.tasks["shop.anything"].apply_async(tenant=tenant)
        assert operator.patch(path, json={"weight": 2.0}).json()["tenant"] == tenant
        assert turns.registry.get(tenant).weight == 2.0
        found = turns.management.queue(queue)
        assert found is not None
        assert found.ready == 2
        assert list(turns.management.tenant_queues()) == [queue]
        assert operator.get(path).json()["queue"] == queue
        assert turns.management.delete_queue(queue, if_empty=True, if_unused=True) == "refused"
        assert turns.management.delete_queue(queue, if_empty=False, if_unused=True) == "deleted"
        assert operator.delete(path).status_code == 204
        assert operator.get(path).status_code == 404


@pytest.mark.parametrize("tenant", INVALID, ids=ascii)
def test_another_name_is_refused_by_the_library(tenant: str, turns: TakeTurns) -> None:
    """A submission, a queue and settings: none comes to be, and the error says what is accepted."""
    task: Any = turns.app.tasks["shop.anything"]
    for call in (
        lambda: task.apply_async(tenant=tenant),
        lambda: task.for_tenant(tenant).delay(),
        lambda: task.s().set(tenant=tenant).apply_async(),
        lambda: turns.app.send_task("shop.anything", tenant=tenant),
        lambda: turns.registry.update(tenant, weight=2.0),
        lambda: turns.explain(tenant),
        lambda: queue_name(tenant),
    ):
        with pytest.raises(InvalidTenant) as caught:
            call()
        assert (caught.value.field, caught.value.value, caught.value.accepted) == ("tenant", tenant, ACCEPTED)
    assert turns.management.queues() == {}
    assert turns.registry.all() == {}


def test_another_name_is_refused_by_the_api(operator: Client, turns: TakeTurns) -> None:
    """A 422 names ``tenant`` and what is accepted; what leads to another path altogether is no tenant's."""
    for tenant in INVALID:
        path = f"/tenants/{quote(tenant, safe='')}"
        for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/explain")):
            body = {"weight": 2.0} if method == "PATCH" else None
            response = operator.request(method, path + rest, json=body)
            if tenant in {".", ".."}:  # which an HTTP client, or a proxy, takes for the path above
                assert response.status_code in {200, 404, 405, 307}, (tenant, response.text)
                continue
            assert ACCEPTED in assert_problem(response, 422, code="invalid_input", field="tenant")
        assert_problem(
            operator.get("/dead-letters", params={"tenant": tenant}),
            422,
            code="invalid_input",
            field="tenant",
        )
    assert turns.management.queues().keys() <= {"usersequence.lost", "usersequence.dead"}
    assert turns.registry.all() == {}


def test_a_token_of_another_name_is_none(api: Client) -> None:
    """Nobody makes one, and one that somebody else has signed is answered 401."""
    for tenant in INVALID:
        with pytest.raises(InvalidTenant):
            api.tokens.issue(tenant)
        forged = _signed(tenant)
        with pytest.raises(NotAuthenticated):
            api.tokens.verify(forged)
        response = api.post(
            "/tasks", json={"name": "shop.anything"}, headers={"Authorization": f"Bearer {forged}"}
        )
        assert_problem(response, 401, code="not_authenticated")


@pytest.mark.parametrize(
    "words", [["tenants", "set", "--weight", "2"], ["tenants", "show"], ["token"]], ids=" ".join
)
def test_another_name_is_refused_on_the_command_line(words: list[str]) -> None:
    """One line says what is accepted, and nothing is asked of any server."""
    for tenant in INVALID:
        if "\x00" in tenant:
            continue  # which no process can be given
        result = invoke(*words, "--", tenant, TAKETURNS_API_JWT_SECRET=SECRET)
        assert result.returncode == 1, (tenant, result.stderr)
        assert result.stderr == f"taketurns: tenant: {tenant!r} is not valid; accepted is {ACCEPTED}\n"


def _signed(tenant: str) -> str:
    """Return a token as another program would make it, with the right secret."""
    return jwt.encode({"sub": tenant, "exp": 2**33}, SECRET, algorithm="HS256")
