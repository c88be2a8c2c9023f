"""Both Python clients beside ``taketurns api`` as a process and a real worker."""

from __future__ import annotations

import itertools
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.clients import KINDS, connected
from support.proxy import running
from support.workers import Ledger, worker
from taketurns.client import Client, Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.api_process import Api
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

WITHIN = 60.0
TASKS = 20


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """One worker of the tests' shop."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        yield


def address(api: Api) -> tuple[str, str]:
    """Return the API's URL, and a token of the tenant acme's."""
    with api.client() as client:
        return str(client.base_url), client.tokens.issue("acme")


@pytest.mark.usefixtures("workers")
def test_a_task_is_submitted_followed_and_waited_for(
    kind: str, start: Callable[..., Api], eventually: Eventually
) -> None:
    """Its events lead from its submission to its end; what it returned, or raised, is told."""
    url, token = address(start())
    with connected(kind, url, token=token) as client:
        counted = client.submit("support.shop.count", [3], tags=["count"])
        events = list(client.task_events(counted.task_id))
        ended = client.wait(counted.task_id, timeout=WITHIN)
        assert (ended.status, ended.result, ended.attempts, ended.error) == ("SUCCESS", 3, 1, None)
        assert ended.progress is not None
        assert (ended.progress.done, ended.progress.total) == (3, 3)
        kinds = [each.kind for each in events]
        assert (kinds[:2], kinds[-1]) == (["connected", "queued"], "completed")
        assert {*kinds[2:-1]} == {"started", "progress"}
        assert [each.task_id for each in client.tasks(tag="count", state="SUCCESS")] == [counted.task_id]

        failed = client.wait(client.submit("support.shop.fail", ["x"]).task_id, timeout=WITHIN)
        assert failed.status == "FAILURE"
        assert failed.error is not None
        assert (failed.error.type, failed.error.message) == ("ValueError", "no x")
        letters = client.dead_letters(task_id=failed.task_id).letters
        assert [each.task for each in letters] == ["support.shop.fail"]

        after = client.submit("support.shop.work", ["after"], depends_on=[counted.task_id])
        assert client.wait(after.task_id, timeout=WITHIN).result == "after"
        eventually(lambda: (client.stats().completed, client.stats().failed) == (2, 1), within=WITHIN)


@pytest.mark.usefixtures("workers")
def test_a_submission_whose_answer_was_lost_runs_once(
    kind: str, start: Callable[..., Api], settings: Settings, eventually: Eventually
) -> None:
    """It is sent again with the same key, alone and in a batch, and has the first one's answer."""
    url, token = address(start())
    ledger = Ledger(settings)
    batch = [Submission("support.shop.work", [f"b-{number}"]) for number in range(5)]
    with (
        running(url) as proxy,
        connected(kind, proxy.url, token=token) as client,
        ThreadPoolExecutor() as threads,
    ):
        client.me()
        proxy.silence()
        alone = threads.submit(client.submit, "support.shop.work", ["one"])
        eventually(lambda: ledger.labels() == ["one"], within=WITHIN)
        proxy.drop()
        assert alone.result(WITHIN).duplicate
        proxy.silence()
        together = threads.submit(client.submit_many, batch)
        eventually(lambda: len(ledger) == 6, within=WITHIN)
        proxy.drop()
        told = together.result(WITHIN)
        assert [each.duplicate for each in told.tasks] == [True] * 5
        last = client.submit("support.shop.work", ["last"]).task_id
        assert client.wait(last, timeout=WITHIN).status == "SUCCESS"
    assert sorted(ledger.labels()) == ["b-0", "b-1", "b-2", "b-3", "b-4", "last", "one"]


@pytest.mark.usefixtures("workers")
def test_no_event_is_lost_while_the_api_is_killed_and_started_again(
    kind: str, start: Callable[..., Api], eventually: Eventually
) -> None:
    """Those of all tasks, and those of each, come once and in order, though many happened meanwhile."""
    first = start()
    url, token = address(first)
    with (
        connected(kind, url, token=token, reconnects=40) as client,
        closing(client.all_events()) as told,
    ):
        assert next(told).kind == "connected"
        tasks = [Submission("support.shop.work", ["x", 0.4]) for _ in range(TASKS)]
        ids = [each.task_id for each in client.submit_many(tasks).tasks]
        events = list(itertools.islice(told, TASKS + 3))
        first.stop(signal.SIGKILL)
        start(port=int(url.rsplit(":", 1)[1].strip("/")))
        assert len([each for each in events if each.is_final]) < TASKS
        eventually(lambda: len([*client.tasks(state="SUCCESS")]) == TASKS, within=WITHIN)
        last = client.submit("support.shop.work", ["last"]).task_id
        events += itertools.takewhile(lambda each: (each.task_id, each.kind) != (last, "completed"), told)
        numbers = [[int(part) for part in str(each.id).split("-")] for each in events]
        assert numbers == sorted(numbers)
        for task_id in ids:
            of_task = [each for each in events if each.task_id == task_id]
            assert [each.kind for each in of_task] == ["queued", "started", "completed"]
        assert list(client.task_events(ids[-1]))[1:] == of_task


def test_nobody_waits_for_an_api_that_is_gone(kind: str, start: Callable[..., Api]) -> None:
    """The streams end with an error when it does not come back, and a wait at its time."""
    api = start()
    url, token = address(api)
    with connected(kind, url, token=token, retries=0, reconnects=2) as client:
        task_id = client.submit("support.shop.work", ["never"]).task_id
        events = client.task_events(task_id)
        assert [next(events).kind for _ in range(2)] == ["connected", "queued"]
        api.stop(signal.SIGKILL)
        with pytest.raises(ConnectionError):
            next(events)
    with Client(url, token=token, reconnects=1000) as patient, pytest.raises(TimeoutError):
        patient.wait(task_id, timeout=2)
