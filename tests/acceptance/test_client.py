"""Both Python clients beside ``taketurns api`` as a process, which is killed, and a real worker."""

from __future__ import annotations

import itertools
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.clients import KINDS, connected
from support.workers import worker
from taketurns.client import Submission

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.api_process import Api
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

WITHIN = 60.0
TASKS = 20


@pytest.mark.parametrize("kind", KINDS)
def test_no_event_is_lost_while_the_api_is_killed_and_started_again(
    kind: str, start: Callable[..., Api], settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Those of all tasks, and those of each, come once and in order, though many happened meanwhile."""
    first = start()
    with first.client() as plain:
        url, token = str(plain.base_url), plain.tokens.issue("acme")
    with (
        worker(settings, tmp_path, "-P", "threads", "-c", "2"),
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
