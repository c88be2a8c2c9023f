"""Batches and idempotency keys over HTTP, on a real broker and a real Redis."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import Client, assert_problem, serving, shop
from support.outages import without_broker, without_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from taketurns import TakeTurns
    from taketurns.settings import Settings

NDJSON = {"Content-Type": "application/x-ndjson"}


def submissions(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "shop.thumbnail", "args": [f"i-{number}"], **more} for number in range(count)]


def lines(several: list[Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in several)


def waiting(turns: TakeTurns, tenant: str = "acme") -> int:
    return turns.publisher.waiting(f"usersequence_{tenant}")


def told(response: httpx.Response) -> list[tuple[int, str, str | None]]:
    """Return what an answer tells of each task that is wrong."""
    body = response.json()
    assert (response.status_code, body["error"]) == (422, "invalid_batch"), body
    return [(each["index"], each["error"], each["field"]) for each in body["errors"]]


def test_ten_thousand_tasks_are_submitted_in_one_request(acme: Client, turns: TakeTurns) -> None:
    """The answer has an id for each, in their order, and all of them are in the queue."""
    response = acme.post("/tasks/batch", json=submissions(10_000, tags=["import"]))
    assert response.status_code == 202, response.text
    body = response.json()
    assert (body["tenant"], body["accepted"], len(body["tasks"])) == ("acme", 10_000, 10_000)
    assert {each["error"] for each in body["tasks"]} == {None}
    assert len({each["task_id"] for each in body["tasks"]}) == 10_000
    assert waiting(turns) == 10_000
    last = acme.get(f"/tasks/{body['tasks'][-1]['task_id']}").json()
    assert (last["name"], last["status"], last["tags"]) == ("shop.thumbnail", "QUEUED", ["import"])


def test_lines_are_read_as_they_come(acme: Client, turns: TakeTurns) -> None:
    """NDJSON in chunks that end anywhere is the same batch; empty lines don't count."""
    body = lines(submissions(4_000, kwargs={"size": 128}))[:-1] + b"\n\n"

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 9_999):
            yield body[start : start + 9_999]

    response = acme.post("/tasks/batch", content=chunks(), headers=NDJSON)
    assert response.status_code == 202, response.text
    assert response.json()["accepted"] == 4_000
    assert waiting(turns) == 4_000


WRONG: list[Any] = [
    {"name": "shop.thumbnail", "args": ["i-1"]},
    {"name": "shop.internal"},
    {"name": "shop.thumbnail"},
    {"name": "shop.thumbnail", "args": ["i-1"], "priority": "urgent"},
    {"name": "shop.thumbnail", "args": ["i-1"], "nonsense": 1},
    {"args": []},
    17,
    {"name": "shop.thumbnail", "args": ["i-1"], "eta": "tomorrow"},
    {"name": "shop.thumbnail", "args": ["i-1"], "countdown": 1, "eta": "2040-01-01T00:00:00Z"},
    {"name": "shop.thumbnail", "args": ["i-1"], "expires": -1},
    {"name": "shop.thumbnail", "args": [float("nan")]},
    {"name": "shop.thumbnail", "args": ["i-1"], "tags": [""]},
    {"name": "shop.anything", "args": ["x" * 2000]},
]
FOUND = [
    (1, "unknown_task", "name"),
    (2, "invalid_input", "args"),
    (3, "invalid_input", "priority"),
    (4, "invalid_input", "nonsense"),
    (5, "invalid_input", "name"),
    (6, "invalid_input", "body"),
    (7, "invalid_input", "eta"),
    (8, "invalid_input", "eta"),
    (9, "invalid_input", "expires"),
    (10, "invalid_input", "args"),
    (11, "invalid_input", "tags"),
    (12, "invalid_input", "args"),
]


def test_one_that_is_wrong_keeps_all_from_being_submitted(settings: Settings) -> None:
    """The answer tells of each what is wrong, by its place."""
    turns = shop(settings, max_body=1024)
    turns.publisher.ensure("acme")
    with serving(turns) as api, api.as_("acme") as acme:
        response = acme.post(
            "/tasks/batch", content=json.dumps(WRONG), headers={"Content-Type": "application/json"}
        )
        assert told(response) == FOUND
        assert response.json()["message"].startswith("1.name: no task 'shop.internal'")
        response = acme.post("/tasks/batch", content=lines(WRONG), headers=NDJSON)
        assert told(response)[:-1] == FOUND[:-1]
        assert told(response)[-1] == (12, "body_too_large", "body")
    assert waiting(turns) == 0


