"""What the doctor says of each thing that it has looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

Level = Literal["ok", "warning", "problem", "skipped"]

_NAMED: Final = 5
"""How many of a kind are named."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing, and what to do about it.

    Attributes:
        check: what was looked at.
        level: ``ok``; ``warning``: it works, but a promise may not be kept; ``problem``: something does not work, or
            tasks may be lost; ``skipped``: it could not be looked at.
        found: what was found, or why it could not be looked at.
        advice: what to do; empty if there is nothing to do.
    """

    check: str
    level: Level
    found: str
    advice: str = ""


class Verdict(NamedTuple):
    """A finding that does not know yet to which check it belongs."""

    level: Level
    found: str
    advice: str = ""


def ok(found: str) -> Verdict:
    """Return that all is well."""
    return Verdict("ok", found)


def warning(found: str, advice: str) -> Verdict:
    """Return that something works, but may not keep a promise."""
    return Verdict("warning", found, advice)


def problem(found: str, advice: str) -> Verdict:
    """Return that something does not work, or that tasks may be lost."""
    return Verdict("problem", found, advice)


def named(names: Collection[str]) -> str:
    """Return the names, the first ones if they are many."""
    first = ", ".join(sorted(names)[:_NAMED])
    more = len(names) - _NAMED
    return f"{first} and {more} more" if more > 0 else first


def counted(count: int, what: str) -> str:
    """Return a number with what it counts, such as ``1 task`` or ``2 tasks``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version, for comparing; what is no number is 0."""
    parts = [*version.split("."), "0"][:2]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)
