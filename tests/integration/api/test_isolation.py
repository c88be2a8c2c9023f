"""Whoever asks, and by whatever route: of what is another's the API tells as much as of what is nobody's."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from support.api_server import patient
from support.belongings import acquire, nobodys
from support.operations import WEBSOCKET, operations_of
from support.trespass import Attempt, ask, attempts, check_that_it_is_known
from support.workers import worker
from taketurns.api.app import create_app  # FastAPI is an extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.api_server import Client
    from support.belongings import Belongings
    from support.operations import Operation
    from support.trespass import Answer
    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Acquire = Callable[..., AbstractContextManager[list[Belongings]]]

ANYBODYS = {
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /health/live",
    "GET /health/ready",
    "GET /openapi.json",
    "GET /redoc",
    "HEAD /openapi.json",
    "MOUNT /static-offline-docs/{path}",
}
"""What anybody may ask for, without a token."""

OF_OPERATORS = ("/dead-letters", "/status", "/tenants", "/workers")
"""How the paths begin of what only operators may ask for."""

LOOKS_FIRST = ("GET", WEBSOCKET, "DELETE", "PATCH", "POST")
REMOVES_LAST = ("GET", WEBSOCKET, "POST", "PATCH", "DELETE")


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return patient(settings, monkeypatch)


@pytest.fixture
def operations(turns: TakeTurns) -> list[Operation]:
    """What needs a token, as the application itself tells."""
    found = operations_of(create_app(turns))
    assert {str(each) for each in found} >= ANYBODYS
    return [each for each in found if str(each) not in ANYBODYS]


@pytest.fixture
def acquired(
    turns: TakeTurns, api: Client, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> Acquire:
    """People who have come by everything that one can have."""

    @contextmanager
    def acquiring(*owners: str) -> Iterator[list[Belongings]]:
        with (
            worker(
                settings, tmp_path, f"-c{len(owners)}", app="support.api_app", TAKETURNS_REDIS_TIMEOUT="0.9"
            ),
            ExitStack() as stack,
        ):
            people = acquire(turns, api, owners, eventually)
            for each in people:
                stack.callback(each.client.close)
                running = f"/tasks/{each.tasks['RUNNING']}"
                stack.callback(each.client.delete, running, params={"terminate": True})
            yield people

    return acquiring


def in_order(operations: list[Operation], methods: tuple[str, ...]) -> list[Operation]:
    return sorted(operations, key=lambda each: methods.index(each.method))


def is_for_operators(operation: Operation) -> bool:
    return operation.path.startswith(OF_OPERATORS)


def said(attempt: Attempt) -> str:
    return " ".join(map(str, attempt.given.values()))


def answered(client: Client, operation: Operation, attempt: Attempt, victim: Belongings) -> Answer:
    """Return the answer to an attempt, after a check that it tells nothing of the victim."""
    answer = ask(client, operation, attempt.given)
    told = {mark for mark in victim.marks() if mark in answer.text and mark not in said(attempt)}
    assert not told, f"{operation} with {attempt.given} tells {told}: {answer}"
    assert answer.status < 500 or answer.status >= 1000, f"{operation} with {attempt.given}: {answer}"
    if attempt.nobodys is not None:
        other = ask(client, operation, attempt.nobodys)
        names = {name for several in victim.named().values() for name in several}
        names |= {nobodys(name) for name in names}
        assert answer.but_for(names) == other.but_for(names), f"{operation} with {attempt.given}"
    return answer


def test_what_is_anothers_is_answered_like_what_is_nobodys(
    acquired: Acquire, operations: list[Operation], turns: TakeTurns, api: Client
) -> None:
    """By another tenant and by an operator, who sees others' things only by the operators' own endpoints."""
    mine = [each for each in operations if not is_for_operators(each)]
    with acquired("alpine", "boreal", "estuary") as people, api.as_("root", operator=True) as operator:
        *victims, other = people
        before = [each.as_it_is(turns) for each in victims]
        for operation in mine:
            check_that_it_is_known(operation, other)
        for client, own, most in ((other.client, other, None), (operator, None, 1)):
            for operation in in_order(mine, LOOKS_FIRST):
                for victim in victims:
                    for attempt in attempts(operation, victim, own, most=most):
                        answered(client, operation, attempt, victim)
        assert [each.as_it_is(turns) for each in victims] == before
        for operation in in_order(mine, REMOVES_LAST):
            for victim in victims:
                check_that_it_is_there_for_its_owner(operation, victim)


def check_that_it_is_there_for_its_owner(operation: Operation, owner: Belongings) -> None:
    """Or nobody would have looked for anything."""
    if "{" not in operation.path:
        return
    answers = (ask(owner.client, operation, each.given) for each in attempts(operation, owner, owner))
    assert any(each.status in {200, 204, 1000} for each in answers), operation


def test_who_may_not_ask_learns_nothing(
    acquired: Acquire, operations: list[Operation], turns: TakeTurns, api: Client
) -> None:
    """Without a token, with one that another secret has signed, and a tenant that asks for what is operators'."""
    with acquired("alpine") as [victim], api.as_("estuary") as tenant, api.as_("alpine") as forger:
        forger.headers["Authorization"] = forger.headers["Authorization"][:-4] + "AAAA"
        before = victim.as_it_is(turns)
        for operation in operations:
            refused = {api: 401, forger: 401}
            if is_for_operators(operation):
                refused[tenant] = 403
            for client, status in refused.items():
                for attempt in attempts(operation, victim, most=1):
                    answer = answered(client, operation, attempt, victim)
                    assert answer.status == (4401 if operation.method == WEBSOCKET else status), operation
        assert victim.as_it_is(turns) == before
