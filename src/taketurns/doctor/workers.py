"""Checks of workers, reapers and beats: who lives, and whether anybody serves the tasks that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taketurns.doctor.finding import counted, named, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.doctor.facts import Facts
    from taketurns.doctor.finding import Verdict


def orphans(facts: Facts) -> Iterator[Verdict]:
    """Every task that waits is in the queue of a tenant whom a live worker serves.

    Not "has a consumer": a worker has none on a queue with a backlog, from which it fetches.
    """
    waiting = facts.waiting
    workers = facts.redis.get().workers
    total = f"waiting: {counted(sum(waiting.values()), 'task')} of {counted(len(waiting), 'tenant')}"
    if not waiting:
        yield ok("nothing waits")
    elif not workers:
        yield problem(
            f"{total}, and no worker that serves tenants lives",
            "start one: celery -A APP worker; one that is started with -Q serves tenants only if "
            "TAKETURNS_WORKER_SERVE_TENANTS=always",
        )
    elif not (answers := facts.unserved.get()):
        yield warning(
            f"{total}; no worker said in time whom it serves",
            "look again; a worker with the solo pool answers only between two tasks",
        )
    elif unserved := set.intersection(*map(set, answers.values())):
        yield problem(
            f"no worker that answered serves {named(unserved)}; waiting there: "
            f"{counted(sum(waiting[tenant] for tenant in unserved), 'task')}",
            f"a new queue is found within {facts.settings.worker.reconcile_interval:g} s: look again, and if it "
            "stays so, see whether somebody told the workers to cancel_consumer, and what explain says of the tenant",
        )
    else:
        yield ok(f"{total}, all served")


def workers(facts: Facts) -> Iterator[Verdict]:
    """Workers live, answer, and none was lost."""
    redis = facts.redis.get()
    if redis.lost:
        yield warning(
            f"went without a farewell in the last ten minutes: {named(redis.lost)}",
            "they were killed or hang: see their machines; what they ran, others run again",
        )
    answers = facts.unserved.value
    silent = set() if answers is None else set(redis.workers) - answers.keys()
    if silent:
        yield warning(
            f"live, but did not answer in time: {named(silent)}",
            "a worker with the solo pool answers only between two tasks; any other one is stuck, or overloaded",
        )
    if not redis.workers:
        yield warning("none that serves tenants lives", "start one: celery -A APP worker")
    elif not silent:
        yield ok(f"{counted(len(redis.workers), 'worker')} alive: {named(redis.workers)}")


def reaper(facts: Facts) -> Iterator[Verdict]:
    """A reaper runs."""
    name = facts.redis.get().reaper
    if name is None:
        yield warning(
            "none is active",
            "start one: taketurns -A APP reaper; without it idle queues stay, and tasks in the lost queue wait",
        )
    else:
        yield ok(f"{name} is active")


def beat(facts: Facts) -> Iterator[Verdict]:
    """A beat runs if there is anything for it to submit."""
    redis = facts.redis.get()
    scheduled = counted(redis.schedules, "schedule")
    if redis.beat is not None:
        yield ok(f"{redis.beat} submits; tenants have {scheduled}")
    elif redis.schedules:
        yield problem(
            f"none runs, and tenants have {scheduled}",
            "start one: celery -A APP beat; if the app has a beat_scheduler of its own, one more for the tenants, "
            "with -S taketurns.schedules.beat:TenantScheduler",
        )
    else:
        yield ok("none runs, and no tenant has a schedule")