def test_a_line_that_is_no_json_is_told_by_its_place(acme: Client) -> None:
    """Those after it are looked at too, and only some are listed."""
    body = lines(submissions(1)) + b"{nonsense\n" + b"\xff\n" + b"[" * 100_000 + b"\n" + b"{}\n" * 200
    response = acme.post("/tasks/batch", content=body, headers=NDJSON)
    assert told(response)[:4] == [(place, "invalid_input", "body") for place in (1, 2, 3)] + [
        (4, "invalid_input", "name")
    ]
    assert len(told(response)) == 100
    assert "and 202 more" in response.json()["message"]


def test_one_that_depends_on_what_nobody_knows_keeps_all_from_being_submitted(
    acme: Client, turns: TakeTurns
) -> None:
    known = acme.post("/tasks", json=submissions(1)[0]).json()["task_id"]
    wait, lost = ({**submissions(1)[0], "depends_on": [each]} for each in (known, "nosuch"))
    answer = acme.post("/tasks/batch", json=[wait, lost, *submissions(1)])
    assert told(answer) == [(1, "invalid_input", "depends_on")]
    assert waiting(turns) == 1
    assert acme.post("/tasks/batch", json=[wait, wait]).status_code == 202
    assert [state for _, state in turns.tasks.list("acme").tasks] == ["BLOCKED", "BLOCKED", "QUEUED"]


@pytest.mark.parametrize(
    "body", ["", "{}", "[", "[]", '"x"', "\xff", "[" * 100_000, json.dumps([{}] * 10_001)]
)
def test_what_is_no_batch_is_refused(body: str, acme: Client) -> None:
    """An array of 1 to 10,000 submissions is needed."""
    content = body.encode("latin-1")
    response = acme.post("/tasks/batch", content=content, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, code="invalid_input", field="body")


def test_another_content_type_is_refused(acme: Client) -> None:
    """Nothing is guessed."""
    response = acme.post(
        "/tasks/batch", content=lines(submissions(1)), headers={"Content-Type": "text/plain"}
    )
    assert_problem(response, 415, code="unsupported_media_type")


def test_too_many_lines_are_refused(acme: Client, turns: TakeTurns) -> None:
    """Nothing of them is submitted."""
    turns.publisher.ensure("acme")
    response = acme.post("/tasks/batch", content=lines(submissions(10_001)), headers=NDJSON)
    assert_problem(response, 422, code="invalid_input", field="body")
    assert waiting(turns) == 0


def test_a_batch_has_a_limit_of_its_own(settings: Settings) -> None:
    """It may be longer than another body."""
    with serving(shop(settings, max_body=1024, max_batch_body=4096)) as api, api.as_("acme") as acme:
        assert acme.post("/tasks/batch", json=submissions(50)).status_code == 202
        assert_problem(
            acme.post("/tasks/batch", json=submissions(200)), 413, code="body_too_large", field="body"
        )
        content = lines(submissions(200))
        response = acme.post("/tasks/batch", content=iter([content]), headers=NDJSON)
        assert_problem(response, 413, code="body_too_large", field="body")


def test_a_batch_that_would_not_fit_is_refused(acme: Client, turns: TakeTurns) -> None:
    """429, and nothing was submitted."""
    turns.registry.update("acme", max_backlog=10)
    assert acme.post("/tasks/batch", json=submissions(8)).status_code == 202
    response = acme.post("/tasks/batch", json=submissions(3))
    assert_problem(response, 429, code="backlog_full")
    assert int(response.headers["Retry-After"]) > 0
    assert waiting(turns) == 8


def test_without_a_broker_a_batch_is_503_in_time(settings: Settings, nowhere: str) -> None:
    """Nothing was submitted."""
    with serving(shop(without_broker(settings, nowhere))) as api, api.as_("acme") as acme:
        before = time.monotonic()
        response = acme.post("/tasks/batch", json=submissions(1000))
        assert time.monotonic() - before < 5
    assert_problem(response, 503, code="broker_unavailable")
    assert response.headers["Retry-After"]


def test_nobody_submits_a_batch_without_a_token(api: Client) -> None:
    """It is asked for before the body is read."""
    assert_problem(api.post("/tasks/batch", json=[]), 401, code="not_authenticated")


