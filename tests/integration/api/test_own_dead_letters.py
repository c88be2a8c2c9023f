"""The HTTP API on a real broker: what a tenant does with its own dead letters, and only with those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import Client, assert_problem
from support.letters import SUMMARY, bury

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns import TakeTurns

OF_ONE = [
    ("GET", "/me/dead-letters/{}"),
    ("POST", "/me/dead-letters/{}/replay"),
    ("DELETE", "/me/dead-letters/{}"),
]
OF_MANY = [("POST", "/me/dead-letters/replay"), ("DELETE", "/me/dead-letters")]


def ids(client: Client, path: str = "/me/dead-letters", **filters: str) -> list[str]:
    response = client.get(path, params=filters)
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()["letters"]]


def choose(client: Client, method: str, path: str, **chosen: Any) -> Any:
    """Ask for many letters, in the body or in the query."""
    options: dict[str, Any] = {"json": chosen} if method == "POST" else {"params": chosen}
    return client.request(method, path, **options)


@pytest.fixture
def four(turns: TakeTurns) -> None:
    """Dead letters of two tenants, and one of nobody's."""
    bury(turns, "d-1")
    bury(turns, "d-2", "bolt", cause="rejected")
    bury(turns, "d-3", cause="crash_loop")
    bury(turns, "d-4", None, cause="unroutable")


@pytest.mark.usefixtures("four")
def test_a_tenant_sees_its_own_letters_and_their_arguments(acme: Client) -> None:
    """Neither the traceback nor headers are told, nor how many letters others have."""
    assert acme.get("/me/dead-letters", params={"limit": 1}).json() == {"letters": [SUMMARY], "more": True}
    assert acme.get("/me/dead-letters", params={"limit": 2}).json()["more"] is False
    assert acme.get("/me/dead-letters/d-1").json() == {**SUMMARY, "args": ["i-1"], "kwargs": {}}
    assert ids(acme) == ["d-1", "d-3"]
    assert ids(acme, cause="crash_loop") == ids(acme, task_id="task-d-3") == ["d-3"]
    assert ids(acme, task="shop.other") == ids(acme, until="2025-12-31") == []


@pytest.mark.parametrize("letter", ["d-2", "d-4", "d-9"])
@pytest.mark.parametrize(("method", "path"), OF_ONE)
@pytest.mark.usefixtures("four")
def test_anothers_letter_is_as_one_that_is_not_there(
    method: str, path: str, letter: str, acme: Client, operator: Client
) -> None:
    """404 with the same words, whether it is another tenant's, nobody's, or none; and nothing is touched."""
    response = acme.request(method, path.format(letter))
    assert assert_problem(response, 404, code="not_found") == f"there is no dead letter {letter!r}"
    assert ids(operator, "/dead-letters") == ["d-1", "d-2", "d-3", "d-4"]


@pytest.mark.parametrize(("method", "path"), OF_MANY)
@pytest.mark.usefixtures("four")
def test_all_of_a_tenant_are_its_own(method: str, path: str, acme: Client, operator: Client) -> None:
    """By whichever filter, an operator's token too: under ``/me`` it is one tenant's."""
    for chosen in ({"task_id": "task-d-2"}, {"cause": "rejected"}, {"cause": "unroutable"}):
        assert choose(acme, method, path, **chosen).json() in ({"replayed": 0}, {"discarded": 0})
    assert_problem(choose(acme, method, path, tenant="bolt"), 422, code="invalid_input", field="tenant")
    assert choose(operator, method, path, all=True).json() in ({"replayed": 0}, {"discarded": 0})
    assert choose(acme, method, path, task="shop.anything", limit=1).status_code == 200
    assert ids(operator, "/dead-letters") == ["d-2", "d-3", "d-4"]
    assert choose(acme, method, path, all=True).json() in ({"replayed": 1}, {"discarded": 1})
    assert ids(operator, "/dead-letters") == ["d-2", "d-4"]


@pytest.mark.usefixtures("four")
def test_a_tenant_replays_and_discards_one(
    acme: Client, turns: TakeTurns, eventually: Callable[..., None]
) -> None:
    """The replayed one waits in its queue again."""

    def waits() -> bool:
        queue = turns.management.queue("usersequence_acme")
        return queue is not None and queue.ready == 1

    assert acme.post("/me/dead-letters/d-1/replay").json() == {"replayed": 1}
    eventually(waits)
    assert acme.delete("/me/dead-letters/d-3").status_code == 204
    assert ids(acme) == []


@pytest.mark.usefixtures("four")
def test_all_letters_are_meant_only_by_who_says_so(acme: Client) -> None:
    """The caller's tenant alone is no filter."""
    for method, path in OF_MANY:
        for chosen in ({}, {"limit": 3}, {"all": True, "cause": "failed"}):
            assert_problem(choose(acme, method, path, **chosen), 422, code="invalid_input", field="all")
    assert ids(acme) == ["d-1", "d-3"]


@pytest.mark.parametrize("body", [b"\xff", b"[1", b'{"a": 1}', b"[" * 5000, b"[[NaN], {}, {}]"], ids=repr)
def test_a_letter_that_is_no_task_has_no_arguments(body: bytes, acme: Client, turns: TakeTurns) -> None:
    """Whatever its body is, it is told without an error."""
    bury(turns, "d-1", cause="malformed", body=body)
    letter = acme.get("/me/dead-letters/d-1").json()
    assert letter["args"] == ([None] if b"NaN" in body else None)
    assert letter["kwargs"] == ({} if b"NaN" in body else None)
