"""The clients for threads and for event loops against the real API: each test is of both."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.api_server import Client as Plain
from support.api_server import serving, shop
from support.clients import KINDS, connected
from support.letters import bury
from support.proxy import running
from taketurns.client import (
    ApiError,
    Client,
    Conflict,
    ConnectionFailed,
    Invalid,
    InvalidBatch,
    NotFound,
    Submission,
    TooManyRequests,
    Unauthorized,
)
from taketurns.records.lifecycle import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns import TakeTurns
    from taketurns.settings import Settings

WITHIN = 30.0


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(kind: str, api: Plain) -> Iterator[Client]:
    """A client of the tenant acme."""
    with connected(kind, str(api.base_url), token=api.tokens.issue("acme")) as client:
        yield client


def test_a_task_is_submitted_seen_and_cancelled(client: Client) -> None:
    """What was given comes back as it is, and a cancellation may be repeated."""
    accepted = client.submit(
        "shop.thumbnail",
        ["i-1"],
        {"size": 64},
        priority="high",
        eta=datetime.now(UTC) + timedelta(hours=1),
        expires=7200,
        max_retries=1,
        tags=["import", "é"],
    )
    assert (accepted.tenant, accepted.queue, accepted.duplicate) == ("acme", "usersequence_acme", False)
    seen = client.task(accepted.task_id)
    assert (seen.status, seen.name, seen.priority, seen.tags, seen.result) == (
        "DELAYED",
        "shop.thumbnail",
        "high",
        ["import", "é"],
        None,
    )
    assert seen.due_at is not None
    assert 3000 < seen.due_at - time.time() < 3700
    after = client.submit("shop.anything", depends_on=[accepted.task_id])
    assert after.status == "BLOCKED"
    assert client.cancel(accepted.task_id).status == "CANCELLED"
    assert client.cancel(accepted.task_id, terminate=True).status == "CANCELLED"


def test_a_key_is_the_same_task_and_a_submission_is_one(client: Client) -> None:
    """The same key, or the same submission, is the same task; two calls are two."""
    first = client.submit("shop.thumbnail", ["i-1"], idempotency_key="order-1")
    again = client.submit("shop.thumbnail", ["i-1"], idempotency_key="order-1")
    assert (again.task_id, again.duplicate) == (first.task_id, True)
    with pytest.raises(Invalid, match="422 key_conflict: ") as conflict:
        client.submit("shop.thumbnail", ["i-2"], idempotency_key="order-1")
    assert conflict.value.field == "idempotency_key"
    assert len({client.submit("shop.silent").task_id for _ in range(2)}) == 2
    assert not client.submit("shop.silent", idempotency_key=None).duplicate
    submission = Submission("shop.thumbnail", ["i-1"])
    entries = [client.submit_many([submission]).tasks[0] for _ in range(2)]
    assert [each.duplicate for each in entries] == [False, True]


def test_many_tasks_are_all_or_none(client: Client) -> None:
    """A batch has an entry for each task in their order; if one is not valid, its place is told, and none is in."""
    told = client.submit_many(Submission("shop.thumbnail", [f"i-{number}"]) for number in range(5))
    assert (told.accepted, len({each.task_id for each in told.tasks})) == (5, 5)
    assert [client.task(each.task_id).name for each in told.tasks] == ["shop.thumbnail"] * 5
    with pytest.raises(InvalidBatch) as refused:
        client.submit_many([Submission("shop.silent"), Submission("shop.nothing"), Submission("shop.nap")])
    assert {place: each.code for place, each in refused.value.errors.items()} == {
        1: "unknown_task",
        2: "invalid_input",
    }
    assert [each.name for each in client.tasks(name="shop.silent")] == []
    with pytest.raises(Invalid, match="it has no tasks"):
        client.submit_many([])


def test_a_stream_of_any_length_is_submitted_as_it_is_taken(client: Client) -> None:
    """So many at a time; nothing is taken before its entries are asked for."""
    taken = []

    def submissions() -> Iterator[Submission]:
        for number in range(25):
            taken.append(number)
            yield Submission("shop.thumbnail", [f"i-{number}"])

    entries = client.submit_stream(submissions(), size=10)
    assert taken == []
    first = next(entries)
    assert (first.error, len(taken)) == (None, 10)
    ids = [first.task_id, *(each.task_id for each in entries)]
    assert (len({*ids}), len(taken)) == (25, 25)
    assert [each.task_id for each in client.tasks()] == ids[::-1]


def test_lists_follow_the_cursor_and_filter(client: Client) -> None:
    """Pages come one after the other; filters are those of the API, and a time needs a zone."""
    told = client.submit_many([Submission("shop.thumbnail", [f"i-{n}"], tags=[f"n{n}"]) for n in range(5)])
    ids = [each.task_id for each in told.tasks][::-1]
    page = client.task_page(limit=2)
    assert ([each.task_id for each in page.tasks], page.cursor is None) == (ids[:2], False)
    assert [each.task_id for each in client.task_page(cursor=page.cursor).tasks] == ids[2:]
    assert [each.task_id for each in client.tasks()] == ids
    assert [each.tags for each in client.tasks(tag="n3", state=["QUEUED", "RUNNING"], since="1h")] == [["n3"]]
    assert list(client.tasks(until=datetime.now(UTC) - timedelta(hours=1))) == []
    with pytest.raises(ValueError, match="has no time zone"):
        list(client.tasks(since=datetime.now()))  # noqa: DTZ005  # what is refused
    assert client.cancel_all(tag="n3").cancelled == 1
    with pytest.raises(Invalid) as refused:
        client.cancel_all()
    assert refused.value.field == "all"
    assert client.cancel_all(everything=True).cancelled == 4


def test_me_and_statistics(client: Client, operator: Plain) -> None:
    """The caller's own limits and counts, typed."""
    operator.patch("/tenants/acme", json={"rate_limit": "10/60s:5", "weight": 2})
    client.submit("shop.thumbnail", ["i-1"], priority="low")
    me = client.me()
    assert (me.tenant, me.rate_limit, me.weight, me.operator) == ("acme", "10/60s:5", 2.0, False)
    assert {each.scope for each in me.limits} == {"tenant", "shop.thumbnail"}
    stats = client.stats()
    assert (stats.queued, stats.completed, stats.runs) == ({"low": 1, "normal": 0, "high": 0}, 0, None)


