"""The example of a team's own FastAPI application, as its README runs it."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.workers import environment, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taketurns.settings import Settings

FOLDER = Path(__file__).parents[2] / "examples" / "own_api"
ADA, BOB, EVE = ({"Session": f"{name}-s-session"} for name in ("ada", "bob", "eve"))


@contextmanager
def web(settings: Settings) -> Iterator[httpx.Client]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(  # our own application
        [sys.executable, "-m", "uvicorn", "web:app", "--port", str(port), "--log-level", "warning"],
        cwd=FOLDER,
        env=environment(settings, CELERY_RESULT_BACKEND=settings.redis.redis_url),
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        process.terminate()
        assert process.wait(20) in {0, -15}


@pytest.fixture
def client(settings: Settings, eventually: Callable[..., None]) -> Iterator[httpx.Client]:
    with web(settings) as client:
        eventually(lambda: _answers(client), within=60)
        yield client


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/queue/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_a_users_sequence_starts_on_the_users_own_queue(
    client: httpx.Client, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """The endpoint of the application and the mounted ones speak for the user who is logged in."""
    started = client.post("/sequence?steps=4", headers=ADA).json()
    assert started["user"] == "Ada"
    assert len(started["tasks"]) == 4
    accepted = client.post("/queue/tasks", json={"name": "tasks.step", "args": [7]}, headers=ADA).json()
    assert accepted["queue"] == "usersequence_1"
    tenant = "/queue/tenants/1"
    eventually(lambda: client.get(tenant, headers=EVE).json()["backlog"]["ready"] == 5)
    assert client.get("/queue/tenants/2", headers=EVE).status_code == 404
    assert client.get(f"/queue/tasks/{accepted['task_id']}", headers=BOB).status_code == 404

    where: dict[str, Any] = {"cwd": FOLDER, "CELERY_RESULT_BACKEND": settings.redis.redis_url}
    with worker(settings, tmp_path, "-c", "1", app="tasks", **where):
        task = f"/queue/tasks/{accepted['task_id']}"
        eventually(lambda: client.get(task, headers=ADA).json()["status"] == "SUCCESS", within=30)
        assert client.get(task, headers=ADA).json()["result"] == "step 7 done"
        eventually(
            lambda: client.get(tenant, headers=EVE).json()["backlog"] == {"ready": 0, "unacknowledged": 0}
        )


def test_the_applications_errors_are_its_own(client: httpx.Client) -> None:
    for path in ("/sequence", "/queue/tasks"):
        refused = client.post(path, json={"name": "tasks.step"})
        assert (refused.status_code, refused.json()) == (401, {"oops": "please log in"})
    assert client.get("/queue/status", headers=ADA).json() == {"oops": "for administrators only"}
