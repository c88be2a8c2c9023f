"""Tenants and status on the command line, run as people run it, on real servers."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from support.api_server import serving
from support.command import SHOP, assert_one_line, parsed, run, run_without
from support.workers import environment, worker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]


# ---- tenants


def test_settings_are_set_and_shown(taketurns: Run, turns: TakeTurns) -> None:
    """What is given is set, the rest stays, none takes a limit away, and the API shows the same."""
    options: tuple[str, ...] = (
        "--rate",
        "10/60s:5",
        "--weight",
        "2",
        "--max-concurrency",
        "4",
        "--burst-when-idle",
        "--max-backlog",
        "500",
    )
    options += ("--priority-rate", "high=10/1s", "--priority-rate", "low=1/1h", "--metadata", '{"a": [1]}')
    options += ("--task-rate", "shop.mail=5/1s", "--task-rate", "shop.nap=1/1h")
    first = parsed(
        taketurns("tenants", "set", "acme", *options, "--tag", "plan=pro", "--tag", "note=a=b", "--json")
    )
    created_at = first["created_at"]
    assert created_at == pytest.approx(time.time(), abs=60)
    expected = {
        "tenant": "acme",
        "queue": "usersequence_acme",
        "has_queue": False,
        "backlog": {"ready": 0, "unacknowledged": 0},
        "rate_limit": "10/60s:5",
        "task_rate_limits": {"shop.mail": "5/1s", "shop.nap": "1/1h"},
        "weight": 2.0,
        "max_concurrency": 4,
        "burst_when_idle": True,
        "max_backlog": 500,
        "priority_rate_limits": {"high": "10/1s", "low": "1/1h"},
        "paused": False,
        "tags": {"plan": "pro", "note": "a=b"},
        "metadata": {"a": [1]},
        "completed": 0,
        "failed": 0,
        "created_at": created_at,
    }
    assert first == expected
    options = ("--rate", "none", "--max-concurrency", "none", "--no-burst-when-idle", "--max-backlog", "none")
    options += ("--priority-rate", "high=none", "--tag", "plan=free", "--tag", "note=", "--tag", "region=eu")
    options += ("--task-rate", "shop.mail=none", "--task-rate", "shop.nap=2/1h")
    second = parsed(taketurns("tenants", "set", "acme", *options, "--json"))
    assert second == {
        **expected,
        "rate_limit": None,
        "max_concurrency": None,
        "burst_when_idle": False,
        "max_backlog": None,
        "priority_rate_limits": {"low": "1/1h"},
        "task_rate_limits": {"shop.nap": "2/1h"},
        "tags": {"plan": "free", "region": "eu"},
    }
    last = parsed(taketurns("tenants", "set", "acme", "--untag", "plan", "--untag", "absent", "--json"))
    assert last == {**second, "tags": {"region": "eu"}}
    assert parsed(taketurns("tenants", "show", "acme", "--json")) == last
    with serving(turns) as api, api.as_("root", operator=True) as operator:
        assert operator.get("/tenants/acme").json() == last


def test_tenants_are_listed_and_filtered(taketurns: Run, turns: TakeTurns) -> None:
    """A table for people, JSON for programs; repeated tags must all match; no cell is cut off or interpreted."""
    turns.app.tasks["shop.anything"].apply_async(tenant="queued")
    turns.registry.update(
        "a", tags={"plan": "pro", "note": "[bold]" + "x" * 60}, rate_limit="1/1s", paused=True
    )
    turns.registry.update("b", tags={"plan": "pro"}, weight=0.5, max_concurrency=3, max_backlog=70)
    assert [each["tenant"] for each in parsed(taketurns("tenants", "list", "--json"))] == ["a", "b", "queued"]
    found = parsed(taketurns("tenants", "list", "--tag", "plan=pro", "--json"))
    assert [each["tenant"] for each in found] == ["a", "b"]
    assert parsed(taketurns("tenants", "list", "--tag", "plan=pro", "--tag", "region=eu", "--json")) == []
    table = taketurns("tenants", "list").stdout
    assert re.search(rf"^ a +0 +1/1s +1 +yes +note=\[bold\]{'x' * 60} plan=pro *$", table, re.MULTILINE), (
        table
    )
    assert re.search(r"^ b +0 +70 +0\.5 +3 +plan=pro *$", table, re.MULTILINE), table
    assert re.search(r"^ queued +1 +1 *$", table, re.MULTILINE), table
    nothing = taketurns("tenants", "list", "--tag", "plan=free")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "There are no such tenants.\n")


def test_a_tenant_is_shown_to_people(taketurns: Run, turns: TakeTurns) -> None:
    """Every setting has its line, as it was set."""
    turns.registry.update(
        "acme",
        tags={"plan": "pro"},
        metadata={"a": "ä"},
        priority_rate_limits={"low": "1/1s"},
        max_backlog=70,
    )
    text = taketurns("tenants", "show", "acme").stdout
    for line in (
        r"tags +plan=pro",
        r'metadata +\{"a": "ä"\}',
        r"rates of priorities +low=1/1s",
        r"weight +1",
        r"may wait +70",
    ):
        assert re.search(rf"^ {line} *$", text, re.MULTILINE), text


def test_pausing_reaches_the_workers_at_once(
    taketurns: Run, turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Workers hear of pause and resume, although they would look by themselves only in a minute."""
    task = turns.app.tasks["shop.nap"]
    log = tmp_path / "log"
    log.mkdir()
    turns.create("acme")
    assert taketurns("tenants", "pause", "acme").stdout == "acme is paused; its tasks wait in their queue.\n"
    assert turns.registry.get("acme").paused
    with worker(
        settings,
        log,
        *("-P", "threads", "-c", "1"),
        app="support.api_app",
        TAKETURNS_WORKER_HEARTBEAT_INTERVAL="60",
        TAKETURNS_WORKER_RECONCILE_INTERVAL="60",
    ):
        result = task.apply_async((0,), tenant="acme")
        beside = task.apply_async((0,), tenant="other")
        eventually(lambda: beside.status == "SUCCESS")
        assert result.status == "PENDING"
        assert taketurns("tenants", "resume", "acme").stdout == "acme is not paused.\n"
        eventually(lambda: result.status == "SUCCESS")
    turns.app.backend.result_consumer.stop()


