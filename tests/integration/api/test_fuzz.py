"""Requests by the API's own OpenAPI document, and against it: it answers as it says there, and never with a 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.fuzzing import fuzz
from support.workers import worker

if TYPE_CHECKING:
    from pathlib import Path

    from support.api_server import Client
    from taketurns.settings import Settings


@pytest.mark.parametrize("operator", [True, False], ids=["operator", "tenant"])
def test_the_api_answers_as_its_document_says(
    operator: bool, api: Client, settings: Settings, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    with (
        worker(settings, tmp_path, "-c", "1", app="support.api_app"),
        api.as_("root", operator=operator) as client,
    ):
        for _ in range(3):
            client.post("/tasks", json={"name": "shop.anything", "tags": ["t"]}).raise_for_status()
        found = fuzz(client, tmp_path, examples=pytestconfig.getoption("fuzz"))
    assert not found, found