def test_schedules(client: Client) -> None:
    """They are made, changed, listed and removed; of a change only what is given counts."""
    made = client.create_schedule("nightly", "shop.thumbnail", ["i-1"], cron="30 2 * * *", timezone="UTC")
    assert (made.cron, made.timezone, made.missed, made.last_outcome) == ("30 2 * * *", "UTC", "skip", None)
    with pytest.raises(Conflict) as there:
        client.create_schedule("nightly", "shop.thumbnail", ["i-1"], every="30s")
    assert there.value.code == "exists"
    changed = client.change_schedule("nightly", timezone=None, paused=True)
    assert (changed.timezone, changed.paused, changed.next_due_at, changed.args) == (
        None,
        True,
        None,
        ["i-1"],
    )
    assert client.schedule("nightly") == changed
    assert client.schedules().schedules == [changed]
    client.remove_schedule("nightly")
    with pytest.raises(NotFound):
        client.schedule("nightly")


def test_dead_letters(client: Client, turns: TakeTurns) -> None:
    """The caller's own are seen, replayed and discarded, one by one and by filters."""
    for number in range(5):
        bury(turns, f"d-{number}")
    found = client.dead_letters(task="shop.anything", limit=4)
    assert (len(found.letters), found.more, found.letters[0].cause) == (4, True, "failed")
    one, two, *_ = found.letters
    assert client.dead_letter(one.id).args == ["i-1"]
    assert client.replay_dead_letter(one.id).replayed == 1
    client.discard_dead_letter(two.id)
    with pytest.raises(NotFound):
        client.dead_letter(two.id)
    assert client.replay_dead_letters(cause="failed", limit=1).replayed == 1
    assert client.discard_dead_letters(since="2026-01-01", limit=1).discarded == 1
    assert client.discard_dead_letters(everything=True).discarded == 1
    with pytest.raises(Invalid):
        client.replay_dead_letters()


def test_errors_are_told_apart(client: Client, kind: str, api: Plain, operator: Plain) -> None:
    """Each error has its class, the API's code and message, and what helps to go on."""
    with pytest.raises(NotFound, match="404 not_found: you have no task of this id") as missing:
        client.task("no such task?")
    assert (missing.value.status, missing.value.field) == (404, None)
    with pytest.raises(Invalid) as invalid:
        client.submit("shop.thumbnail", ["i-1"], priority="urgent")  # type: ignore[arg-type]
    assert invalid.value.field == "priority"
    with pytest.raises(TypeError, match="args: 'i-1' is not valid; accepted is a list"):
        client.submit("shop.thumbnail", "i-1")
    with pytest.raises(ValueError, match="task_id: '' is not valid"):
        client.cancel("")
    operator.patch("/tenants/acme", json={"max_backlog": 1})
    client.submit("shop.thumbnail", ["i-1"])
    with (
        connected(kind, str(api.base_url), api_key=api.tokens.issue("acme"), retries=0) as hasty,
        pytest.raises(TooManyRequests) as full,
    ):
        hasty.submit("shop.thumbnail", ["i-2"])
    assert full.value.code == "backlog_full"
    assert full.value.retry_after is not None
    with connected(kind, str(api.base_url), token="x") as stranger, pytest.raises(Unauthorized):
        stranger.me()
    with connected(kind, "http://127.0.0.1:1", retries=1) as lost, pytest.raises(ConnectionFailed) as failed:
        lost.submit("shop.thumbnail", ["i-1"])
    assert isinstance(failed.value, ApiError)
    assert not failed.value.may_have_arrived
    assert isinstance(failed.value.__cause__, httpx.ConnectError)