def test_a_tenant_without_a_queue_is_told_so(taketurns: Run, turns: TakeTurns) -> None:
    """Nobody's name makes a tenant; one that has settings is paused before its first task."""
    unknown = r"there is no tenant 'nosuch': it has neither a queue nor settings"
    assert_one_line(taketurns("tenants", "pause", "nosuch"), f"{unknown}; .* tenants create nosuch --paused")
    assert_one_line(taketurns("tenants", "resume", "nosuch", "--json"), unknown)
    assert turns.registry.all() == {}
    turns.update("acme", weight=2)
    said = [taketurns("tenants", how, "acme").stdout for how in ("pause", "resume")]
    assert said == [
        "acme is paused; its tasks wait in their queue, which is not there yet.\n",
        "acme is not paused; it has no queue yet.\n",
    ]


def test_it_is_explained_why_a_task_has_not_started(taketurns: Run, turns: TakeTurns) -> None:
    """In one sentence, or as the same JSON as over HTTP."""
    assert_one_line(taketurns("tenants", "explain", "nobody"), r"there is no tenant 'nobody': .*")
    turns.registry.update("acme", paused=True)
    turns.publisher.ensure("acme")
    found = json.loads(taketurns("tenants", "explain", "acme", "--json").stdout)
    assert found == asdict(turns.explain("acme"))


