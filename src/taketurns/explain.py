"""Why a tenant's next task has not started, by what RabbitMQ, Redis and each worker say at this moment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ConfigDict, with_config

from taketurns.conversation import Conversation
from taketurns.tenants import queue_name, validate_tenant

if TYPE_CHECKING:
    from taketurns.extension import TakeTurns
    from taketurns.management import QueueInfo

ANSWER_WITHIN: Final = 0.7
"""Seconds that workers have for an answer, so that the whole is there within a second."""

_MOMENT: Final = 0.05
"""Seconds in which a message that is on its way arrives."""

Reason = Literal[
    "unknown",
    "outside_canary",
    "queue_empty",
    "paused",
    "no_worker",
    "draining",
    "concurrency",
    "throttled",
    "failed",
    "waiting_for_turn",
    "starting",
]

_LONG: Final = 120.0
"""Seconds that are told as hours and minutes."""

Answers = Sequence[Mapping[str, Any]]

_SENTENCES: Final[Mapping[Reason, str]] = {
    "unknown": "there is no such tenant, with neither a queue nor settings",
    "queue_empty": "nothing waits in its queue",
    "outside_canary": "it is outside of the canary: its tasks go to the old queue, where none is counted by tenant",
    "paused": "it is paused, until somebody resumes it",
    "no_worker": "no worker that answered serves its queue",
    "draining": "its queue is being removed; if that fails it is served again",
    "concurrency": "{held} of its tasks run, and at most {most} may{unheard}",
    "throttled": "it is throttled for another {wait}",
    "failed": "RabbitMQ refuses its queue to the workers, which try again in {wait}",
    "waiting_for_turn": "it waits for its turn; other tenants' turns before it: {position}, about {wait}",
    "starting": "nothing keeps it: it is about to start",
}


@with_config(ConfigDict(use_attribute_docstrings=True))
@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a tenant's next task has not started."""

    tenant: str
    """The tenant."""
    reason: Reason
    """`queue_empty`: nothing waits. `outside_canary`: nothing waits in its queue, since its tasks go to the app's old
    queue. `paused`: an operator has paused the tenant. `no_worker`: no worker that answered serves it, or has those
    of its tasks that have left the queue. `draining`: its queue is being removed. `concurrency`: as many of its tasks
    run as may. `throttled`: a rate's next token has not come. `failed`: RabbitMQ refuses its queue to the workers.
    `waiting_for_turn`: other tenants come first. `starting`: nothing keeps it."""
    message: str
    """The same in a sentence."""
    seconds: float | None
    """Until it may start, by estimate; null if that depends on somebody's decision, or is not known."""
    position: int | None
    """Of `waiting_for_turn`: how many other tenants have a turn first, on the worker where it is least."""
    ready: int | None
    """Tasks that wait in the queue; null: RabbitMQ did not tell in time."""
    running: int
    """Its tasks that run on the workers that answered."""
    workers: list[str]
    """The workers that answered and serve it, by name."""
    silent: list[str]
    """The workers that did not answer in time, by name: what they know is missing here. One that was killed or hangs
    is named for ten minutes, or until one of its name is there again."""


def explain(turns: TakeTurns, tenant: str) -> Explanation:
    """Ask everybody who could know, and return why the tenant's next task has not started.

    Takes well below a second, unless RabbitMQ has thousands of queues to list.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        RegistryUnavailable: Redis is away, so it is not known which workers live.
        ManagementUnavailable: it can't be told what the queue holds.
        BrokerUnavailable: the workers can't be asked.
    """
    validate_tenant(tenant)
    workers = turns.registry.workers()
    settings = turns.registry.get(tenant)
    most = settings.max_concurrency
    before = turns.limiter.running(tenant) if most is not None else set()
    found, answers = _look(turns, tenant, workers)
    if _unseen(found, answers) and answers.keys() >= set(workers):
        # Workers look at a throttled queue now and then. RabbitMQ and they were not asked at the same moment.
        time.sleep(_MOMENT)
        found, answers = _look(turns, tenant, workers)
    holders = turns.limiter.running(tenant) if most is not None else set()
    serving = {name: answer for name, answer in answers.items() if answer["serves"]}
    ready = 0 if found is None else found.ready
    said = list(serving.values())
    unknown = found is None and not turns.registry.exists(tenant)
    inside = turns.canary.has(tenant)
    silent = sorted({*workers, *turns.registry.lost_workers()} - answers.keys())
    unseen = _unseen(found, answers) if silent else 0
    at_most = most is not None and len(holders) >= most
    reason = _judge(
        ready, said, unseen, unknown=unknown, inside=inside, paused=settings.paused, at_most=at_most
    )
    seconds, position = _until(reason, said)
    # Who held a place before and after the workers were asked held it then: of short tasks others do each time.
    unheard = (before & holders).difference(*(answer["tasks"] for answer in answers.values()))
    message = _sentence(
        reason,
        seconds=seconds,
        position=position,
        held=len(holders),
        most=most,
        unheard=_unheard(len(unheard) if silent else 0, turns.settings.limiter.lease),
        is_anybody_there=bool(workers),
        unseen=unseen if ready == 0 else 0,
    )
    return Explanation(
        tenant=tenant,
        reason=reason,
        message=message,
        seconds=seconds,
        position=position,
        ready=ready,
        running=sum(answer["running"] for answer in said),
        workers=sorted(serving),
        silent=silent,
    )


