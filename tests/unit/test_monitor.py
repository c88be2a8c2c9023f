"""What the monitor draws, however little room there is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from taketurns.cli.monitor_output import COLUMNS, picture
from taketurns.overview import Overview, TenantStanding
from taketurns.status import ServerStatus, SystemStatus

MANY = 2_000


def overview(shown: int) -> Overview:
    """Return many tenants, of which so many were asked for."""
    up = ServerStatus(ok=True, version="3.10.8")
    system = SystemStatus(
        broker=up,
        management=up,
        redis=ServerStatus(ok=False, message="Redis failed; " + "see that it runs " * 20),
        workers=[],
        silent=[],
        tenants=MANY,
        paused=0,
        throttled=1_999,
        ready=123_456_789,
        unacknowledged=64,
        uncounted=0,
        running=64,
        dead=12_345,
        lost=0,
        oldest_wait=None,
    )
    tenants = [
        TenantStanding(
            tenant=f"tenant-{number:04}-{'x' * number}",
            state="throttled",
            waiting=1_000_000 - number,
            running=16,
            completed=5_000_000,
            failed=1_234,
            rate_limit="4000/3h:100",
            tokens=0.5,
            next_token_in=3.0,
        )
        for number in range(shown)
    ]
    return Overview(at=1_700_000_000.0, system=system, total=MANY, tenants=tenants)


def drawn(width: int, height: int) -> list[str]:
    """Return the lines of the picture on a terminal of this size."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, color_system=None)
    console.print(picture(overview(height), 1_700_000_001.0, console))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(60, 24), (60, 40), (80, 24), (200, 24)])
def test_the_busiest_are_seen_whole_and_the_others_counted(width: int, height: int) -> None:
    lines = drawn(width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if re.match(r"tenant-\d{4}", line)]
    assert [line[:11] for line in rows] == [f"tenant-{number:04}" for number in range(len(rows))]
    assert len(rows) > height - 12
    for number, row in enumerate(rows):
        assert re.search(rf" {1_000_000 - number} +16 .*throttled$", row), row
    assert lines[-1] == f"and {MANY - len(rows)} more"


def test_what_is_needed_less_is_left_out_where_it_is_narrow() -> None:
    (header,) = (line for line in drawn(60, 24) if line.startswith("tenant "))
    assert re.split(r" {2,}", header) == ["tenant", "queued", "running", "failed", "state"]
    (header,) = (line for line in drawn(200, 24) if line.startswith("tenant "))
    assert re.split(r" {2,}", header) == list(COLUMNS)


@pytest.mark.parametrize(("width", "height"), [(20, 5), (1, 1)])
def test_it_is_drawn_where_there_is_no_room_at_all(width: int, height: int) -> None:
    assert drawn(width, height)