def test_what_can_not_be_done_is_told_in_one_line(taketurns: Run) -> None:
    """Unknown tenants, ids and filters of another form, and a Redis that is away."""
    assert_one_line(taketurns("tenants", "show", "nobody"), r"there is no tenant 'nobody': .*")
    assert_one_line(taketurns("tenants", "pause", "a b"), r"tenant: 'a b' is not valid; .*")
    assert_one_line(taketurns("tenants", "list", "--tag", "plan="), r"--tag: '' is not valid; .*")
    away = taketurns("tenants", "resume", "acme", TAKETURNS_REDIS_URL="redis://127.0.0.1:1/0")
    assert_one_line(away, r"Redis failed .*")


def test_tenants_do_not_need_the_packages_of_the_api(
    turns: TakeTurns, settings: Settings, tmp_path: Path
) -> None:
    """All about tenants works where FastAPI is not installed."""
    (tmp_path / "shop.py").write_text(SHOP)
    for words in (["set", "acme", "--weight", "2"], ["list"], ["show", "acme"], ["pause", "acme"]):
        result = run_without(
            "fastapi", "-A", "shop", "tenants", *words, cwd=tmp_path, **environment(settings)
        )
        assert "acme" in result.stdout, result.stderr
    assert turns.registry.get("acme").paused


@pytest.mark.parametrize(
    "words", [*(["tenants", name] for name in ("list", "show", "set", "pause", "resume")), ["status"]]
)
def test_help_has_an_example(words: list[str], tmp_path: Path) -> None:
    """--help shows how the command is used."""
    text = " ".join(run(*words, "--help", cwd=tmp_path).stdout.split())
    assert f"Example: taketurns -A shop {' '.join(words)}" in text


# ---- status


def test_the_status_is_told(
    taketurns: Run, turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """A table for people and JSON for programs, with live and silent workers."""
    log = tmp_path / "log"
    log.mkdir()
    turns.registry.worker_alive("gone@host", 60)
    turns.registry.update("acme", paused=True)
    turns.registry.update("limited", rate_limit="1/1h")
    with worker(settings, log, "-P", "threads", "-c", "1", app="support.api_app") as alive:
        for tenant in ("acme", "limited", "limited"):
            turns.app.tasks["shop.nap"].apply_async((0,), tenant=tenant)
        eventually(lambda: (turns.status().throttled, turns.status().unacknowledged) == (1, 0))
        status = parsed(taketurns("status", "--json"))
        assert [each["name"] for each in status["workers"]] == [alive.name]
        assert status["silent"] == ["gone@host"]
        assert (status["ready"], status["tenants"], status["paused"]) == (2, 2, 1)
        assert (status["throttled"], status["workers"][0]["throttled"]) == (1, 1)
        assert status["redis"]["ok"] is True
        text = taketurns("status").stdout
        for line in (
            r"RabbitMQ +[0-9.]+ is up",
            r"tenants +2 \(1 paused\)",
            r"tenants throttled +1",
            r"tasks waiting +2",
            r"dead letters +0",
            r"lost tasks +0",
            rf"{re.escape(alive.name)} +{alive.process.pid} +0 +0 +2 +1 +\d+ ms",
            r"gone@host +no answer",
        ):
            assert re.search(rf"^ {line} *$", text, re.MULTILINE), text


def test_a_server_that_is_away_makes_the_status_fail(taketurns: Run) -> None:
    """It is told all the same, with the reason, and the exit code is 1."""
    result = taketurns("status", "--json", TAKETURNS_REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.returncode, result.stderr) == (1, "taketurns: Redis can't be reached\n")
    status = json.loads(result.stdout)
    assert (status["redis"]["ok"], status["broker"]["ok"], status["tenants"]) == (False, True, None)
    text = taketurns("status", TAKETURNS_REDIS_URL="redis://127.0.0.1:1/0").stdout
    assert re.search(r"^ Redis +is away: Redis failed .*$", text, re.MULTILINE), text
    assert "It is unknown which workers live." in text
