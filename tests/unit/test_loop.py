"""The loop of a worker, on real files."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from taketurns.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as made:
        yield made


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe: to read from, to write to."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_what_is_watched_for_writing_is_watched_no_more(loop: Loop, ends: tuple[int, int]) -> None:
    """Else the loop would never rest: a pipe can be written to at any time."""
    called: list[str] = []
    loop.add_writer(ends[1], called.append, "written")
    loop.run_once()
    assert called == ["written"]
    loop.remove_writer(ends[1])
    assert not loop.poller.poll(0)
    loop.call_soon(called.append, "soon")
    loop.run_once()
    assert called == ["written", "soon"]


def test_who_reads_goes_on(loop: Loop, ends: tuple[int, int]) -> None:
    """To stop waiting for a file that is read from alone changes nothing."""
    called: list[str] = []
    loop.add_reader(ends[0], called.append, "read")
    loop.remove_writer(ends[0])
    os.write(ends[1], b"x")
    loop.run_once()
    assert called == ["read"]


def test_what_is_not_watched_costs_no_system_call(
    loop: Loop, ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefork asks for it in each pass, for each of its processes."""

    def unregister(_: int) -> None:
        raise AssertionError("the kernel was asked")

    monkeypatch.setattr(loop.poller, "unregister", unregister)
    loop.remove_writer(ends[1])