def _look(
    turns: TakeTurns, tenant: str, workers: Sequence[str]
) -> tuple[QueueInfo | None, Mapping[str, Mapping[str, Any]]]:
    """Return what RabbitMQ says of the tenant's queue, and the workers of the tenant, asked at the same time."""
    with ThreadPoolExecutor(1) as threads:
        listing = threads.submit(turns.management.queue, queue_name(tenant))
        answers = _ask(turns, workers, tenant)
        return listing.result(), answers


def _unseen(found: QueueInfo | None, answers: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many messages have left the queue of which no worker that answered knows."""
    out = 0 if found is None else found.unacknowledged or 0
    return max(0, out - sum(answer["hand"] + answer["running"] for answer in answers.values()))


def _sentence(
    reason: Reason,
    *,
    seconds: float | None,
    position: int | None,
    held: int,
    most: int | None,
    unheard: str,
    is_anybody_there: bool,
    unseen: int,
) -> str:
    if reason == "waiting_for_turn" and not position:
        return "it is next, when a slot frees"
    if reason == "no_worker" and not is_anybody_there:
        return "no worker is running that serves tenants"
    if reason == "no_worker" and unseen:
        return (
            f"nothing waits in its queue, and {unseen} of its tasks run or wait on workers that don't answer"
        )
    wait = "" if seconds is None else _spelled(seconds)
    return _SENTENCES[reason].format(wait=wait, position=position, held=held, most=most, unheard=unheard)


def _unheard(tasks: int, lease: float) -> str:
    """Return what is to be said of tasks that nobody who answered runs."""
    if tasks <= 0:
        return ""
    return f"; {tasks} on workers that don't answer: if these are gone, for {lease:g} s at most"


def _spelled(seconds: float) -> str:
    if seconds < _LONG:
        return f"{seconds:.2f} s"
    return f"{timedelta(seconds=round(seconds))} (h:mm:ss)"


def _ask(turns: TakeTurns, workers: Sequence[str], tenant: str) -> Mapping[str, Mapping[str, Any]]:
    with Conversation(turns.app, timeout=turns.settings.broker.publish_timeout) as conversation:
        return conversation.ask(workers, "taketurns_explain", {"tenant": tenant}, within=ANSWER_WITHIN)


def _judge(
    ready: int | None,
    serving: Answers,
    unseen: int,
    *,
    unknown: bool,
    inside: bool,
    paused: bool,
    at_most: bool,
) -> Reason:
    """Return the reason; what holds whatever a worker says comes first."""
    known_empty = ready == 0 and not any(answer["hand"] for answer in serving)
    empty = known_empty and not unseen
    parked = [answer["parked"].keys() for answer in serving]
    throttled = any("throttled" in each for each in parked)
    holds: dict[Reason, bool] = {
        "outside_canary": empty and not inside,
        "unknown": unknown,
        "queue_empty": empty,
        "paused": paused,
        "no_worker": not serving or known_empty,
        "draining": all("draining" in each for each in parked),
        "concurrency": throttled and at_most,
        "throttled": throttled,
        "failed": all("failed" in each for each in parked),
        "waiting_for_turn": any(answer["position"] is not None for answer in serving),
        "starting": True,
    }
    return next(reason for reason, is_so in holds.items() if is_so)


def _until(reason: Reason, serving: Answers) -> tuple[float | None, int | None]:
    """Return the seconds until the task may start and the turns before it, of the worker that is first to do so."""
    if reason in {"throttled", "failed"}:
        return min(answer["parked"][reason] for answer in serving if reason in answer["parked"]), None
    if reason == "waiting_for_turn":
        turns = [
            (answer["seconds"], answer["position"]) for answer in serving if answer["position"] is not None
        ]
        return min(turns)
    return None, None
