"""The HTTP API on a real broker and a real Redis: what is accepted, and what is not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pika import BlockingConnection, URLParameters

from support.api_server import Client, assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Broker
    from taketurns import TakeTurns

    Eventually = Callable[..., None]

JSON = {"Content-Type": "application/json"}
THUMBNAIL = {"name": "shop.thumbnail", "args": ["i-1"]}


def test_a_submitted_task_is_in_its_tenants_queue(acme: Client, broker: Broker) -> None:
    """202 means that the task is in the durable queue of the token's tenant, persistent and complete."""
    response = acme.post("/tasks", json={**THUMBNAIL, "kwargs": {"size": 64}})
    assert response.status_code == 202, response.text
    accepted = response.json()
    assert accepted == {
        "task_id": accepted["task_id"],
        "tenant": "acme",
        "queue": "usersequence_acme",
        "status": "QUEUED",
        "duplicate": False,
    }
    connection = BlockingConnection(URLParameters(broker.amqp_url))
    _, properties, body = connection.channel().basic_get("usersequence_acme", auto_ack=True)
    connection.close()
    assert properties is not None
    assert body is not None
    assert json.loads(body)[:2] == [["i-1"], {"size": 64}]
    assert properties.headers["id"] == accepted["task_id"]
    assert properties.headers["task"] == "shop.thumbnail"
    assert properties.headers["taketurns_tenant"] == "acme"
    assert properties.delivery_mode == 2


def test_only_exposed_tasks_can_be_submitted(acme: Client) -> None:
    """Unknown, unexposed and ordinary tasks get the same 422, which names ``name``."""
    for name in ("shop.nothing", "shop.internal", "shop.ordinary", "celery.chord", "x\x00y"):
        response = acme.post("/tasks", json={"name": name})
        message = assert_problem(response, 422, code="unknown_task", field="name")
        assert message == f"name: no task {name!r} can be submitted here"


MISFITS: list[tuple[object, str]] = [
    ({"name": "shop.thumbnail"}, "args"),
    ({"name": "shop.thumbnail", "args": [1, 2, 3]}, "args"),
    ({"name": "shop.thumbnail", "args": [1], "kwargs": {"colour": 1}}, "kwargs"),
    ({"name": "shop.thumbnail", "args": [1], "kwargs": {"self": 1}}, "kwargs"),
    ({"name": "shop.thumbnail", "args": "i-1"}, "args"),
    ({"name": "shop.thumbnail", "args": [1], "kwargs": [2]}, "kwargs"),
    ({"name": 7}, "name"),
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"args": []}, "name"),
    ({**THUMBNAIL, "tenant": "mallory"}, "tenant"),
    ({**THUMBNAIL, "queue": "celery"}, "queue"),
    ({**THUMBNAIL, "\ud800": 1}, "body"),
    ([], "body"),
    (None, "body"),
]
"""Bodies that are no submission, each with the field that is wrong."""

NO_TASKS: list[tuple[bytes, str, str]] = [
    (b"", "application/json", "body"),
    (b"{", "application/json", "body"),
    (b"\xff\xfe{}", "application/json", "body"),
    (b'{"name": "shop.anything", "args": ["caf\xe9"]}', "application/json", "body"),
    (b'{"name": "shop.thumbnail", "args": ["i-1"]}', "text/plain", "body"),
    (b"name=shop.thumbnail", "application/x-www-form-urlencoded", "body"),
    (b'{"name": "shop.anything", "args": [' + b"[" * 90 + b"]" * 90 + b"]}", "application/json", "args"),
    (b'{"name": "shop.anything", "args": [' + b"[" * 900 + b"]" * 900 + b"]}", "application/json", "args"),
    (b"[" * 100_000, "application/json", "body"),
    (b"[" * 100_000 + b"]" * 100_000, "application/json", "body"),
    (b'{"name": "shop.anything", "args": [' + b"9" * 5000 + b"]}", "application/json", "body"),
    (b'{"name": "shop.anything", "args": [NaN]}', "application/json", "args"),
]
"""Bytes that are no task, each with their content type and the field that is wrong."""


