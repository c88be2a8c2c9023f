"""What the HTTP client asks, reads and tries again, and that it fits the API's own description of itself."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import TypeAdapter

from support.api_server import shop
from support.clients import KINDS, connected
from support.scripted import Answer, scripted
from taketurns import Settings
from taketurns.api.app import create_app  # FastAPI is an extra
from taketurns.client import (
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    ConnectionFailed,
    Event,
    Invalid,
    LetterFilter,
    ScheduleChanges,
    Submission,
    TaskFilter,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
    calls,
    models,
)
from taketurns.client.deadline import Deadline
from taketurns.client.errors import error_of
from taketurns.client.events import Following
from taketurns.client.retrying import pause_after
from taketurns.live.event import Event as Told
from taketurns.records.lifecycle import ENDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.client.call import Call

SERVERS = {"celery", "kombu", "amqp", "redis", "fastapi", "starlette", "uvicorn", "jwt", "pika", "requests"}

FILTER: TaskFilter = {"state": "QUEUED", "name": "n", "tag": "t", "since": "2h", "until": "1h"}
LETTERS: LetterFilter = {"task": "n", "task_id": "i", "cause": "failed", "since": "2h", "until": "1h"}
EVERYTHING = Submission(
    "n",
    ["a"],
    {"k": 1},
    priority="low",
    countdown=1,
    eta="2026-01-01",
    expires=2,
    max_retries=3,
    time_limit=4,
    soft_time_limit=3,
    tags=["t"],
    depends_on=["d"],
)
CHANGES: ScheduleChanges = {
    "task": "n",
    "args": [],
    "kwargs": {},
    "cron": "c",
    "every": "e",
    "timezone": "t",
    "missed": "all",
    "paused": True,
    "priority": "high",
    "expires": 1.0,
}

CALLS: list[tuple[str, Call[Any], str | None]] = [
    ("/tasks", calls.submitting(lambda: EVERYTHING)(), "TaskAccepted"),
    ("/tasks/batch", calls.submit_many([EVERYTHING]), "BatchAccepted"),
    ("/tasks/{task_id}", calls.task("i"), "TaskState"),
    ("/tasks", calls.task_page(cursor="c", limit=1, **FILTER), "TaskPage"),
    ("/tasks/{task_id}", calls.cancel("i", terminate=True), "TaskState"),
    ("/tasks", calls.cancel_all(everything=True, terminate=True, **FILTER), "TasksCancelled"),
    ("/me", calls.me(), "Me"),
    ("/me/stats", calls.stats(), "TenantStatistics"),
    ("/schedules", calls.schedules(), "ScheduleList"),
    ("/schedules", calls.create_schedule("i", "n"), "ScheduleView"),
    ("/schedules/{name}", calls.schedule("i"), "ScheduleView"),
    ("/schedules/{name}", calls.change_schedule("i", **CHANGES), "ScheduleView"),
    ("/schedules/{name}", calls.remove_schedule("i"), None),
    ("/me/dead-letters", calls.dead_letters(limit=1, **LETTERS), "OwnLetterList"),
    ("/me/dead-letters/{letter_id}", calls.dead_letter("i"), "OwnLetterView"),
    ("/me/dead-letters/{letter_id}/replay", calls.replay_dead_letter("i"), "OwnLettersReplayed"),
    (
        "/me/dead-letters/replay",
        calls.replay_dead_letters(everything=True, limit=1, **LETTERS),
        "OwnLettersReplayed",
    ),
    ("/me/dead-letters/{letter_id}", calls.discard_dead_letter("i"), None),
    (
        "/me/dead-letters",
        calls.discard_dead_letters(everything=True, limit=1, **LETTERS),
        "DeadLettersDiscarded",
    ),
    ("/tasks/{task_id}/events", calls.task_events("i"), None),
    ("/events", calls.all_events(), None),
]
"""Each call with all that it can ask, the path that it is of, and what is answered."""

ANSWERS = [each for each in vars(models).values() if getattr(each, "__module__", "") == models.__name__]


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """Return the API's own description."""
    turns = shop(Settings.load())
    document = create_app(turns).openapi()
    turns.close()
    return document


