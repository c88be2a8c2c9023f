"""The events of tasks as they happen, over real HTTP and WebSockets."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.api_server import assert_problem, serving, shop
from support.outages import without_redis
from support.proxy import running
from support.sse import Frames
from taketurns.errors import RegistryUnavailable
from taketurns.live import hub, listener, stream
from taketurns.records.lifecycle import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.api_server import Client
    from taketurns import TakeTurns
    from taketurns.live.event import Event
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

WITHIN = 10.0


def tell(turns: TakeTurns, task_id: str, *kinds: Any, tenant: str = "acme", **data: Any) -> None:
    """Have these steps of a task happen."""
    steps = [Step(task_id, kind, time.time(), name="shop.mail", data=data) for kind in kinds]
    turns.records.write({tenant: steps})


def token(client: Client) -> str:
    return str(client.headers["Authorization"]).removeprefix("Bearer ")


@contextmanager
def websocket(client: Client, path: str, **options: Any) -> Iterator[Any]:
    """Connect as the client's tenant, unless the options say otherwise."""
    options.setdefault("additional_headers", {"Authorization": client.headers.get("Authorization", "")})
    url = f"ws://{client.base_url.host}:{client.base_url.port}{path}"
    with connect(url, proxy=None, open_timeout=WITHIN, **options) as socket:
        yield socket


def told(socket: Any) -> tuple[list[dict[str, Any]], int]:
    """Return what comes by a WebSocket until it is closed, and the code of that."""
    events = []
    with suppress(ConnectionClosed):
        while True:
            events.append(json.loads(socket.recv(WITHIN)))
    return events, socket.close_code


def test_a_stream_tells_the_history_and_what_happens_until_the_end(turns: TakeTurns, acme: Client) -> None:
    tell(turns, "t", "queued", "started")
    with Frames(acme, "/tasks/t/events") as frames, websocket(acme, "/ws/tasks/t") as socket:
        assert frames.kinds(3) == ["connected", "queued", "started"]
        tell(turns, "other", "queued", "completed")
        tell(turns, "t", "queued", tenant="bolt")
        tell(turns, "t", "progress", done=1, total=2)
        tell(turns, "t", "retrying", "started", "completed")
        assert frames.kinds() == ["progress", "retrying", "started", "completed"]
        events, code = told(socket)
    kinds = ["connected", "queued", "started", "progress", "retrying", "started", "completed"]
    assert [event["event"] for event in events] == kinds
    assert code == 1000
    assert {event["task_id"] for event in events} == {"t"}
    assert (events[3]["done"], events[3]["total"]) == (1, 2)
    ids = [event_id for event_id, _ in turns.records.history("acme", "t")]
    assert [event["id"] for event in events[1:]] == ids
    assert [frame.id for frame in frames.seen[1:]] == ids
    assert [json.loads(frame.data) for frame in frames.seen[1:]] == events[1:]


