"""What README.md and docs/client.md show of the HTTP API, run as it stands there: by curl, and in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import SECRET
from support.command import COMMAND
from support.documents import blocks, commands
from support.workers import environment, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.api_process import Api
    from taketurns.settings import Settings

URL = "http://127.0.0.1:8000"
WITHIN = 120.0
README = "Serve it over HTTP"
PROGRAMS = {
    "readme": "import os\n" + blocks("README.md", "python", section=README)[0],
    "threads": blocks("docs/client.md", "python")[0],
    "event loop": blocks("docs/client.md", "python")[1],
}


@pytest.fixture
def url(settings: Settings, start: Callable[..., Api], tmp_path: Path) -> Iterator[str]:
    """The API of the README's own shop, which has a worker."""
    (tmp_path / "shop.py").write_text(blocks("README.md", "python", section="Use it in your Celery app")[0])
    with (
        start("shop", PYTHONPATH=os.fspath(tmp_path)).client() as client,
        worker(settings, tmp_path, "-P", "threads", "-c", "2", app="shop", PYTHONPATH=os.fspath(tmp_path)),
    ):
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def run(settings: Settings, url: str, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs something beside this API, and returns what it printed."""
    # A curl that was refused fails, as one that had no answer does anyway.
    (tmp_path / ".curlrc").write_text("fail-with-body\nmax-time = 60\nshow-error\n")

    def run(*command: str, **more: str) -> str:
        ran = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(settings, TAKETURNS_API_JWT_SECRET=SECRET, HOME=os.fspath(tmp_path), **more),
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    return run


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_readme(run: Callable[..., str], url: str) -> None:
    """Each is accepted, and answers what is said there."""
    servers, shown = (commands(each) for each in blocks("README.md", "console", section=README)[:2])
    token = next(each for each in servers if each.startswith("export TOKEN="))
    script = "\necho '---'\n".join(["set -euo pipefail", token, *shown])
    said = run("bash", "-c", script.replace(URL, url), PATH=f"{COMMAND.parent}:{os.environ['PATH']}")
    _, *told = said.split("---\n")
    answers: dict[str, str] = dict(zip(shown, told[1:], strict=True))

    submitted = answer(answers, "i-1")
    assert (submitted["tenant"], submitted["queue"]) == ("acme", "usersequence_acme")
    followed = next(each for each in answers if each.startswith("curl -sN"))
    events = [line for line in answers[followed].splitlines() if line.startswith("event: ")]
    assert (events[0], events[-1]) == ("event: connected", "event: completed")
    assert answer(answers, "state, times")["status"] == "SUCCESS"
    batch = answer(answers, "$TASKS/batch")
    assert batch["accepted"] == 2
    delayed = [each["task_id"] for each in answer(answers, "state=DELAYED&name")["tasks"]]
    assert delayed == [batch["tasks"][1]["task_id"]]
    assert answer(answers, "cancels those that match")["cancelled"] == 1
    assert answer(answers, "or one")["status"] == "SUCCESS"


def answer(answers: dict[str, str], part: str) -> Any:
    """Return the JSON that the one command answered that has this in it."""
    (command,) = (each for each in answers if part in each)
    return json.loads(answers[command])


def test_the_programs_of_the_documents(run: Callable[..., str], url: str) -> None:
    """Each runs to its end, and prints what is said there."""
    token = run(os.fspath(COMMAND), "token", "acme").strip()
    said = {
        name: run(sys.executable, "-W", "error", "-c", program.replace(URL, url), TOKEN=token).splitlines()
        for name, program in PROGRAMS.items()
    }
    assert said["readme"] == ["None"]
    for line in ("SUCCESS None", "CANCELLED", "404 not_found: you have no task of this id"):
        assert line in said["threads"]
    assert said["event loop"][0] == "[None, None, None]"


def test_the_programs_of_the_documents_are_typed(tmp_path: Path) -> None:
    """As they stand there, and a wrong argument is found."""
    wrong = 'from taketurns.client import Client\nClient("").submit("n", priority="urgent")\n'
    checked = {**PROGRAMS, "wrong": wrong}
    for name, text in checked.items():
        (tmp_path / f"{name.replace(' ', '_')}.py").write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WITHIN * 3,
        check=False,
    )
    errors = [line for line in ran.stdout.splitlines() if " error: " in line]
    assert len(errors) == 1, ran.stdout
    assert errors[0].startswith('wrong.py:2: error: Argument "priority"'), errors
