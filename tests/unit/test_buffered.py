"""Frames that are read ahead, from a socket that has any part of them."""

from __future__ import annotations

import socket
from struct import pack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from hypothesis import given
from hypothesis import strategies as st

from taketurns.buffered import BufferedConnection, ReadsAtOnce, Socket

if TYPE_CHECKING:
    from collections.abc import Iterator

Frame = tuple[int, int, bytes]


def written(frame: Frame) -> bytes:
    kind, channel, payload = frame
    return pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


class Connected(BufferedConnection):
    """A connection to the other end of a socket pair, that keeps its frames; one of kind 9 raises an error."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        mine, self.peer = socket.socketpair()
        transport = Socket("nowhere")
        transport.sock = mine
        transport._setup_transport()  # what its connect() does
        transport.connected = True
        self._transport = transport

    def on_inbound_frame(self, frame: Frame) -> bool:
        self.frames.append(frame)
        if frame[0] == 9:
            raise ValueError("nine")
        return True

    def end(self) -> None:
        self._transport.sock.close()
        self.peer.close()


@pytest.fixture
def connected() -> Iterator[Connected]:
    connection = Connected()
    yield connection
    connection.end()


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 99), st.binary(max_size=40)), max_size=8),
    st.lists(st.integers(1, 60)),
)
def test_whatever_part_has_come_each_frame_is_handled_once_and_in_order(
    frames: list[Frame], sizes: list[int]
) -> None:
    connection = Connected()
    data = b"".join(map(written, frames))
    for size in [*sizes, len(data)]:
        part, data = data[:size], data[size:]
        connection.peer.sendall(part)
        assert connection.handle_what_has_come() is False
    assert connection.frames == frames
    connection.end()


def test_more_than_a_pass_may_handle_is_left_for_the_next(connected: Connected) -> None:
    connected.peer.sendall(written((1, 0, b"x")) * 150)
    assert connected.handle_what_has_come() is True
    assert len(connected.frames) == 100
    assert connected.handle_what_has_come() is False
    assert len(connected.frames) == 150


def test_who_waits_for_an_answer_reads_nothing_behind_it(connected: Connected) -> None:
    """What follows wakes the loop only while it is in the socket."""
    connected.peer.sendall(written((1, 1, b"answer")) + written((1, 2, b"later")))
    connected.drain_events(timeout=1)
    assert connected.frames == [(1, 1, b"answer")]
    assert connected._transport.sock.recv(100) == written((1, 2, b"later"))


def test_an_error_of_one_event_keeps_no_other_from_being_handled(connected: Connected) -> None:
    """They are in the buffer, of which nothing else tells the loop."""
    calls: list[Any] = []
    loop: Any = SimpleNamespace(call_soon=lambda call, *args: calls.append((call, args)))
    read = ReadsAtOnce()._make_reader(connected)  # kombu's name for it
    connected.peer.sendall(written((9, 0, b"")) + written((1, 0, b"x")))
    with pytest.raises(ValueError, match="nine"):
        read(loop)
    for call, args in calls[:]:
        call(*args)
    assert [kind for kind, _, _ in connected.frames] == [9, 1]


def test_a_lost_connection_is_told_once_and_leaves_nothing_behind(connected: Connected) -> None:
    """What it had asked the loop to call may come when that serves another one already."""
    calls: list[Any] = []
    loop: Any = SimpleNamespace(call_soon=lambda call, *args: calls.append((call, args)))
    read = ReadsAtOnce()._make_reader(connected)
    connected.peer.close()
    with pytest.raises(OSError, match="unexpectedly closed"):
        read(loop)
    for call, args in calls[:]:
        call(*args)
    with pytest.raises(RecoverableConnectionError):
        read(loop)
    assert connected.frames == []