def test_the_client_loads_nothing_of_the_server() -> None:
    """A program that only speaks to the API pays for no Celery, and needs none of the servers' packages."""
    code = "import sys, taketurns.client; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {*ran.stdout.split()}
    assert loaded >= {"taketurns", "httpx"}
    assert not loaded & SERVERS


def test_a_missing_package_is_told_with_its_extra() -> None:
    """Without httpx the import fails in one line that says what to install."""
    code = "import sys; sys.modules['httpx'] = None; import taketurns.client"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: taketurns.client needs the package 'httpx', which is not installed: "
        'pip install "taketurns[client]"'
    )


@pytest.mark.parametrize("model", ANSWERS, ids=lambda model: str(model.__name__))
def test_answers_are_those_of_the_api(model: type, openapi: dict[str, Any]) -> None:
    """Every field of every answer has the API's name and type, and none is missing."""
    own = TypeAdapter(model).json_schema(mode="serialization", ref_template="{model}")
    told = openapi["components"]["schemas"][model.__name__]
    assert bare(own["properties"]) == bare(told["properties"])


@pytest.mark.parametrize(("path", "call", "answer"), CALLS)
def test_calls_are_those_of_the_api(
    path: str, call: Call[Any], answer: str | None, openapi: dict[str, Any]
) -> None:
    """Each has the path, the method, all parameters, all fields and the answer that the API describes."""
    operation = openapi["paths"][path][call.method.lower()]
    assert call.path == path.format(task_id="i", name="i", letter_id="i")
    queries = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    assert {*call.query} == queries - {"access_token"}
    if "requestBody" not in operation:
        assert call.body is None
    else:
        content = operation["requestBody"]["content"]
        assert call.content_type in content
        schema = content["application/json"]["schema"]
        name = schema.get("items", schema)["$ref"].rpartition("/")[2]
        fields = openapi["components"]["schemas"][name]["properties"]
        assert call.body is not None
        assert {*TypeAdapter(dict[str, Any]).validate_json(call.body)} == {*fields}
    success = next(told for status, told in operation["responses"].items() if status.startswith("2"))
    schema = success.get("content", {}).get("application/json", {}).get("schema", {})
    assert schema.get("$ref", "").rpartition("/")[2] == (answer or "")
    if answer is not None:
        assert inspect.getclosurevars(call.read).nonlocals["model"].__name__ == answer


def test_every_endpoint_of_a_tenant_has_a_call(openapi: dict[str, Any]) -> None:
    """What is left out is the operators', and the probes."""
    covered = {(path, call.method.lower()) for path, call, _ in CALLS}
    others = ("/tenants", "/dead-letters", "/workers", "/status", "/health")
    there = {
        (path, method)
        for path, methods in openapi["paths"].items()
        for method in methods
        if not path.startswith(others)
    }
    assert covered == there


def test_both_clients_have_the_same_methods() -> None:
    """With the same parameters, and described."""
    own, asynchronous = (
        {name: each for name, each in inspect.getmembers(kind, callable) if not name.startswith("_")}
        for kind in (Client, AsyncClient)
    )
    assert own.keys() - {"close"} == asynchronous.keys() - {"aclose"}
    for name in own.keys() - {"close", "submit_stream"}:
        ours, theirs = (inspect.signature(each[name]).parameters for each in (own, asynchronous))
        assert ours == theirs, name
        assert own[name].__doc__
    assert [*inspect.signature(Client.submit).parameters][1:] == [
        field.name for field in dataclasses.fields(Submission)
    ]
    assert Client.submit.__name__ == "submit"


@pytest.mark.parametrize("kind", sorted({*ENDS, "started", "progress"}))
def test_events_are_read_as_they_are_told(kind: str) -> None:
    """The client's event has what the server's has, and knows which ones are ends."""
    told = Told(kind, "1-0", "t", {"at": 1.5, "worker": "w"})
    following = Following(None)
    assert [following.take(line) for line in (f"event: {kind}", "id: 1-0", f"data: {told.json}")] == [
        None
    ] * 3
    event = following.take("")
    assert event == Event(kind, "1-0", "t", 1.5, {"worker": "w"})
    assert event.is_final == told.is_final
    following.ended(of_task=True)
    assert following.is_over == told.is_final
    assert following.headers["Last-Event-ID"] == "1-0"


