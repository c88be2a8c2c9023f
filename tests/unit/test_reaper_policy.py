"""Which queues the reaper would remove, and in which words it says why the others stay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.management import QueueInfo
from taketurns.reaper.policy import Snapshot, decide, outlived, unrecorded
from taketurns.tenants import queue_name
from taketurns.topology import TENANT_QUEUE_ARGUMENTS

if TYPE_CHECKING:
    from taketurns.reaper.policy import Decision

NOW = 1_700_000_000.0
IDLE_TIME = 3600.0


def queue(tenant: str = "acme", *, ready: int | None = 0, unacknowledged: int | None = 0) -> QueueInfo:
    return QueueInfo(
        name=queue_name(tenant),
        ready=ready,
        unacknowledged=unacknowledged,
        consumers=None,
        durable=True,
        arguments=dict(TENANT_QUEUE_ARGUMENTS["classic"]),
    )


def snapshot(*queues: QueueInfo, idle: dict[str, float], draining: frozenset[str] = frozenset()) -> Snapshot:
    """Return a snapshot in which each tenant was last active so many seconds ago."""
    return Snapshot(
        queues={each.name: each for each in queues},
        activity={tenant: NOW - seconds for tenant, seconds in idle.items()},
        now=NOW,
        idle_time=IDLE_TIME,
        draining=draining,
    )


def only(decisions: list[Decision]) -> tuple[bool, str]:
    (decision,) = decisions
    return decision.remove, decision.reason


def test_an_idle_empty_queue_goes() -> None:
    """An empty queue whose tenant was idle for the idle time or longer is removed."""
    assert only(decide(snapshot(queue(), idle={"acme": 3725}))) == (True, "idle for 3725 s")
    assert only(decide(snapshot(queue(), idle={"acme": IDLE_TIME}))) == (True, "idle for 3600 s")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (queue(ready=3), "3 messages"),
        (queue(ready=1), "1 message"),
        (queue(unacknowledged=1), "1 message unacknowledged"),
        (queue(ready=2, unacknowledged=4), "2 messages"),
        (queue(ready=None), "unknown to the live listing: its messages could not be counted"),
        (queue(unacknowledged=None), "unknown to the live listing: its messages could not be counted"),
    ],
)
def test_a_queue_with_or_perhaps_with_messages_stays(content: QueueInfo, reason: str) -> None:
    """Messages waiting or held keep a queue, and so does a count that is unknown."""
    assert only(decide(snapshot(content, idle={"acme": 99999}))) == (False, reason)


@pytest.mark.parametrize(
    ("idle", "reason"),
    [
        ({"acme": 12.0}, "active 12 s ago"),
        ({"acme": 3599.0}, "active 3599 s ago"),
        ({"acme": -40.0}, "delayed task due in 40 s"),
        ({}, "no activity record: its idle time begins now"),
        ({"another": 99999.0}, "no activity record: its idle time begins now"),
    ],
)
def test_a_queue_whose_tenant_is_not_known_to_be_idle_stays(idle: dict[str, float], reason: str) -> None:
    """Recent activity, a delayed task and a missing record keep a queue."""
    assert only(decide(snapshot(queue(), idle=idle))) == (False, reason)


@pytest.mark.parametrize(
    "foreign",
    [
        replace(queue(), arguments={"x-queue-type": "quorum"}),
        replace(queue(), arguments={**TENANT_QUEUE_ARGUMENTS["classic"], "x-expires": 1000}),
        replace(queue(), arguments={}),
        replace(queue(), durable=False),
    ],
)
def test_a_queue_declared_otherwise_is_left_alone(foreign: QueueInfo) -> None:
    """A queue with other arguments stays, and no idle time begins for it."""
    assert only(decide(snapshot(foreign, idle={"acme": 99999}))) == (
        False,
        "declared otherwise than ours: left alone",
    )
    assert unrecorded(snapshot(foreign, idle={})) == []


def test_a_draining_queue_is_left_to_who_drains_it() -> None:
    """A queue that is marked as draining stays in other runs."""
    marked = snapshot(queue(), queue("b"), idle={"acme": 99999, "b": 99999}, draining=frozenset({"acme"}))
    assert [(each.tenant, each.remove, each.reason) for each in decide(marked)] == [
        ("acme", False, "draining by another instance"),
        ("b", True, "idle for 99999 s"),
    ]


def test_queues_that_are_none_of_ours_are_not_decided_about() -> None:
    """A queue whose name is no tenant queue's gets no decision and no record."""
    other = snapshot(replace(queue(), name="celery"), replace(queue(), name="usersequence_!"), idle={})
    assert decide(other) == []
    assert unrecorded(other) == []


def test_tenants_without_a_record_are_named() -> None:
    """A tenant with a queue of ours but without activity record is unrecorded, whatever the queue holds."""
    assert unrecorded(snapshot(queue("b"), queue("a", ready=3), queue("c"), idle={"c": 5})) == ["a", "b"]


def test_records_that_outlived_their_queue() -> None:
    """An idle record without a queue is outlived; a fresh one, or one of a delayed task, is not."""
    idle = {"gone": 3601.0, "edge": IDLE_TIME, "fresh": 10.0, "delayed": -50.0, "acme": 99999.0}
    assert outlived(snapshot(queue(), idle=idle)) == ["edge", "gone"]


counts = st.none() | st.integers(0, 3)


@given(ready=counts, unacknowledged=counts, idle=st.floats(-1e5, 1e5), drained=st.booleans())
def test_only_a_surely_empty_and_idle_queue_goes(
    ready: int | None, unacknowledged: int | None, idle: float, drained: bool
) -> None:
    """A queue goes exactly if it is known to be empty, known to be idle, and drained by nobody else."""
    info = queue(ready=ready, unacknowledged=unacknowledged)
    seen = snapshot(info, idle={"acme": idle}, draining=frozenset({"acme"} if drained else ()))
    surely = (
        ready == 0 and unacknowledged == 0 and seen.now - seen.activity["acme"] >= IDLE_TIME and not drained
    )
    assert only(decide(seen))[0] is surely
