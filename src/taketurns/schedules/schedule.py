"""A schedule: what is submitted when, and what became of it last. Pure: no I/O."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from taketurns.durations import seconds_of
from taketurns.errors import InvalidInput
from taketurns.schedules.timing import Cron, Interval, Timing, check_timing, read_zone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo
    from types import UnionType

Missed = Literal["skip", "once", "all"]
Outcome = Literal["submitted", "refused", "unknown", "failed"]
Priority = Literal["low", "normal", "high"]

LARGEST: Final = 64 * 1024
"""Bytes of JSON that the arguments of a schedule may take."""

LONGEST_EXPIRY: Final = 366 * 86400
"""Seconds after which a run may expire, at most."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_NAME_FORM: Final = "1 to 100 characters of A-Z a-z 0-9 . _ -, the first one a letter or digit"
_TIMING: Final = frozenset({"cron", "every", "timezone"})
CHANGEABLE: Final = frozenset({"task", "args", "kwargs", "missed", "paused", "priority", "expires", *_TIMING})
"""The fields that may be changed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A task that is submitted for a tenant again and again. Times are seconds since 1970, by Redis' clock.

    Attributes:
        tenant: the tenant.
        name: what the tenant knows it by.
        task: the task's name.
        args: the task's positional arguments.
        kwargs: its keyword arguments.
        cron: a cron expression of five fields, or None with ``every``.
        every: an interval such as ``30s``, or None with ``cron``.
        timezone: the time zone of ``cron``; None: the app's.
        missed: what becomes of runs that were due while none could be submitted. ``skip``: they are left out;
            ``once``: one takes the place of all of them; ``all``: each is submitted late, up to a number.
        paused: whether nothing is submitted at present.
        priority: the place of its tasks among the tenant's own; None: the task's own.
        expires: seconds from a run's submission until it is too late to start; None: as the task says, if it does.
        created_at: when it was created.
        anchor: from when the intervals count.
        next_due_at: when it is due next; None while it is paused.
        retry_at: until when it is put off, since the last submission was refused; None: it is not.
        last_due_at: the due time of its last run; None: there was none.
        last_task_id: the id of that run's task.
        last_outcome: what became of that run's submission. ``submitted``: RabbitMQ has confirmed the task;
            ``refused``: nothing was accepted, and ``missed`` says what follows; ``failed``: such a task can't be
            submitted; ``unknown``: nobody heard the end of it, and it is not submitted again.
        last_error: why it was not submitted; None: it was.
        missed_at: the last due time that was left out; None: there was none.
    """

    tenant: str
    name: str
    task: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    cron: str | None = None
    every: str | None = None
    timezone: str | None = None
    missed: Missed = "skip"
    paused: bool = False
    priority: Priority | None = None
    expires: float | None = None
    created_at: float = 0.0
    anchor: int = 0
    next_due_at: float | None = None
    retry_at: float | None = None
    last_due_at: float | None = None
    last_task_id: str | None = None
    last_outcome: Outcome | None = None
    last_error: str | None = None
    missed_at: float | None = None

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """Read what [to_json][] has written; what a later version has added is left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @property
    def look_at(self) -> float:
        """When it is to be looked at; infinity: not by itself."""
        if self.next_due_at is None:
            return math.inf
        return self.retry_at or self.next_due_at

    def timing(self, zone: tzinfo) -> Timing:
        """Return when it is due.

        Args:
            zone: the app's time zone.

        Raises:
            InvalidInput: this machine does not know its time zone.
        """
        if self.cron is not None:
            return Cron(self.cron, zone if self.timezone is None else read_zone(self.timezone))
        return Interval(seconds_of(self.every) or 0, self.anchor)

    def begun(self, now: float, zone: tzinfo) -> Schedule:
        """Return it as it is when it begins: due from now on."""
        return _waiting(replace(self, created_at=now, anchor=math.ceil(now)), now, zone)

    def changed(self, changes: Mapping[str, Any], now: float, zone: tzinfo) -> Schedule:
        """Return it with other values; with another timing, or if it was paused, it is due anew from now on.

        ``cron`` takes the place of ``every``, and the other way round.

        Raises:
            InvalidInput: a value does not have its accepted form.
        """
        if changes.get("cron") is not None:
            changes = {"every": None, **changes}
        elif changes.get("every") is not None:
            changes = {"cron": None, "timezone": None, **changes}
        after = replace(self, **changes)
        after.check()
        if any(getattr(after, name) != getattr(self, name) for name in _TIMING):
            return _waiting(replace(after, anchor=math.ceil(now)), now, zone)
        return after if after.paused == self.paused else _waiting(after, now, zone)

    def check(self) -> None:
        """Check the form of what people give.

        Raises:
            InvalidInput: a value has another form; ``field`` names it.
        """
        check_timing(self.cron, self.every, self.timezone)
        if self.missed not in get_args(Missed):
            raise InvalidInput(self.missed, ", ".join(get_args(Missed)), field="missed")
        if not isinstance(self.paused, bool):
            raise InvalidInput(self.paused, "true or false", field="paused")
        if self.priority not in (None, *get_args(Priority)):
            raise InvalidInput(self.priority, ", ".join(get_args(Priority)), field="priority")
        if self.expires is not None and not _is_expiry(self.expires):
            raise InvalidInput(
                self.expires, f"a number of seconds above 0, {LONGEST_EXPIRY} at most", field="expires"
            )

    @property
    def options(self) -> dict[str, Any]:
        """What ``apply_async`` is told of each run."""
        given = {"priority": self.priority, "expires": self.expires}
        return {name: value for name, value in given.items() if value is not None}

    # What becomes of its runs

    def claimed(self, due: float, following: float, task_id: str, missed: float | None) -> Schedule:
        """Return it when a run is about to be submitted: from now on nobody else may.

        Args:
            due: the run's due time.
            following: the next due time after it.
            task_id: the id that the run's task gets.
            missed: the last due time before it that is left out, if any.
        """
        return replace(
            self,
            next_due_at=following,
            retry_at=None,
            last_due_at=due,
            last_task_id=task_id,
            last_outcome="unknown",
            last_error=None,
            missed_at=missed or self.missed_at,
        )

    def settled(self, outcome: Outcome, error: str | None = None) -> Schedule:
        """Return it when it is known what became of the run's submission."""
        return replace(self, last_outcome=outcome, last_error=error)

    def given_back(self, claim: Schedule, error: str, retry_at: float) -> Schedule:
        """Return it when nothing was submitted: the run is due still, unless others were due since."""
        if self.next_due_at != claim.next_due_at:
            return replace(self.settled("refused", error), missed_at=claim.last_due_at)
        return replace(self.settled("refused", error), next_due_at=claim.last_due_at, retry_at=retry_at)

    def passed_over(self, following: float, missed: float) -> Schedule:
        """Return it when what was due is left out."""
        return replace(self, next_due_at=following, retry_at=None, missed_at=missed)

    def put_off(self, error: str, retry_at: float) -> Schedule:
        """Return it when nobody can tell when it is due."""
        return replace(self, last_error=error, retry_at=retry_at)


