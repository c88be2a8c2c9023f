"""Both Python clients of the real API, beside a real worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.clients import KINDS, connected
from support.proxy import running
from support.workers import worker
from taketurns.client import Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.api_server import Client as Plain
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

WITHIN = 60.0

pytestmark = [pytest.mark.usefixtures("workers"), pytest.mark.parametrize("kind", KINDS)]


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """One worker of the API's shop."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.api_app"):
        yield


def test_a_task_is_submitted_followed_and_waited_for(kind: str, api: Plain, eventually: Eventually) -> None:
    """Its events lead from its submission to its end; what it returned, or raised, is told."""
    with connected(kind, str(api.base_url), token=api.tokens.issue("acme")) as client:
        made = client.submit("shop.thumbnail", ["i-1"], {"size": 64}, tags=["import"])
        events = [each.kind for each in client.task_events(made.task_id)]
        assert events == ["connected", "queued", "started", "completed"]
        ended = client.wait(made.task_id, timeout=WITHIN)
        assert (ended.status, ended.result, ended.attempts, ended.error) == ("SUCCESS", "i-1@64", 1, None)
        assert [each.task_id for each in client.tasks(tag="import", state="SUCCESS")] == [made.task_id]

        failed = client.wait(client.submit("shop.nap", ["x"]).task_id, timeout=WITHIN)
        assert failed.status == "FAILURE"
        assert failed.error is not None
        assert failed.error.type == "TypeError"
        letters = client.dead_letters(task_id=failed.task_id).letters
        assert [each.task for each in letters] == ["shop.nap"]

        after = client.submit("shop.thumbnail", ["i-2"], depends_on=[made.task_id])
        assert client.wait(after.task_id, timeout=WITHIN).result == "i-2@128"
        eventually(lambda: (client.stats().completed, client.stats().failed) == (2, 1), within=WITHIN)


def test_a_submission_whose_answer_was_lost_runs_once(kind: str, api: Plain, eventually: Eventually) -> None:
    """It is sent again with the same key, alone and in a batch, and has the first one's answer."""
    batch = [Submission("shop.anything", [number]) for number in range(5)]
    with (
        api.as_("acme") as plain,
        running(str(api.base_url)) as proxy,
        connected(kind, proxy.url, token=api.tokens.issue("acme")) as client,
        ThreadPoolExecutor() as threads,
    ):

        def ended() -> int:
            return len(plain.get("/tasks?state=SUCCESS").json()["tasks"])

        proxy.silence()
        alone = threads.submit(client.submit, "shop.anything", ["one"])
        eventually(lambda: ended() == 1, within=WITHIN)
        proxy.drop()
        assert alone.result(WITHIN).duplicate
        proxy.silence()
        together = threads.submit(client.submit_many, batch)
        eventually(lambda: ended() == 6, within=WITHIN)
        proxy.drop()
        assert [each.duplicate for each in together.result(WITHIN).tasks] == [True] * 5
        last = client.submit("shop.anything", ["last"]).task_id
        assert client.wait(last, timeout=WITHIN).status == "SUCCESS"
        assert [(each.status, each.attempts) for each in client.tasks()] == [("SUCCESS", 1)] * 7