# ---- idempotency keys


@pytest.mark.parametrize("where", ["header", "body"])
def test_a_repeated_request_has_the_same_answer(where: str, acme: Client, turns: TakeTurns) -> None:
    """The first one's id, and that it is a duplicate; nothing is submitted again."""
    key = {"idempotency_key": "order-1"} if where == "body" else {}
    headers = {"Idempotency-Key": "order-1"} if where == "header" else {}
    first, again = (acme.post("/tasks", json=submissions(1, **key)[0], headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() | {"duplicate": True} == again.json()
    assert (first.json()["duplicate"], again.json()["status"]) == (False, "QUEUED")
    acme.delete(f"/tasks/{first.json()['task_id']}")
    ended = acme.post("/tasks", json=submissions(1, **key)[0], headers=headers).json()
    assert (ended["status"], ended["duplicate"]) == ("CANCELLED", True)
    assert waiting(turns) == 1


def test_the_same_key_for_something_else_is_refused(acme: Client) -> None:
    """Another task, other arguments, or two keys at once."""
    headers = {"Idempotency-Key": "k"}
    assert acme.post("/tasks", json=submissions(2)[0], headers=headers).status_code == 202
    for other in (submissions(2)[1], {"name": "shop.anything", "args": ["i-0"]}):
        response = acme.post("/tasks", json=other, headers=headers)
        assert_problem(response, 422, code="key_conflict", field="idempotency_key")
    response = acme.post("/tasks/batch", json=[*submissions(1), submissions(2, idempotency_key="k")[1]])
    assert told(response) == [(1, "key_conflict", "idempotency_key")]
    response = acme.post("/tasks", json=submissions(1, idempotency_key="other")[0], headers=headers)
    assert_problem(response, 422, code="invalid_input", field="idempotency_key")
    response = acme.post("/tasks/batch", json=submissions(1), headers=headers)
    assert_problem(response, 422, code="invalid_input", field="Idempotency-Key")


def test_another_tenants_key_is_another_key(api: Client, acme: Client) -> None:
    """Nobody learns what keys others use."""
    with api.as_("mallory") as mallory:
        body = submissions(1, idempotency_key="k")[0]
        first, other = acme.post("/tasks", json=body).json(), mallory.post("/tasks", json=body).json()
    assert first["task_id"] != other["task_id"]
    assert not other["duplicate"]


def test_a_hundred_at_once_over_two_api_processes_are_one(settings: Settings) -> None:
    """All of them are answered with the same id, single ones and batches."""
    with ExitStack() as stack:
        apis = [stack.enter_context(serving(shop(settings))) for _ in range(2)]
        clients = [stack.enter_context(api.as_("acme")) for api in apis]
        for client in clients:  # has FastAPI build its routes, which two threads can't do at once
            client.get("/nothing")
        body = submissions(1, idempotency_key="k")[0]

        def submit(number: int) -> str:
            client = clients[number % 2]
            if number % 10 == 0:
                response = client.post("/tasks/batch", json=[body])
                answer = response.json()["tasks"][0]
            else:
                response = client.post("/tasks", json=body)
                answer = response.json()
            assert response.status_code == 202, response.text
            return f"{answer['task_id']} {answer['duplicate']}"

        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(submit, range(100)))
    assert len({answer.split()[0] for answer in answers}) == 1
    assert sum(answer.endswith("False") for answer in answers) == 1
    turns = shop(settings)
    assert waiting(turns) == 1
    turns.close()


def test_a_key_needs_redis(settings: Settings, nowhere: str) -> None:
    """Without Redis it is a 503; the same without a key is accepted."""
    with serving(shop(without_redis(settings, nowhere), results=False)) as api, api.as_("acme") as acme:
        response = acme.post("/tasks", json=submissions(1, idempotency_key="k")[0])
        assert_problem(response, 503, code="redis_unavailable")
        assert response.headers["Retry-After"]
        response = acme.post("/tasks/batch", json=submissions(2, idempotency_key="k"))
        assert response.status_code == 422  # two tasks, one key
        response = acme.post("/tasks/batch", json=submissions(1, idempotency_key="k"))
        assert_problem(response, 503, code="redis_unavailable")
        assert acme.post("/tasks/batch", json=submissions(2)).status_code == 202