def test_a_stream_is_read_on_after_the_last_whole_event() -> None:
    """Half an event, signs of life, the stream's last words and each further `connected` are nobody's news."""
    following = Following("1-0")
    following.connected(200)
    assert following.take('data: {"event": "connected"}') is None
    first = following.take("")
    assert first is not None
    assert first.kind == "connected"
    assert following.take('data: {"event": "started", "id": "2-0", "task_id": "t"}') is None
    following.connected(200)  # it broke there
    lines = [": still here", "", 'data: {"event": "connected"}', "", 'data: {"event": "unauthorised"}', ""]
    assert [following.take(line) for line in lines] == [None] * 6
    following.ended(of_task=True)
    assert (following.is_over, following.last_id) == (False, "1-0")
    following.connected(204)
    assert following.is_over
    with pytest.raises(UnexpectedAnswer, match="this is no event: 'what'"):
        [following.take(line) for line in ("data: what", "")]


def test_a_stream_that_is_waited_for_is_opened_anew_when_less_is_left() -> None:
    """A read may take no longer than there is time; what can't matter opens nothing."""
    deadline = Deadline(100.0)
    assert deadline.allow(70.0) == 30.0
    assert not deadline.is_stale(70.5, silence=45)
    assert deadline.is_stale(85.0, silence=45)
    assert deadline.allow(85.0) == 15.0
    assert not deadline.is_stale(85.5, silence=45)
    assert (deadline.is_over(99.9), deadline.is_over(100.0)) == (False, True)
    assert (deadline.shortened(5, 98.0), deadline.shortened(5, 101.0)) == (2.0, 0.0)
    forever = Deadline(None)
    assert (forever.allow(1.0), forever.is_stale(1e9, silence=45), forever.is_over(1e9)) == (
        None,
        False,
        False,
    )


AWAY = Answer(503, {"error": "redis_unavailable", "message": "away", "field": None}, {"Retry-After": "0"})
FULL = Answer(429, {"error": "backlog_full", "message": "full", "field": None}, {"Retry-After": "0"})
BUSY = Answer(409, {"error": "key_in_use", "message": "busy", "field": None}, {"Retry-After": "0"})
TAKEN = Answer(409, {"error": "exists", "message": "there", "field": None})
LOST = Answer(0)
GONE = Answer(502, "<html>")
ACCEPTED = Answer(202, {"task_id": "t", "tenant": "acme", "queue": "q"})
SCHEDULES = Answer(200, {"schedules": [], "beat": True})


def submit(client: Client) -> object:
    return client.submit("n")


def submit_without_a_key(client: Client) -> object:
    return client.submit("n", idempotency_key=None)


def schedules(client: Client) -> object:
    return client.schedules()


def replay(client: Client) -> object:
    return client.replay_dead_letter("d")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ask", "answers", "error"),
    [
        (submit, [AWAY, FULL, LOST, ACCEPTED], None),
        (submit, [BUSY, GONE, ACCEPTED], None),
        (submit, [AWAY] * 4, Unavailable),
        (submit, [LOST] * 4, ConnectionFailed),
        (schedules, [LOST, AWAY, SCHEDULES], None),
        (submit_without_a_key, [FULL, ACCEPTED], None),
        (submit_without_a_key, [AWAY], Unavailable),
        (submit_without_a_key, [LOST], ConnectionFailed),
        (submit, [TAKEN], Conflict),
        (replay, [LOST], ConnectionFailed),
        (replay, [AWAY], Unavailable),
        (schedules, [Answer(200, "<html>")], UnexpectedAnswer),
        (schedules, [Answer(301, "")], UnexpectedAnswer),
    ],
)
def test_what_does_no_harm_is_sent_again(
    kind: str, ask: Callable[[Client], object], answers: list[Answer], error: type[ApiError] | None
) -> None:
    """Four times at most, with the same key; nothing that may have been done, and could be done twice."""
    with scripted(*answers) as server, connected(kind, server.url, token="x") as client:
        if error is None:
            ask(client)
        else:
            with pytest.raises(error):
                ask(client)
        assert len({each.body for each in server.asked}) == 1
        assert [each.headers["Authorization"] for each in server.asked] == ["Bearer x"] * len(answers)


