"""When a task that failed is tried again: how often, and after how long. Pure: no I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from taketurns.delays import LONGEST
from taketurns.errors import InvalidInput
from taketurns.finite import is_finite

RETRY_HEADER: Final = "taketurns_retry"

MOST_RETRIES: Final = 1_000_000
"""Retries of a task, at most; a message's header can't carry any number."""

_FIRST: Final = 1.0
_CEILING: Final = 600.0


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """What a submission asks for, or a task declares; None is left to whoever is asked next.

    Attributes:
        max_retries: how often it is tried again, at most.
        retry_backoff: seconds until the first retry; each further one waits twice as long.
        retry_backoff_max: seconds that none of them exceeds.
        retry_jitter: whether each waits a random part of its time instead ("full jitter": M. Brooker, Exponential
            Backoff and Jitter, AWS Architecture Blog, 2015), so that tasks that failed together don't come back
            together.
    """

    max_retries: int | None = None
    retry_backoff: float | None = None
    retry_backoff_max: float | None = None
    retry_jitter: bool | None = None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Self:
        """Take those of a submission's options that are about retries out of them.

        Raises:
            InvalidInput: one of them does not have the accepted form.
        """
        return cls(**{name: checked(name, options.pop(name, None)) for name in OPTIONS})

    @classmethod
    def read(cls, header: Any) -> Self:
        """Read what [header][] has made; nothing is asked for if it is anything else."""
        try:
            return cls(**{name: checked(name, header.get(name)) for name in OPTIONS})
        except (AttributeError, InvalidInput):
            return cls()

    def header(self) -> dict[str, Any]:
        """Return what was asked for as a message header's value."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, others: Self) -> Self:
        """Return these options, and those of others where nothing is asked for here."""
        mine = asdict(self)
        return type(self)(
            **{name: theirs if mine[name] is None else mine[name] for name, theirs in asdict(others).items()}
        )

    def delay(self, retries: int, random: float) -> float:
        """Return the seconds until the next retry.

        Args:
            retries: how often it was tried again so far.
            random: a random number from 0 to 1.
        """
        first = _FIRST if self.retry_backoff is None else self.retry_backoff
        ceiling = _CEILING if self.retry_backoff_max is None else self.retry_backoff_max
        # 2^64 is beyond every ceiling; a float has no 2^1024.
        seconds = min(ceiling, first * 2.0 ** min(retries, 64))
        return seconds if self.retry_jitter is False else seconds * random


OPTIONS: Final = tuple(each.name for each in fields(RetryOptions))


def is_count(value: object) -> bool:
    """Tell whether a value is a number of retries, of those to come or of those that were."""
    return is_finite(value) and isinstance(value, int) and 0 <= value <= MOST_RETRIES


def checked(name: str, value: Any, *, field: str | None = None) -> Any:
    """Return the value of an option if it has its accepted form.

    Args:
        name: the option.
        value: its value; None is always accepted.
        field: what an error calls it, if not by its name.

    Raises:
        InvalidInput: it has not.
    """
    if value is None:
        return None
    match name:
        case "max_retries":
            valid, accepted = (
                is_count(value),
                f"a whole number from 0 to {MOST_RETRIES}",
            )
        case "retry_jitter":
            valid, accepted = isinstance(value, bool), "True or False"
        case _:
            valid = is_finite(value) and 0 < value <= LONGEST
            accepted = f"a number of seconds above 0, at most {LONGEST:.0f}"
    if not valid:
        raise InvalidInput(value, accepted, field=field or name)
    return value


def check_retries(options: dict[str, Any]) -> None:
    """Check how often a submission says that its task was tried again: Celery takes anything, and fails of it later.

    Raises:
        InvalidInput: it is no such number.
    """
    if checked("max_retries", options.get("retries"), field="retries") is None:
        options.pop("retries", None)  # a message would say null


def submitted_options(request: Any) -> RetryOptions:
    """Return what the submission of the task of a request asked for."""
    return RetryOptions.read((request.headers or {}).get(RETRY_HEADER))


def declared_options(task: Any) -> RetryOptions:
    """Return what a task declares, by Celery's names."""
    backoff = getattr(task, "retry_backoff", None)
    return RetryOptions(
        # Celery's True is one second, and its False none, which is the default here.
        retry_backoff=_FIRST if isinstance(backoff, bool) else backoff,
        retry_backoff_max=getattr(task, "retry_backoff_max", None),
        retry_jitter=getattr(task, "retry_jitter", None),
    )