def test_a_token_may_be_made_for_each_request(kind: str, api: Plain) -> None:
    """A function is asked each time, so a client lives longer than a token."""
    tokens = iter([api.tokens.issue("acme"), api.tokens.issue("bolt"), "nothing valid"])
    with connected(kind, str(api.base_url), token=lambda: next(tokens)) as client:
        assert [client.me().tenant, client.me().tenant] == ["acme", "bolt"]
        with pytest.raises(Unauthorized):
            client.me()


def test_streams_go_on_where_the_connection_broke(kind: str, turns: TakeTurns, api: Plain) -> None:
    """Nothing is missing and nothing comes twice, of a task until its end, and of all tasks."""
    tell(turns, "t", "queued")
    with (
        running(str(api.base_url)) as proxy,
        connected(kind, proxy.url, token=api.tokens.issue("acme")) as client,
        closing(client.all_events()) as all_events,
    ):
        first = next(all_events)
        assert (first.kind, first.task_id, first.id is None) == ("connected", None, False)
        events = client.task_events("t")
        assert [next(events).kind for _ in range(2)] == ["connected", "queued"]
        proxy.cut()
        tell(turns, "t", "started", worker="w1")
        started = next(events)
        assert (started.kind, started.task_id, started.data["worker"]) == ("started", "t", "w1")
        assert next(all_events) == started
        proxy.cut()
        tell(turns, "t", "completed")
        ended = list(events)
        assert [(each.kind, each.is_final) for each in ended] == [("completed", True)]
        assert next(all_events) == ended[0]
        assert list(client.task_events("t", after=started.id))[1:] == ended
        assert list(client.task_events("t", after=ended[0].id)) == []
        assert client.wait("t").status == "SUCCESS"


def test_streams_outlive_the_api(kind: str, settings: Settings) -> None:
    """An API that stops ends its streams; the client goes on with the one that is started in its place."""
    before, after = shop(settings), shop(settings)
    tell(after, "t", "queued")
    with ExitStack() as first:
        api = first.enter_context(serving(before))
        url, port, token = str(api.base_url), api.base_url.port, api.tokens.issue("acme")
        with connected(kind, url, token=token, retries=20) as client:
            events = client.task_events("t")
            assert [next(events).kind for _ in range(2)] == ["connected", "queued"]
            first.close()
            with serving(after, port=port or 0):
                tell(after, "t", "started", "completed")
                assert [each.kind for each in events] == ["started", "completed"]


def test_nobody_follows_an_api_that_is_gone(kind: str, settings: Settings) -> None:
    """A stream ends with an error if it does not come back; whoever waits does so until the time is up."""
    turns = shop(settings)
    tell(turns, "t", "queued")
    with ExitStack() as there:
        api = there.enter_context(serving(turns))
        url, token = str(api.base_url), api.tokens.issue("acme")
        with (
            connected(kind, url, token=token, reconnects=2) as hasty,
            connected(kind, url, token=token, reconnects=1000) as patient,
        ):
            events = hasty.task_events("t")
            assert [next(events).kind for _ in range(2)] == ["connected", "queued"]
            there.close()
            with pytest.raises(ConnectionFailed):
                next(events)
            with pytest.raises(TimeoutError):
                patient.wait("t", timeout=2)


def test_waiting_has_an_end(client: Client, turns: TakeTurns) -> None:
    """A task that has not ended in time is a TimeoutError, one that is not known NotFound."""
    tell(turns, "t", "queued")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="task t has not ended within 2 s"):
        client.wait("t", timeout=2)
    assert 2 <= time.monotonic() - began < 15
    with pytest.raises(NotFound):
        client.wait("nothing", timeout=2)
    tell(turns, "t", "started", "failed")
    assert client.wait("t", timeout=WITHIN).status == "FAILURE"


def tell(turns: TakeTurns, task_id: str, *kinds: Any, **data: Any) -> None:
    """Have these steps of a task of acme's happen."""
    steps = [Step(task_id, each, time.time(), name="shop.mail", data=data) for each in kinds]
    turns.records.write({"acme": steps})
