"""What was told by a server that may be away. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Callable

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")


class NotTold(TaketurnsError):
    """What a check needs is not known, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class Told(Generic[T_co]):
    """An answer, or why there is none."""

    value: T_co | None
    trouble: str = ""

    @staticmethod
    def ask(question: Callable[[], S]) -> Told[S]:
        """Ask, and keep the answer or what went wrong."""
        try:
            return Told(question())
        except TaketurnsError as error:
            return Told(None, str(error))

    def then(self, question: Callable[[], S], *, else_because: str) -> Told[S]:
        """Ask the same server something else, unless it gave no answer before: it would have to be waited for."""
        return Told(None, else_because) if self.trouble else Told.ask(question)

    def get(self) -> T_co:
        """Return the answer.

        Raises:
            NotTold: there is none.
        """
        if self.trouble:
            raise NotTold(self.trouble)
        return self.value  # type: ignore[return-value]  # None only if that is the answer
