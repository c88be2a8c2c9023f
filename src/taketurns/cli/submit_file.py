"""``taketurns tasks submit --file``: the tasks of a file, none of which is submitted if one is wrong."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final

import typer

from taketurns.cli.migration_output import tasks
from taketurns.cli.output import printable
from taketurns.cli.progress import watched
from taketurns.errors import InvalidBatch, InvalidInput, KeyConflict, TaketurnsError
from taketurns.progress import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from celery import Celery

    from taketurns import TakeTurns
    from taketurns.batch import Batch
    from taketurns.task import TenantTask

    Portion = list[tuple[int, bytes]]

_TOGETHER: Final = 1_000
"""Tasks that are submitted together, before the next ones are."""

_IN_MEMORY: Final = 16 * 1024 * 1024
_LISTED: Final = 100
"""Wrong lines that are told, at most."""


def submit_file(turns: TakeTurns, tenant: str, file: IO[bytes], *, as_json: bool) -> None:
    """Submit the tasks of a file, each as ``POST /tasks`` takes it, and print an answer for each.

    Each line is one, or the whole file is a JSON array. Ctrl-C ends it between two thousands of tasks.

    Raises:
        TaketurnsError: some task is wrong, so nothing was submitted; or some tasks were not accepted.
    """
    submission = _FileSubmission(turns, tenant, as_json=as_json)
    with (
        watched("submitted", tasks, rest=submission.rest, prints=True) as progress,
        SpooledTemporaryFile(max_size=_IN_MEMORY) as copy,  # to read twice, and nobody changes it meanwhile
    ):
        shutil.copyfileobj(file, copy)
        if _is_array(copy):
            submission.place = "item"
            _write_lines(copy, file.name)
        total = submission.check(copy, file.name)
        progress(Step(0, total, 0))
        for portion in _portions(copy):
            submission.submit(portion)
            progress(Step(submission.passed, total, submission.submitted))
    if refused := total - submission.submitted:
        raise TaketurnsError(f"{refused} of {total} tasks were not submitted")


class _FileSubmission:
    """A file's tasks on their way.

    Attributes:
        passed: tasks that RabbitMQ has answered for.
        submitted: those of them that it has confirmed.
        last: the line of the last of them, counted from 1; or which item it is.
        place: the word for where a task is in the file: ``line`` or ``item``.
    """

    def __init__(self, turns: TakeTurns, tenant: str, *, as_json: bool) -> None:
        self._turns = turns
        self._tenant = tenant
        self._as_json = as_json
        self.passed = 0
        self.submitted = 0
        self.last = 0
        self.place = "line"

    def rest(self) -> str:
        """Say where it was interrupted."""
        return f"nothing after {self.place} {self.last}" if self.last else "nothing of the file"

    def check(self, file: IO[bytes], name: str) -> int:
        """Check all that the file has, and return how many tasks it has.

        Raises:
            TaketurnsError: it has none, or some that can't be submitted, which are printed.
        """
        errors: dict[int, Exception] = {}
        keys: dict[str, str] = {}
        total = wrong = 0
        for portion in _portions(file):
            total += len(portion)
            found = self._wrong(portion, keys)
            wrong += len(found)
            errors |= islice(found.items(), _LISTED - len(errors))
        if wrong:
            self._tell_errors(errors, wrong)
            raise TaketurnsError(
                f"{name}: {wrong} of {total} {self.place}s can't be submitted, so nothing was"
            )
        if not total:
            raise TaketurnsError(f"{name} has no tasks; it should have one a line, as JSON, or a JSON array")
        return total

    def submit(self, portion: Portion) -> None:
        """Submit some of the tasks together, and print what became of each.

        Raises:
            TaketurnsError: none of them was submitted.
        """
        numbers = [number for number, _ in portion]
        nothing = f"nothing from {self.place} {numbers[0]} on was submitted"
        try:
            told = self._read(portion).submit()
        except InvalidBatch as error:  # a key was used before; the rest was checked
            wrong = {numbers[place]: each for place, each in error.errors.items()}
            self._tell_errors(wrong, len(wrong))
            why = f"{len(wrong)} of the {self.place}s to {numbers[-1]} can't be"
            raise TaketurnsError(f"{nothing}: {why}") from error
        except TaketurnsError as error:
            raise TaketurnsError(f"{nothing}: {_why(error)}") from error
        for number, each in zip(numbers, told, strict=True):
            self._tell(number, each.task_id, each.error, is_duplicate=each.duplicate)
        self.passed += len(told)
        self.submitted += sum(each.error is None for each in told)
        self.last = numbers[-1]

    def _wrong(self, portion: Portion, keys: dict[str, str]) -> Mapping[int, Exception]:
        """Return what is wrong with some of the tasks, by their lines.

        Args:
            portion: the tasks.
            keys: what the idempotency keys before belong to; theirs are added.
        """
        numbers = [number for number, _ in portion]
        try:
            batch = self._read(portion)
        except InvalidBatch as error:
            return {numbers[place]: each for place, each in error.errors.items()}
        return {
            numbers[place]: KeyConflict(key)
            for place, key, what in batch.keyed()
            if keys.setdefault(key, what) != what
        }

    def _read(self, portion: Portion) -> Batch:
        from taketurns.api.incoming import Incoming  # Celery takes its time to import

        incoming = Incoming(self._turns, self._tenant, find=_known_task)
        incoming.read_lines(line for _, line in portion)
        return incoming.whole()

    def _tell(self, number: int, task_id: str, error: TaketurnsError | None, *, is_duplicate: bool) -> None:
        from taketurns.api.faults import code_of

        if self._as_json:
            code = None if error is None else code_of(error)
            _print({self.place: number, "task_id": task_id, "duplicate": is_duplicate, "error": code})
        elif error is None:
            typer.echo(task_id)
        else:
            typer.echo(f"{self.place} {number}: {_why(error)}", err=True)

    def _tell_errors(self, errors: Mapping[int, Exception], number: int) -> None:
        from taketurns.api.faults import told

        for place, error in errors.items():
            if self._as_json:
                _print({self.place: place, **told(error)})
            else:
                typer.echo(f"{self.place} {place}: {_why(error)}", err=True)
        if number > len(errors) and not self._as_json:
            typer.echo(f"and {number - len(errors)} more", err=True)


def _is_array(file: IO[bytes]) -> bool:
    """Tell whether a file has a JSON array, which no line of NDJSON that is a task begins as."""
    file.seek(0)
    return next((line.lstrip()[:1] for line in file if line.strip()), b"") == b"["


def _write_lines(file: IO[bytes], name: str) -> None:
    """Write a JSON array anew, an item on each line.

    Raises:
        TaketurnsError: it is none.
    """
    from taketurns.api.faults import unreadable

    file.seek(0)
    try:
        items = json.load(file)
    except (ValueError, RecursionError) as error:
        raise TaketurnsError(f"{name} begins as a JSON array, and {unreadable(error)}") from error
    file.seek(0)
    file.truncate()
    for item in items:
        file.write(json.dumps(item).encode() + b"\n")


def _portions(file: IO[bytes]) -> Iterator[Portion]:
    """Return the lines that are not empty, with their numbers, some at a time."""
    file.seek(0)
    numbered: Iterable[tuple[int, bytes]] = (
        (number, line) for number, line in enumerate(file, start=1) if line.strip()
    )
    while portion := list(islice(numbered, _TOGETHER)):
        yield portion


def _known_task(app: Celery, name: str) -> TenantTask:
    """Return a task by its name, exposed or not; an operator may submit any."""
    from taketurns.by_name import tenant_task

    try:
        return tenant_task(app, name)
    except InvalidInput as error:
        raise InvalidInput(error.value, error.accepted, field="name") from None


def _why(error: Exception) -> str:
    """Return what is wrong, in one line."""
    return printable(str(error).removeprefix("body: ").replace("\n", " "))


def _print(answer: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(answer))