def check_name(name: object) -> str:
    """Return the name of a schedule.

    Raises:
        InvalidInput: it has another form.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(name, _NAME_FORM, field="name")
    return name


def plain(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments as JSON has them.

    Raises:
        InvalidInput: JSON can't carry them, or they are too many.
    """
    texts = _json(args, list | tuple, field="args"), _json(kwargs, dict, field="kwargs")
    if sum(map(len, texts)) > LARGEST:
        raise InvalidInput(args, f"{LARGEST} bytes of JSON at most, together with kwargs", field="args")
    return json.loads(texts[0]), json.loads(texts[1])


def _is_expiry(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and 0 < given <= LONGEST_EXPIRY


def _json(value: Any, kind: type | UnionType, *, field: str) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()  # half a character is none
    except (TypeError, ValueError, RecursionError):
        text = None
    if text is None or not isinstance(value, kind):
        accepted = f"{'an object' if kind is dict else 'a list'} that JSON can carry"
        raise InvalidInput(value, accepted, field=field)
    return text


def _waiting(schedule: Schedule, now: float, zone: tzinfo) -> Schedule:
    """Return it as it waits for the first time after now at which it is due."""
    due = None if schedule.paused else schedule.timing(zone).after(now)
    return replace(schedule, next_due_at=due, retry_at=None)
