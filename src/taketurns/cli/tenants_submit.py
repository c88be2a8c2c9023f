"""``taketurns tasks submit``, or ``tenants submit``: tasks from the command line."""

from __future__ import annotations

import json
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import typer

from taketurns.cli.interrupts import quiet_interrupt
from taketurns.cli.output import print_table, printable
from taketurns.cli.submit_file import submit_file
from taketurns.cli.tenant_output import Name  # noqa: TC001  # typer reads it
from taketurns.errors import InvalidBatch, InvalidInput, TaketurnsError
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taketurns import TakeTurns
    from taketurns.api.schemas.tasks import TaskState
    from taketurns.batch import Submitted

T = TypeVar("T", list[Any], dict[str, Any])

_LOOK_EVERY: Final = 0.1
_TOGETHER: Final = 1_000
"""Tasks that are submitted together, before the next ones are."""


def submit(
    context: typer.Context,
    tenant: Name,
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="The task's name, exposed or not; or --file.")
    ] = None,
    *,
    args: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its positional arguments, a JSON list.")
    ] = None,
    kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its keyword arguments, a JSON object.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many tasks, all alike.")] = 1,
    priority: Annotated[
        Literal["low", "normal", "high"] | None,
        typer.Option(help="low, normal or high; by default the task's own."),
    ] = None,
    countdown: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Start it so much later.")
    ] = None,
    eta: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start it at this time, in ISO 8601 and UTC by default."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="SECONDS|TIME", help="When it is too late to start; its state is then EXPIRED."),
    ] = None,
    max_retries: Annotated[
        int | None, typer.Option(min=0, help="How often it is tried again if it fails.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End it after so long (not with threads).")
    ] = None,
    soft_time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Raise SoftTimeLimitExceeded in it after so long.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="By which it can be found; may be repeated.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="With the key of an earlier submission it is that one, for a day."),
    ] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A task that must have succeeded before; may be repeated."),
    ] = None,
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="Submit the tasks of a file instead (- is the standard input): one on each line, as JSON such as "
            '{"name": "shop.thumbnail", "args": ["i-1"], "priority": "high"}, as for POST /tasks; or a JSON array.',
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Wait so long for them, and say what became of each; 1 if one failed.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON; of a file a line for each task, with its line's number."),
    ] = False,
) -> None:
    """Submit tasks for a tenant, and print their ids when RabbitMQ has confirmed them.

    The arguments must fit the task, as over HTTP. All of a file is checked before the first task is submitted.
    """
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    options = {
        "priority": priority,
        "countdown": countdown,
        "eta": eta,
        "expires": None if expires is None else number(expires),
        "max_retries": max_retries,
        "time_limit": time_limit,
        "soft_time_limit": soft_time_limit,
        "tags": tag,
        "idempotency_key": idempotency_key,
        "depends_on": depends_on,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if (task is None) == (file is None):
        raise typer.BadParameter("name a TASK, or a --file of tasks", ctx=context)
    if count > 1 and idempotency_key is not None:
        raise typer.BadParameter("with an --idempotency-key there is one task, and no --count", ctx=context)
    validate_tenant(tenant)
    if file is not None:
        if given or args is not None or kwargs is not None or count > 1 or wait is not None:
            said = "what is said of a single task is in the lines of the file: only --json goes with it"
            raise typer.BadParameter(said, ctx=context)
        with closing(load_turns_once(context.obj)) as turns:
            submit_file(turns, tenant, file, as_json=as_json)
        return
    given["args"] = read_json(context, args or "[]", list, option="--args")
    given["kwargs"] = read_json(context, kwargs or "{}", dict, option="--kwargs")
    _submit_alike(context, tenant, {"name": task, **given}, count, wait=wait, as_json=as_json)


def _submit_alike(
    context: typer.Context,
    tenant: str,
    given: dict[str, Any],
    count: int,
    *,
    wait: float | None,
    as_json: bool,
) -> None:
    """Submit tasks that are all alike."""
    from taketurns.api.incoming import read_submission
    from taketurns.api.options import options_of
    from taketurns.arguments import check_arguments
    from taketurns.by_name import tenant_task
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    submission = read_submission(given)
    with closing(load_turns_once(context.obj)) as turns:
        found = tenant_task(turns.app, submission.name)
        check_arguments(found.run, submission.args, submission.kwargs)
        one = (found, submission.args, submission.kwargs, options_of(submission, turns.app))
        accepted: list[Submitted] = []
        try:
            for start in range(0, count, _TOGETHER):
                told = turns.submit_many(tenant, [one] * min(_TOGETHER, count - start))
                confirmed = [each for each in told if each.error is None]
                accepted += confirmed
                if wait is None and not as_json:
                    _print_ids(confirmed)
                for each in told:
                    if each.error is not None:
                        raise each.error
        except InvalidBatch as error:  # all are alike
            raise error.errors[0] from error
        except TaketurnsError as error:
            if not accepted:
                raise
            raise TaketurnsError(f"{error} (before that: {len(accepted)} of {count} submitted)") from error
        finally:
            if as_json and wait is None and accepted:
                _print_json(turns, tenant, accepted)
        if wait is not None:
            ids = " ".join(each.task_id for each in accepted)
            with quiet_interrupt(f"Interrupted; submitted, and not cancelled: {ids}"):
                states = _await(turns, tenant, found.name, accepted, wait)
            _report(states, as_json=as_json)


def _print_ids(accepted: Sequence[Submitted]) -> None:
    for each in accepted:
        typer.echo(each.task_id)
        if each.duplicate:
            typer.echo("It was submitted before, with the same key.", err=True)


def _print_json(turns: TakeTurns, tenant: str, accepted: Iterable[Submitted]) -> None:
    """Print each task as it was accepted, as over HTTP."""
    from taketurns.api.results import first_state, remembered_state
    from taketurns.api.schemas.tasks import TaskAccepted
    from taketurns.tenants import queue_name

    queue = queue_name(turns.tenant_of(tenant))
    told = (
        TaskAccepted(
            task_id=each.task_id,
            tenant=tenant,
            queue=queue,
            status=remembered_state(turns, tenant, each.task_id)
            if each.duplicate
            else first_state(blocked=each.blocked, due=each.due),
            duplicate=each.duplicate,
        )
        for each in accepted
    )
    typer.echo(json.dumps([each.model_dump() for each in told]))


def number(text: str) -> float | str:
    """Return a number if a text is one, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def read_json(context: typer.Context, text: str, kind: type[T], *, option: str) -> T:
    """Return a JSON value of one kind.

    Raises:
        BadParameter: the text is no JSON, or of another kind.
    """
    accepted = {list: 'a JSON list, such as ["i-1", 2]', dict: 'a JSON object, such as {"size": 64}'}[kind]
    with suppress(ValueError, RecursionError):
        if isinstance(value := json.loads(text), kind):
            return value
    raise typer.BadParameter(InvalidInput(text, accepted).reason, ctx=context, param_hint=option)


def _await(
    turns: TakeTurns, tenant: str, task: str, accepted: Sequence[Submitted], seconds: float
) -> list[TaskState]:
    """Return what became of the tasks when all have ended, or the time is over."""
    from taketurns.api.results import state_of
    from taketurns.records.lifecycle import FINAL
    from taketurns.records.record import TaskRecord
    from taketurns.tenants import queue_name

    deadline = time.monotonic() + seconds
    ids = [each.task_id for each in accepted]
    queue, now = queue_name(turns.tenant_of(tenant)), time.time()
    submitted = [TaskRecord(task_id, tenant, task, queue, "QUEUED", now) for task_id in ids]
    while True:
        try:
            known = turns.records.of(tenant, ids)
            states = [
                state_of(record or before, turns.app) for record, before in zip(known, submitted, strict=True)
            ]
        except TaketurnsError as error:  # whoever repeats the command would submit them twice
            raise TaketurnsError(f"{error} (submitted before that: {' '.join(ids)})") from error
        if all(each.status in FINAL for each in states) or time.monotonic() > deadline:
            return states
        time.sleep(_LOOK_EVERY)


def _report(states: Sequence[TaskState], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([each.model_dump() for each in states]))
    else:
        print_table(
            ("task", "state", "result"), ((each.task_id, each.status, _outcome(each)) for each in states)
        )
    if failed := sum(each.status != "SUCCESS" for each in states):
        raise TaketurnsError(f"{failed} of {len(states)} tasks have not succeeded")


def _outcome(state: TaskState) -> str:
    if state.error is not None:
        return printable(f"{state.error.type}: {state.error.message}")
    return printable(json.dumps(state.result, ensure_ascii=False)) if state.status == "SUCCESS" else ""