def test_a_body_that_does_not_fit_names_the_field(acme: Client, turns: TakeTurns) -> None:
    """What a submission can't have gets a 422 that names the field, and nothing is queued for anybody."""
    for body, field in MISFITS:
        response = acme.post("/tasks", content=json.dumps(body), headers=JSON)
        assert_problem(response, 422, code="invalid_input", field=field)
    assert turns.management.tenant_queues() == {}


def test_a_body_that_is_no_task_is_refused(acme: Client) -> None:
    """Whatever the bytes are, the answer is a 422 that names the field, and the message says what is accepted."""
    for content, kind, field in NO_TASKS:
        response = acme.post("/tasks", content=content, headers={"Content-Type": kind})
        assert_problem(response, 422, code="invalid_input", field=field)


def test_what_the_parser_gives_up_on_is_told(acme: Client) -> None:
    """A depth or a number that no parser here takes is refused with what is accepted, in the words of JSON."""
    for content, says in (
        (b"[" * 100_000, "body: lists and objects may be nested at most 64 deep"),
        (b"9" * 5000, "body: a whole number may have at most 4300 digits"),
        (b'"caf\xe9"', "body: it is no JSON (it is not UTF-8)"),
    ):
        response = acme.post("/tasks", content=content, headers=JSON)
        assert assert_problem(response, 422, code="invalid_input", field="body") == says


def test_strange_text_is_an_argument_like_any_other(acme: Client) -> None:
    """Text that JSON can carry is accepted, as a value and as a name."""
    for text in ("\ud800", "\x00", "日本", "\u202e", "'\"\\\n", "x" * 100_000):
        body = json.dumps({"name": "shop.anything", "args": [text], "kwargs": {text: text}})
        response = acme.post("/tasks", content=body, headers=JSON)
        assert response.status_code == 202, (text[:80], response.text)


def test_a_body_that_is_too_large_is_refused(acme: Client, turns: TakeTurns) -> None:
    """One byte too many gets a 413, with the length told in advance or in chunks; one less is accepted."""
    limit = turns.settings.api.max_body
    frame = b'{"name": "shop.anything", "args": ["%s"]}'

    def body(size: int) -> bytes:
        return frame % (b"x" * (size - len(frame) + 2))

    assert len(body(limit)) == limit
    assert acme.post("/tasks", content=body(limit), headers=JSON).status_code == 202
    for content in (body(limit + 1), iter([body(limit), b" "])):
        message = assert_problem(
            acme.post("/tasks", content=content, headers=JSON), 413, code="body_too_large", field="body"
        )
        assert str(limit) in message


def test_above_its_backlog_cap_a_tenant_is_told_when_to_try_again(
    acme: Client, api: Client, turns: TakeTurns, eventually: Eventually
) -> None:
    """A 429 with whole seconds in Retry-After; nothing is queued or remembered, and other tenants go on."""
    turns.registry.update("acme", max_backlog=2, rate_limit="1/4s")
    for _ in range(2):
        assert acme.post("/tasks", json=THUMBNAIL).status_code == 202
    response = acme.post("/tasks", json=THUMBNAIL)
    assert "2 tasks of tenant 'acme' wait" in assert_problem(response, 429, code="backlog_full")
    assert response.headers["Retry-After"] == "4"
    turns.registry.update("acme", rate_limit="10/1s")
    eventually(lambda: acme.post("/tasks", json=THUMBNAIL).headers["Retry-After"] == "1")
    with api.as_("other") as other:
        assert other.post("/tasks", json=THUMBNAIL).status_code == 202
    assert [len(turns.records.ids(tenant, count=10)) for tenant in ("acme", "other")] == [2, 1]
    assert api.get("/openapi.json").json()["paths"]["/tasks"]["post"]["responses"]["429"]


def test_many_tenants_submit_at_once(api: Client, turns: TakeTurns, eventually: Eventually) -> None:
    """More requests at a time than the API has threads and connections are all accepted."""
    tenants = [f"t{n}" for n in range(120)]

    def submit(tenant: str) -> int:
        with api.as_(tenant) as client:
            return client.post("/tasks", json=THUMBNAIL).status_code

    with ThreadPoolExecutor(len(tenants)) as pool:
        assert set(pool.map(submit, tenants)) == {202}
    eventually(lambda: sum(queue.ready or 0 for queue in turns.management.tenant_queues().values()) == 120)
