"""Ctrl-C in the middle of a command's work."""

from __future__ import annotations

import signal

import pytest

from taketurns.cli.interrupts import interrupted_between


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_waits_for_the_end_of_a_piece_of_work() -> None:
    with interrupted_between() as between:
        between()
        press()
        with pytest.raises(KeyboardInterrupt):
            between()


def test_ctrl_c_acts_at_once_before_the_work_and_the_second_time() -> None:
    with interrupted_between() as between:
        with pytest.raises(KeyboardInterrupt):
            press()
        between()
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_ctrl_c_is_as_before_afterwards_and_stays_ignored_where_it_is() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupted_between():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupted_between() as between:
            press()
            between()
    finally:
        signal.signal(signal.SIGINT, before)
