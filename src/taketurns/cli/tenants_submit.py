"""``taketurns tenants submit``: tasks for a trial."""

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from taketurns.cli.output import Json, print_table, printable
from taketurns.cli.tenant_output import Name
from taketurns.errors import InvalidBatch, InvalidInput, TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taketurns import TakeTurns
    from taketurns.api.schemas import TaskState
    from taketurns.records.record import TaskRecord

T = TypeVar("T", list[Any], dict[str, Any])

_LOOK_EVERY: Final = 0.1
_NAMED: Final = 10
_TOGETHER: Final = 1_000
"""Tasks that are submitted together, before the next ones are."""


def submit(
    context: typer.Context,
    tenant: Name,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name, exposed or not.")],
    *,
    args: Annotated[str, typer.Option(metavar="JSON", help="Its positional arguments, a JSON list.")] = "[]",
    kwargs: Annotated[str, typer.Option(metavar="JSON", help="Its keyword arguments, a JSON object.")] = "{}",
    count: Annotated[int, typer.Option(min=1, help="How many tasks, all alike.")] = 1,
    priority: Annotated[str, typer.Option(help="low, normal or high.")] = "normal",
    countdown: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Submit them for later.")
    ] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A task that must have succeeded before; may be repeated."),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Wait so long for them, and say what became of each; 1 if one failed.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit tasks for a tenant, and print their ids when RabbitMQ has confirmed them.

    The arguments must fit the task, as over HTTP.
    """
    from taketurns.arguments import check_arguments
    from taketurns.by_name import tenant_task
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.records.record import TaskRecord
    from taketurns.tenants import queue_name

    queue = queue_name(tenant)
    given = read_json(args, list, field="--args"), read_json(kwargs, dict, field="--kwargs")
    with closing(load_turns_once(context.obj)) as turns:
        found = tenant_task(turns.app, task)
        check_arguments(found.run, *given)
        records: list[TaskRecord] = []
        try:
            for start in range(0, count, _TOGETHER):
                options = {"priority": priority, "countdown": countdown, "depends_on": depends_on}
                several = [(found, *given, options)] * min(_TOGETHER, count - start)
                told = turns.submit_many(tenant, several)
                confirmed = [each.task_id for each in told if each.error is None]
                records += [
                    TaskRecord(task_id, tenant, task, queue, "QUEUED", time.time()) for task_id in confirmed
                ]
                if wait is None and not as_json and confirmed:
                    typer.echo("\n".join(confirmed))
                for each in told:
                    if each.error is not None:
                        raise each.error
        except InvalidBatch as error:  # all are alike
            raise error.errors[0] from error
        except TaketurnsError as error:
            if not records:
                raise
            raise TaketurnsError(f"{error} (before that: {len(records)} of {count} submitted)") from error
        finally:
            if as_json and wait is None and records:
                _print_json(records, ())
        if wait is not None:
            _report(records, _await(turns, records, wait), as_json=as_json)


def read_json(text: str, kind: type[T], *, field: str) -> T:
    """Return a JSON value of one kind.

    Raises:
        InvalidInput: the text is no JSON, or of another kind.
    """
    accepted = {list: 'a JSON list, such as ["i-1", 2]', dict: 'a JSON object, such as {"size": 64}'}[kind]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(text, accepted, field=field) from None
    if not isinstance(value, kind):
        raise InvalidInput(text, accepted, field=field)
    return value


def _await(turns: "TakeTurns", records: "list[TaskRecord]", seconds: float) -> "list[TaskState]":
    """Return what became of the tasks when all have ended, or the time is over."""
    from taketurns.api.results import state_of
    from taketurns.records.lifecycle import FINAL

    deadline = time.monotonic() + seconds
    while True:
        try:
            states = [state_of(record, turns.app) for record in _known(turns, records)]
        except TaketurnsError as error:  # whoever repeats the command would submit them twice
            ids = " ".join(record.id for record in records)
            raise TaketurnsError(f"{error} (submitted before that: {ids})") from error
        if all(each.status in FINAL for each in states) or time.monotonic() > deadline:
            return states
        time.sleep(_LOOK_EVERY)


def _known(turns: "TakeTurns", records: "list[TaskRecord]") -> "list[TaskRecord]":
    """Return the records as they are now; where there is none what was submitted."""
    tenant = records[0].tenant
    known = turns.records.of(tenant, [record.id for record in records])
    return [now or record for now, record in zip(known, records, strict=True)]


def _report(records: "list[TaskRecord]", states: "list[TaskState]", *, as_json: bool) -> None:
    if as_json:
        _print_json(records, states)
    else:
        print_table(
            ("task", "state", "result"), ((each.task_id, each.status, _outcome(each)) for each in states)
        )
    if failed := sum(each.status != "SUCCESS" for each in states):
        raise TaketurnsError(f"{failed} of {len(states)} tasks have not succeeded")


def _outcome(state: "TaskState") -> str:
    if state.error is not None:
        return printable(f"{state.error.type}: {state.error.message}")
    return printable(json.dumps(state.result, ensure_ascii=False)) if state.status == "SUCCESS" else ""


def _print_json(records: "list[TaskRecord]", states: "Iterable[TaskState]") -> None:
    """Print each task as over HTTP: as it was accepted, or what became of it."""
    from taketurns.api.schemas import TaskAccepted

    told = [each.model_dump() for each in states]
    accepted = (TaskAccepted(task_id=each.id, tenant=each.tenant, queue=each.queue) for each in records)
    typer.echo(json.dumps(told or [each.model_dump() for each in accepted]))
