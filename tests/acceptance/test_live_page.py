"""The example page of a task, live, in a headless Chromium."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from support.api_server import serving
from support.browser import Page, browsing
from taketurns.records.lifecycle import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns import TakeTurns

    Eventually = Callable[..., None]

PAGE = Path(__file__).parents[2] / "examples" / "live" / "index.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def tell(turns: TakeTurns, kind: Any, **data: Any) -> None:
    """Have a step of the task happen."""
    turns.records.write({"acme": [Step("t", kind, time.time(), name="shop.mail", data=data)]})


def steps(page: Page) -> list[str]:
    """Return the steps that the page lists."""
    return list(page.value("[...document.querySelectorAll('tr')].map(row => row.cells[1].textContent)") or ())


def text(page: Page, name: str) -> str:
    return str(page.value(f"document.getElementById('{name}').textContent"))


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_shows_a_task_and_connects_again(
    turns: TakeTurns, tmp_path: Path, eventually: Eventually
) -> None:
    """It shows each step once, also after the API was restarted, and how far the task is."""
    tell(turns, "queued")
    with serving(turns) as api:
        port, token = int(api.base_url.port or 0), api.tokens.issue("acme")
    given = urlencode({"api": f"http://127.0.0.1:{port}", "token": token, "task": "t"})
    with browsing(str(CHROMIUM), tmp_path, f"{PAGE.as_uri()}#{given}") as page:
        with serving(turns, port=port):
            eventually(lambda: steps(page) == ["queued"], within=20)
            tell(turns, "started", worker="w1")
            tell(turns, "progress", done=7, total=20, note="rows")
            eventually(lambda: steps(page) == ["queued", "started"])
            eventually(lambda: text(page, "note") == "7 of 20 rows")
            assert page.value("document.getElementById('bar').value") == 7
            page.screenshot(tmp_path / "running.png")
        tell(turns, "retrying", error="OSError", message="a disk is full")
        with serving(turns, port=port):
            tell(turns, "started", worker="w2")
            eventually(lambda: len(steps(page)) == 4, within=20)
            tell(turns, "completed")
            eventually(lambda: text(page, "state") == "completed")
        assert steps(page) == ["queued", "started", "retrying", "started", "completed"]
        assert text(page, "connection") == ""
        assert page.value("document.getElementById('bar').value") == 20
        page.screenshot(tmp_path / "completed.png")
    if kept := os.environ.get("SCREENSHOTS"):
        for name in ("running.png", "completed.png"):
            shutil.copy(tmp_path / name, kept)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_says_what_is_wrong(turns: TakeTurns, tmp_path: Path, eventually: Eventually) -> None:
    """A wrong token and a wrong id are told, and not tried again."""
    with serving(turns) as api:
        url = f"http://127.0.0.1:{api.base_url.port}"
        given = urlencode({"api": url, "token": api.tokens.issue("acme"), "task": "none"})
        with browsing(str(CHROMIUM), tmp_path, f"{PAGE.as_uri()}#{given}") as page:
            eventually(lambda: text(page, "connection") == "you have no task of this id", within=20)
            page.value(
                "document.getElementById('token').value = 'x'; document.querySelector('button').click()"
            )
            eventually(lambda: "token" in text(page, "connection"))
