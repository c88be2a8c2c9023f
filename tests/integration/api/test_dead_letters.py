"""The HTTP API on a real broker: what an operator does with dead letters."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pika import BlockingConnection, URLParameters

from support.api_server import Client, assert_problem, serving, shop
from support.letters import SUMMARY, bury
from support.outages import without_broker
from support.proxy import running
from support.stopwatch import PROMISED, stopwatch
from taketurns.deadletters.letter import CAUSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Broker
    from taketurns import TakeTurns
    from taketurns.settings import Settings

EVERY_ROUTE = [
    ("GET", "/dead-letters", None),
    ("GET", "/dead-letters/d-1", None),
    ("POST", "/dead-letters/d-1/replay", None),
    ("POST", "/dead-letters/replay", {"all": True}),
    ("DELETE", "/dead-letters/d-1", None),
    ("DELETE", "/dead-letters?all=true", None),
]


def ids(operator: Client, **filters: str) -> list[str]:
    response = operator.get("/dead-letters", params=filters)
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()["letters"]]


def ready(turns: TakeTurns, tenant: str) -> int | None:
    queue = turns.management.queue(f"usersequence_{tenant}")
    return queue.ready if queue else None


@pytest.fixture
def four(turns: TakeTurns) -> None:
    """Four dead letters, one of them of no tenant."""
    bury(turns, "d-1")
    bury(turns, "d-2", "bolt", cause="rejected")
    bury(turns, "d-3", cause="crash_loop", attempts=5)
    bury(turns, "d-4", None, cause="unroutable")


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("DELETE", "/dead-letters?tenant=acme", {"limit": 1}, "body"),
        ("DELETE", "/dead-letters?tenant=acme&tenant=bolt", None, "tenant"),
        ("DELETE", "/dead-letters?tenant=acme&limit=1&limit=2", None, "limit"),
        ("DELETE", "/dead-letters?tenant=acme&caus=failed", None, "caus"),
        ("DELETE", "/dead-letters/d-1?tenant=acme", None, "tenant"),
        ("GET", "/dead-letters?caus=failed", None, "caus"),
        ("DELETE", "/dead-letters?until=soon", None, "until"),
        ("POST", "/dead-letters/replay", {"since": "1h", "until": "2h"}, "until"),
        ("POST", "/dead-letters/replay?tenant=acme", {"all": True}, "tenant"),
    ],
)
def test_what_would_go_unheard_is_refused(
    method: str, path: str, body: object, field: str, operator: Client
) -> None:
    """And nothing is done: who misspells a filter does not mean all letters."""
    response = operator.request(method, path, json=body)
    assert_problem(response, 422, code="invalid_input", field=field)
    assert ids(operator) == ["d-1", "d-2", "d-3", "d-4"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tenant": "acme", "limit": "1"}, "limit: '1' is not valid; accepted is a whole number"),
        ({"tenant": 5}, "tenant: 5 is not valid; accepted is text"),
        ({"all": "yes"}, "all: 'yes' is not valid; accepted is true or false"),
    ],
)
def test_a_value_of_another_type_is_told_with_what_is_accepted(
    body: object, message: str, operator: Client
) -> None:
    response = operator.post("/dead-letters/replay", json=body)
    assert assert_problem(response, 422, code="invalid_input", field=message.partition(":")[0]) == message


@pytest.mark.usefixtures("four")
def test_letters_are_listed_filtered_and_seen(operator: Client) -> None:
    """A list has what fits a line each and the number of all; one letter has everything."""
    summary = {**SUMMARY, "tenant": "acme", "owner": "acme", "queue": "usersequence_acme"}
    assert operator.get("/dead-letters", params={"limit": 1}).json() == {"letters": [summary], "total": 4}
    assert operator.get("/dead-letters/d-1").json() == {
        **summary,
        "traceback": "in work",
        "headers": {
            "task": "shop.anything",
            "id": "task-d-1",
            "retries": 1,
            "taketurns_tenant": "acme",
        },
        "body": '[["i-1"], {}, {}]',
    }
    assert ids(operator) == ["d-1", "d-2", "d-3", "d-4"]
    assert ids(operator, tenant="acme") == ["d-1", "d-3"]
    assert ids(operator, tenant="acme", cause="crash_loop") == ["d-3"]
    assert ids(operator, task="shop.other") == []
    assert ids(operator, task_id="task-d-2") == ["d-2"]
    assert ids(operator, since="2026-01-01T00:00:01") == ids(operator, until="2025-12-31") == []
    assert ids(operator, since="2026-01-01", until="1m", tenant="bolt") == ["d-2"]
    wrong = operator.get("/dead-letters", params={"since": "soon"})
    assert_problem(wrong, 422, code="invalid_input", field="since")


@pytest.mark.usefixtures("four")
def test_one_letter_is_replayed_or_discarded(
    operator: Client, turns: TakeTurns, eventually: Callable[..., None]
) -> None:
    """By its id; that of no tenant can only be discarded."""
    response = operator.post("/dead-letters/d-1/replay")
    assert (response.status_code, response.json()) == (200, {"replayed": 1, "without_tenant": 0})
    eventually(lambda: ready(turns, "acme") == 1)
    assert operator.delete("/dead-letters/d-3").status_code == 204
    assert_problem(operator.post("/dead-letters/d-4/replay"), 409, code="without_tenant")
    assert ids(operator) == ["d-2", "d-4"]


@pytest.mark.usefixtures("four")
def test_many_letters_are_replayed_or_discarded(
    operator: Client, turns: TakeTurns, eventually: Callable[..., None]
) -> None:
    """By what they have in common, and so many at most."""
    replay = operator.post("/dead-letters/replay", json={"tenant": "acme", "limit": 1}).json()
    assert replay == {"replayed": 1, "without_tenant": 0}
    assert ids(operator) == ["d-2", "d-3", "d-4"]
    assert operator.delete("/dead-letters?cause=crash_loop").json() == {"discarded": 1}
    replay = operator.post("/dead-letters/replay", json={"all": True}).json()
    assert replay == {"replayed": 1, "without_tenant": 1}
    assert operator.delete("/dead-letters?all=true&limit=5").json() == {"discarded": 1}
    eventually(lambda: (ready(turns, "acme"), ready(turns, "bolt")) == (1, 1))


@pytest.mark.usefixtures("four")
def test_all_letters_are_meant_only_by_who_says_so(operator: Client) -> None:
    """Neither a forgotten filter nor a contradiction touches anything."""
    choices: list[dict[str, Any]] = [{}, {"limit": 3}, {"all": False}, {"all": True, "tenant": "acme"}]
    for chosen in choices:
        for response in (
            operator.post("/dead-letters/replay", json=chosen),
            operator.delete("/dead-letters", params=chosen),
        ):
            assert_problem(response, 422, code="invalid_input", field="all")
    misspelt = {"tenant": "acme", "causes": "failed"}
    for response in (
        operator.post("/dead-letters/replay", json=misspelt),
        operator.delete("/dead-letters", params=misspelt),
    ):
        assert_problem(response, 422, code="invalid_input", field="causes")
    assert len(ids(operator)) == 4


@pytest.mark.parametrize(
    ("field", "value"), [("cause", "magic"), ("tenant", "not valid!"), ("limit", 0)], ids=str
)
def test_what_can_never_be_meant_is_refused(field: str, value: str | int, operator: Client) -> None:
    """With the field's name, and the causes that there are."""
    answers = [
        operator.get("/dead-letters", params={field: value}),
        operator.post("/dead-letters/replay", json={field: value}),
        operator.delete("/dead-letters", params={field: value}),
    ]
    for response in answers:
        message = assert_problem(response, 422, code="invalid_input", field=field)
        assert field != "cause" or all(cause in message for cause in CAUSES)
    assert_problem(operator.get("/dead-letters?limit=1001"), 422, code="invalid_input", field="limit")