@pytest.mark.parametrize("early", [True, False])
def test_what_happens_while_the_history_is_read_is_told_once(
    early: bool, turns: TakeTurns, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is in the history too, or is only heard."""
    tell(turns, "t", "queued")
    read, hear = hub.Hub.read, listener.Listener.hear
    is_heard = asyncio.Event()

    def noted(self: listener.Listener, event: Event) -> None:
        hear(self, event)
        if event.kind == "retrying":
            is_heard.set()

    async def slow(self: hub.Hub, ask: Any) -> Any:
        if early:
            tell(turns, "t", "started", "retrying")
            async with asyncio.timeout(WITHIN):
                await is_heard.wait()
        found = await read(self, ask)
        if not early:
            tell(turns, "t", "started", "retrying")
        return found

    monkeypatch.setattr(listener.Listener, "hear", noted)
    monkeypatch.setattr(hub.Hub, "read", slow)
    with Frames(acme, "/tasks/t/events") as frames:
        assert frames.kinds(4) == ["connected", "queued", "started", "retrying"]
        tell(turns, "t", "completed")
        assert frames.kinds() == ["completed"]


def test_who_connects_again_gets_what_came_after(turns: TakeTurns, acme: Client) -> None:
    tell(turns, "t", "queued", "started")
    second = turns.records.history("acme", "t")[1][0]
    tell(turns, "t", "progress", done=1)
    tell(turns, "t", "retrying")
    again = {"Last-Event-ID": second}
    with Frames(acme, "/tasks/t/events", headers=again) as frames:
        assert frames.kinds(3) == ["connected", "progress", "retrying"]
        tell(turns, "t", "failed")
        assert frames.kinds() == ["failed"]
    with websocket(acme, f"/ws/tasks/t?last_event_id={second}") as socket:
        assert [event["event"] for event in told(socket)[0]][1:] == ["progress", "retrying", "failed"]


def test_a_task_that_has_ended_is_told_once(turns: TakeTurns, acme: Client) -> None:
    """Late it is all of its history and the end of the stream; and EventSource is told not to connect again."""
    tell(turns, "t", "queued", "started", "failed")
    with Frames(acme, "/tasks/t/events") as frames:
        assert frames.kinds() == ["connected", "queued", "started", "failed"]
    last = turns.records.history("acme", "t")[-1][0]
    assert acme.get("/tasks/t/events", headers={"Last-Event-ID": last}).status_code == 204
    turns.records.write({"acme": [Step("t", "queued", time.time(), replays=1)]})  # it was replayed
    with Frames(acme, "/tasks/t/events") as frames:
        assert frames.kinds(5)[-2:] == ["failed", "queued"]


def test_an_id_that_is_not_of_the_history_has_all_of_it_told(turns: TakeTurns, acme: Client) -> None:
    tell(turns, "t", "queued", "completed")
    with Frames(acme, "/tasks/t/events", headers={"Last-Event-ID": "9999999999999-0"}) as frames:
        assert frames.kinds() == ["connected", "queued", "completed"]


def test_all_tasks_of_a_tenant(turns: TakeTurns, acme: Client) -> None:
    """From now on, or after an event; even if nothing came between the connection and its loss."""
    tell(turns, "before", "queued")
    with Frames(acme, "/events") as frames:
        (connected,) = frames.take(1)
        tell(turns, "x", "queued", tenant="bolt")
        tell(turns, "a", "queued", "started")
        tell(turns, "b", "queued")
        events = [json.loads(frame.data) for frame in frames.take(3)]
    assert [(event["event"], event["task_id"]) for event in events] == [
        ("queued", "a"),
        ("started", "a"),
        ("queued", "b"),
    ]
    with Frames(acme, "/events", headers={"Last-Event-ID": connected.id}) as frames:
        assert frames.kinds(4) == ["connected", "queued", "started", "queued"]
        tell(turns, "b", "completed")
        assert frames.kinds(1) == ["completed"]


def test_what_was_told_together_can_be_gone_on_with_in_its_middle(turns: TakeTurns, acme: Client) -> None:
    """By the events of all tasks too, after the first one and after the last; none comes twice."""
    turns.records.write({"acme": [Step(f"t{number}", "queued", time.time()) for number in range(3)]})
    tell(turns, "t3", "queued")
    ids = [turns.records.history("acme", f"t{number}")[0][0] for number in range(4)]
    for number in range(3):
        with Frames(acme, "/events", headers={"Last-Event-ID": ids[number]}) as frames:
            _, *missed = frames.take(4 - number)
            assert [frame.id for frame in missed] == ids[number + 1 :]
    with Frames(acme, "/events", headers={"Last-Event-ID": "0-0"}) as frames:
        assert frames.kinds(5) == ["connected", *["queued"] * 4], "nothing was dropped: there is no gap"


def test_what_is_no_longer_remembered_is_a_gap(settings: Settings) -> None:
    turns = shop(settings)
    with serving(turns) as api, api.as_("acme") as acme:
        tell(turns, "a", "queued")
        last = turns.records.history("acme", "a")[0][0]
        tell(turns, "a", "started")
        turns.store.call(lambda redis: redis.xtrim(turns.records.events("acme"), maxlen=1, approximate=False))
        with Frames(acme, "/events", headers={"Last-Event-ID": last}) as frames:
            assert frames.kinds(3) == ["connected", "gap", "started"]
        turns.store.call(lambda redis: redis.delete(turns.records.events("acme")))
        with Frames(acme, "/events", headers={"Last-Event-ID": last}) as frames:
            assert frames.kinds(2) == ["connected", "gap"]
            tell(turns, "a", "completed")
            assert frames.kinds(1) == ["completed"]


def test_a_stream_is_only_its_tenants(turns: TakeTurns, api: Client, acme: Client) -> None:
    """Of another's task nothing is told, nor of none; without a token nothing at all."""
    tell(turns, "t", "queued", tenant="bolt")
    for task_id in ("t", "none"):
        assert_problem(acme.get(f"/tasks/{task_id}/events"), 404, code="not_found")
        with websocket(acme, f"/ws/tasks/{task_id}") as socket:
            assert told(socket) == ([], 4404)
    for path in ("/tasks/t/events", "/events"):
        assert_problem(api.get(path), 401, code="not_authenticated")
        assert_problem(api.get(f"{path}?access_token=x"), 401, code="not_authenticated")
    for path, subprotocols in (
        ("", None),
        ("?access_token=x", None),
        ("", ["bearer", "x"]),
        ("", ["bearer"]),
    ):
        with websocket(api, f"/ws/tasks/t{path}", subprotocols=subprotocols) as socket:
            assert told(socket) == ([], 4401)


def test_browsers_give_the_token_otherwise(turns: TakeTurns, api: Client, acme: Client) -> None:
    tell(turns, "t", "queued", "completed")
    by_query = f"access_token={token(acme)}"
    with Frames(api, f"/tasks/t/events?{by_query}") as frames:
        assert frames.kinds()[-1] == "completed"
    with websocket(api, f"/ws/tasks/t?{by_query}") as socket:
        assert told(socket)[1] == 1000
    with websocket(api, "/ws/tasks/t", subprotocols=["bearer", token(acme)]) as socket:
        assert socket.subprotocol == "bearer"
        assert told(socket)[1] == 1000
    assert_problem(api.get(f"/tasks/t?{by_query}"), 401, code="not_authenticated")


def test_what_is_wrong_is_named(turns: TakeTurns, acme: Client) -> None:
    tell(turns, "t", "queued")
    for path in ("/tasks/t/events", "/events"):
        answer = acme.get(path, headers={"Last-Event-ID": "yesterday"})
        assert_problem(answer, 422, code="invalid_input", field="Last-Event-ID")
        assert_problem(acme.get(f"{path}?x=1"), 422, code="invalid_input", field="x")
    for query in ("last_event_id=x", "after=1-0", "last_event_id=1-0&last_event_id=1-0"):
        with websocket(acme, f"/ws/tasks/t?{query}") as socket:
            assert told(socket) == ([], 4422)


def test_a_stream_ends_with_its_token(
    turns: TakeTurns, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taketurns.api.auth._CLOCK_SKEW", 0.0)
    tell(turns, "t", "queued")
    short = {"Authorization": f"Bearer {acme.tokens.issue('acme', seconds=1.6)}"}
    with Frames(acme, "/tasks/t/events", headers=short) as frames:
        with websocket(acme, "/ws/tasks/t", additional_headers=short) as socket:
            assert told(socket)[1] == 4401
        assert frames.kinds() == ["connected", "queued", "unauthorised"]


def test_a_quiet_stream_gives_signs_of_life(
    turns: TakeTurns, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE", 0.1)
    tell(turns, "t", "queued")
    with Frames(acme, "/tasks/t/events") as frames:
        assert frames.kinds(2) == ["connected", "queued"]
        assert frames.line().startswith(":")


def test_who_cannot_hear_all_at_once_is_told_the_rest_from_what_is_remembered(
    turns: TakeTurns, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event once, in its order, however many of them come together."""
    monkeypatch.setattr(listener, "MOST", 3)
    with Frames(acme, "/events") as frames:
        frames.take(1)
        for first in (0, 600):
            several = range(first, first + 600)
            turns.records.write({"acme": [Step(f"t{number}", "queued", time.time()) for number in several]})
        tell(turns, "last", "queued")
        told = [json.loads(frame.data)["task_id"] for frame in frames.take(1201)]
        assert told == [*(f"t{number}" for number in range(1200)), "last"]


@pytest.mark.parametrize("break_", ["cut", "silence"])
def test_streams_outlive_an_outage_of_redis(
    break_: str, settings: Settings, turns: TakeTurns, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """What happened meanwhile is told when Redis can be reached again, once."""
    monkeypatch.setattr(hub, "_QUIET", 0.3)
    monkeypatch.setattr(hub, "_PATIENCE", 0.5)
    with running(settings.redis.redis_url) as proxy:
        there = settings.redis.model_copy(update={"redis_url": proxy.url, "redis_retry_after": 0.2})
        other = shop(replace(settings, redis=there))
        tell(turns, "t", "queued")
        with (
            serving(other) as api,
            api.as_("acme") as acme,
            Frames(acme, "/tasks/t/events") as frames,
            Frames(acme, "/events") as all_,
        ):
            assert frames.kinds(2) == ["connected", "queued"]
            all_.take(1)
            before = proxy.accepted
            getattr(proxy, break_)()
            tell(turns, "t", "started")
            tell(turns, "t", "progress", done=1)
            if break_ == "silence":
                eventually(lambda: proxy.accepted > before + 1)
                proxy.drop()
            assert frames.kinds(2) == ["started", "progress"]
            tell(turns, "t", "completed")
            assert frames.kinds() == ["completed"]
            assert all_.kinds(3) == ["started", "progress", "completed"]
        other.close()


def test_while_redis_is_away_a_stream_is_refused(
    settings: Settings, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_PATIENCE", 0.5)
    turns = shop(without_redis(settings, nowhere))
    with serving(turns) as api, api.as_("acme") as acme:
        for path in ("/tasks/t/events", "/events"):
            assert_problem(acme.get(path), 503, code="redis_unavailable")
        with websocket(acme, "/ws/tasks/t") as socket:
            assert told(socket) == ([], 1013)


def test_while_redis_hangs_a_stream_is_refused_long_before_its_connection_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes first, and who comes while others listen already."""
    monkeypatch.setattr(hub, "_PATIENCE", 120.0)
    with running(settings.redis.redis_url) as proxy:
        there = settings.redis.model_copy(update={"redis_url": proxy.url})
        turns = shop(replace(settings, redis=there))
        with serving(turns) as api, api.as_("acme") as acme:
            proxy.silence()
            for path in ("/tasks/t/events", "/events"):
                assert_problem(acme.get(path, timeout=60), 503, code="redis_unavailable")
            proxy.drop()
            with Frames(acme, "/events") as frames:
                frames.take(1)
                proxy.silence()
                assert_problem(acme.get("/tasks/t/events", timeout=60), 503, code="redis_unavailable")
                proxy.drop()
        turns.close()


def test_who_comes_while_redis_hangs_does_not_prolong_the_wait_of_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a channel is subscribed to already is no answer."""
    monkeypatch.setattr(hub, "_PATIENCE", 120.0)

    async def wait_beside_others(url: str, silence: Callable[[], None]) -> None:
        heard = hub.Hub(settings.redis.model_copy(update={"redis_url": url}), settings.tls)
        async with heard.listening("channel", None):
            silence()
            reading = asyncio.create_task(heard.read(lambda redis: redis.get("key")))
            async with asyncio.timeout(60):
                while not reading.done():
                    async with heard.listening("channel", None):
                        await asyncio.wait({reading}, timeout=0.05)
            with pytest.raises(RegistryUnavailable, match="no answer within"):
                reading.result()

    with running(settings.redis.redis_url) as proxy:
        asyncio.run(wait_beside_others(proxy.url, proxy.silence))


def test_streams_take_one_connection_and_no_thread(
    turns: TakeTurns, acme: Client, eventually: Eventually
) -> None:
    """However many there are; and none is left when all have gone."""
    channel = turns.records.events("acme")

    def subscribed() -> int:
        return int(turns.store.call(lambda redis: redis.pubsub_numsub(channel))[0][1])

    threads = threading.active_count()
    with ExitStack() as stack:
        streams = [stack.enter_context(Frames(acme, "/events")) for _ in range(50)]
        for frames in streams:
            frames.take(1)
        assert subscribed() == 1
        assert threading.active_count() <= threads + 1
        tell(turns, "t", "queued")
        assert all(frames.kinds(1) == ["queued"] for frames in streams)
    eventually(lambda: subscribed() == 0)
