"""Checks of queues and exchanges: there, as declared, and not holding what they should not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.delays import ladder as rungs
from taketurns.dependencies.waiting import parent_of
from taketurns.doctor.finding import counted, named, ok, problem, warning
from taketurns.reaper.policy import is_ours
from taketurns.tenants import tenant_of
from taketurns.topology import (
    DEAD_QUEUE,
    EXCHANGE,
    LOST_EXCHANGE,
    LOST_QUEUE,
    dead_queue,
    lost_queue,
    tenant_exchange,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.doctor.facts import Facts
    from taketurns.doctor.finding import Verdict
    from taketurns.management import QueueInfo

_DECLARE_AGAIN = (
    "whoever submits a task declares what is missing: start API and workers anew; what is there in another form has "
    "to be deleted before, when nothing submits"
)


def shared(facts: Facts) -> Iterator[Verdict]:
    """The shared exchange, its alternate, and the lost and dead queues are as taketurns declares them."""
    there, queues = facts.management.exchanges.get(), facts.management.queues.get()
    names = (EXCHANGE, LOST_EXCHANGE, LOST_QUEUE, DEAD_QUEUE)
    if not any(name in there or name in queues for name in names):
        yield ok("not declared yet: that happens when the first task is submitted")
        return
    lost, dead = lost_queue(), dead_queue()
    wrong = [
        *(
            f"exchange {wanted.name}"
            for wanted in (tenant_exchange(), lost.exchange)
            if not _is_exchange(there.get(wanted.name), wanted)
        ),
        *(
            f"queue {wanted.name}"
            for wanted in (lost, dead)
            if not _is_queue(queues.get(wanted.name), wanted.queue_arguments)
        ),
    ]
    if LOST_EXCHANGE in there and not facts.management.lost_is_bound.get():
        wrong.append(f"binding of queue {LOST_QUEUE}")
    if wrong:
        yield problem(f"missing, or not as taketurns declares them: {named(wrong)}", _DECLARE_AGAIN)
    else:
        yield ok("as taketurns declares them")


def ladder(facts: Facts) -> Iterator[Verdict]:
    """The delay queues are all there and as declared, if any is."""
    queues = facts.management.queues.get()
    wanted = dict(rungs())
    there = queues.keys() & wanted.keys()
    if not there:
        yield ok("not declared yet: that happens with the first delayed task")
        return
    wrong = [name for name, arguments in wanted.items() if not _is_queue(queues.get(name), arguments)]
    if wrong:
        yield problem(f"missing, or not as taketurns declares them: {named(wrong)}", _DECLARE_AGAIN)
    else:
        waiting = sum(queues[name].ready or 0 for name in there)
        yield ok(f"as taketurns declares them; waiting there: {counted(waiting, 'task')}")


def declared_otherwise(facts: Facts) -> Iterator[Verdict]:
    """Every tenant queue is declared as taketurns would."""
    ours = {
        name: queue for name, queue in facts.management.queues.get().items() if tenant_of(name) is not None
    }
    others = [name for name, queue in ours.items() if not is_ours(queue)]
    if others:
        yield warning(
            f"{len(others)} of {len(ours)} are declared otherwise: {named(others)}",
            "they are served as they are and never removed; delete each when it is empty and nobody submits, and its "
            "tenant's next task declares it anew",
        )
    else:
        yield ok(f"{len(ours)}, all as taketurns declares them")


def lost(facts: Facts) -> Iterator[Verdict]:
    """Nothing stays in the queue of tasks whose own queue had just been removed."""
    held = _held(facts, LOST_QUEUE)
    if not held:
        yield ok("empty")
        return
    seconds = facts.settings.reaper.recover_interval
    yield warning(
        f"waiting to be sent on: {counted(held, 'task')}",
        f"a reaper does that every {seconds:g} s: look again, and if they stay, see that one runs, and its log",
    )


def blocked(facts: Facts) -> Iterator[Verdict]:
    """Whatever waits for another task waits for one that is remembered, so that its end will be known."""
    held = sum(queue.ready or 0 for name, queue in facts.management.queues.get().items() if parent_of(name))
    if forgotten := facts.forgotten.get():
        yield warning(
            f"waiting for tasks that nobody remembers: {counted(sum(forgotten.values()), 'task')}, for "
            f"{named([f'{parent} of {tenant}' for tenant, parent in forgotten])}",
            "one that waits in a queue yet is known again when it starts; of one that has succeeded say so by "
            "`taketurns tasks release TENANT ID`, or cancel what waits for it",
        )
    else:
        yield ok(f"waiting for other tasks: {counted(held, 'task')}")


def dead(facts: Facts) -> Iterator[Verdict]:
    """No task has failed to run for good."""
    held = _held(facts, DEAD_QUEUE)
    if held:
        yield warning(
            f"{counted(held, 'message')} in {DEAD_QUEUE}",
            "look at them by `taketurns dead list`, then replay or discard them; by themselves they never run",
        )
    else:
        yield ok("none")


def _held(facts: Facts, name: str) -> int:
    queue = facts.management.queues.get().get(name)
    return 0 if queue is None else (queue.ready or 0) + (queue.unacknowledged or 0)


def _is_queue(found: QueueInfo | None, arguments: Any) -> bool:
    return found is not None and found.durable and dict(found.arguments) == dict(arguments)


def _is_exchange(found: Any, wanted: Any) -> bool:
    return found is not None and (found["type"], found["durable"], found["arguments"]) == (
        wanted.type,
        wanted.durable,
        wanted.arguments or {},
    )