@pytest.mark.parametrize(("method", "path", "body"), EVERY_ROUTE)
def test_an_unknown_letter_is_not_found_and_others_have_no_access(
    method: str, path: str, body: object, operator: Client
) -> None:
    """404 for an id that no letter has; 403 for a tenant, whatever it asks for."""
    with operator.as_("acme") as acme:
        assert_problem(acme.request(method, path, json=body), 403, code="forbidden")
    if "d-1" in path:
        assert_problem(operator.request(method, path, json=body), 404, code="not_found")


@pytest.mark.parametrize(("method", "path", "body"), EVERY_ROUTE)
def test_without_a_broker_it_is_said_in_time(
    method: str, path: str, body: object, settings: Settings, nowhere: str
) -> None:
    """503 within the promised five seconds, whether the broker refuses or is silent."""
    with (
        serving(shop(without_broker(settings, nowhere))) as api,
        api.as_("root", operator=True) as operator,
    ):
        with stopwatch() as seconds:
            response = operator.request(method, path, json=body)
            assert seconds() < PROMISED
        assert_problem(response, 503, code="broker_unavailable")
        assert int(response.headers["Retry-After"]) > 0


def test_a_broker_that_falls_silent_meanwhile_is_told_with_what_was_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says how many were replayed, since these will run."""
    with running(str(settings.broker.amqp_url)) as proxy:
        through = {"amqp_url": proxy.url, "publish_timeout": 2.0}
        turns = shop(replace(settings, broker=settings.broker.model_copy(update=through)))
        for number in range(5):
            bury(turns, f"d-{number}")
        publish = turns.publisher.publish

        def falls_silent(body: bytes, **options: Any) -> None:
            publish(body, **options)
            if options["properties"]["application_headers"]["id"] == "task-d-1":
                proxy.silence()

        monkeypatch.setattr(turns.publisher, "publish", falls_silent)
        with serving(turns) as api, api.as_("root", operator=True) as operator:
            with stopwatch() as seconds:
                response = operator.post("/dead-letters/replay", json={"all": True})
                assert seconds() < PROMISED
            message = assert_problem(response, 503, code="broker_unavailable")
            assert "2 dead letters had been replayed" in message
            proxy.drop()


def test_who_comes_while_somebody_looks_is_told_to_come_again(operator: Client, broker: Broker) -> None:
    """409 with Retry-After after a short wait, and nothing is touched."""
    with closing(BlockingConnection(URLParameters(broker.amqp_url))) as other:
        other.channel().queue_declare("usersequence.dead.reader", exclusive=True)
        with stopwatch() as seconds:
            response = operator.get("/dead-letters")
            assert seconds() < PROMISED
        assert_problem(response, 409, code="busy")
        assert int(response.headers["Retry-After"]) > 0
    assert ids(operator) == []
