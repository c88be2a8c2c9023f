"""Requests by the API's own OpenAPI document, and against it: it answers as it says there, and never with a 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import assert_problem, patient
from support.fuzzing import STREAMS, fuzz
from support.operations import EVENTS
from support.workers import worker

if TYPE_CHECKING:
    from pathlib import Path

    from support.api_server import Client
    from taketurns.settings import Settings


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return patient(settings, monkeypatch)


@pytest.mark.parametrize("operator", [True, False], ids=["operator", "tenant"])
def test_the_api_answers_as_its_document_says(
    operator: bool, api: Client, settings: Settings, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    with (
        worker(settings, tmp_path, "-c", "1", app="support.api_app", TAKETURNS_REDIS_TIMEOUT="0.9"),
        api.as_("root", operator=operator) as client,
    ):
        for _ in range(3):
            client.post("/tasks", json={"name": "shop.anything", "tags": ["t"]}).raise_for_status()
        found = fuzz(client, tmp_path, examples=pytestconfig.getoption("fuzz"))
    assert not found, found


def test_streams_answer_as_their_document_says(api: Client, acme: Client) -> None:
    """They are left out above, since they don't end."""
    paths = api.get("/openapi.json").json()["paths"]
    told = {path: methods["get"]["responses"] for path, methods in paths.items() if "get" in methods}
    assert {path for path, answers in told.items() if EVENTS in answers["200"]["content"]} == set(STREAMS)
    task_id = acme.post("/tasks", json={"name": "shop.anything"}).json()["task_id"]
    requests: list[tuple[Client, dict[str, Any], int]] = [
        (acme, {}, 200),
        (acme, {"headers": {"Last-Event-ID": "1764364364123-0"}}, 200),
        (acme, {"headers": {"Last-Event-ID": "yesterday"}}, 422),
        (acme, {"params": {"since": "2h"}}, 422),
        (api, {}, 401),
        (api, {"params": {"access_token": "x"}}, 401),
    ]
    for path in STREAMS:
        for client, options, status in requests:
            with client.stream("GET", path.format(task_id=task_id), **options) as response:
                assert response.status_code == status
                kind = response.headers["Content-Type"].partition(";")[0]
                assert list(told[path][str(status)]["content"]) == [kind]
        refused = acme.post(path.format(task_id=task_id))
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
    assert_problem(acme.get(STREAMS[1].format(task_id="nobodys")), 404, code="not_found")