def test_a_failure_says_whether_it_may_have_been_done() -> None:
    """An answer that was lost is told from a connection that never was; the query of a URL is told to nobody."""
    with (
        scripted(LOST) as server,
        Client(server.url, retries=0) as client,
        pytest.raises(ConnectionFailed, match="it may have been carried out all the same") as failed,
    ):
        client.cancel_all(tag="secret")
    assert failed.value.may_have_arrived
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_api_may_be_mounted_under_a_prefix_and_know_its_users_otherwise(kind: str) -> None:
    """The address may have a path, and each request the headers that the application wants."""
    with (
        scripted(ACCEPTED) as server,
        connected(kind, f"{server.url}/queue", headers={"Session": "s"}) as client,
    ):
        client.submit("n")
        assert (server.asked[0].path, server.asked[0].headers["Session"]) == ("/queue/tasks", "s")
        assert "Authorization" not in server.asked[0].headers


def test_a_client_of_nothing_is_refused() -> None:
    """Wrong arguments are told at once."""
    with pytest.raises(ValueError, match="base_url: 'localhost:8000' is not valid"):
        Client("localhost:8000")
    with pytest.raises(ValueError, match="either token or api_key"):
        AsyncClient("http://localhost", token="x", api_key="y")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_batches_of_no_possible_size_are_refused(kind: str, size: int) -> None:
    """A stream in batches of none would submit nothing, or all at its end."""
    with (
        connected(kind, "http://localhost") as client,
        pytest.raises(ValueError, match=f"size: {size} is not valid; accepted is 1 to 10000"),
    ):
        next(iter(client.submit_stream([Submission("n")], size=size)))


def test_what_lasts_may_be_told_as_a_timedelta() -> None:
    """A Python program has it so."""
    lasting: dict[str, Any] = {"countdown": timedelta(hours=1), "expires": timedelta(days=1)}
    told = json.loads(Submission("n", time_limit=timedelta(seconds=1.5), **lasting).json)
    assert (told["countdown"], told["expires"], told["time_limit"]) == (3600, 86_400, 1.5)


def test_an_empty_list_of_states_is_not_any_state() -> None:
    """It would be left out of the query, and all tasks of the tag be cancelled."""
    with pytest.raises(ValueError, match=r"state: \[\] is not valid; accepted is at least one"):
        calls.cancel_all(tag="t", state=[])


def test_pauses_double_and_are_those_that_the_api_asks_for() -> None:
    """Not all clients come back at once, and nobody waits for an hour unasked."""
    error = ApiError(503, "x", "y")
    assert [pause_after(error, failed, dice=1.0) for failed in (1, 2, 3, 10)] == [0.25, 0.5, 1.0, 10.0]
    assert pause_after(error, 1, dice=0.0) == 0.125
    assert pause_after(TooManyRequests(429, "x", "y", retry_after=7), 1, dice=1.0) == 7
    assert pause_after(TooManyRequests(429, "x", "y", retry_after=3600), 1, dice=1.0) is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("7", 7.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0), ("soon", None), (None, None)],
)
def test_retry_after_is_read(told: str | None, seconds: float | None) -> None:
    """As seconds or as a date."""
    headers = {} if told is None else {"Retry-After": told}
    assert error_of(503, httpx.Headers(headers), b"{}", now=10.0).retry_after == seconds


def test_errors_can_be_pickled() -> None:
    """A task that calls the API may fail with its error."""
    import pickle

    error = Invalid(422, "invalid_input", "no", field="name")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.field) == (Invalid, "422 invalid_input: no", "name")


def bare(schema: Any) -> Any:
    """Return a schema without defaults and what is there for people, and with references by the names alone."""
    if isinstance(schema, list):
        return [bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # An annotation is text; a field of that name has a schema.
    kept = {
        name: bare(each)
        for name, each in schema.items()
        if not (
            (name in {"title", "description"} and isinstance(each, str))
            or name in {"examples", "minLength", "maxLength", "maximum", "exclusiveMinimum"}
            or (name == "default" and not (each and isinstance(each, dict)))
        )
    }
    if "$ref" in kept:
        kept["$ref"] = kept["$ref"].rpartition("/")[2]
    return kept
