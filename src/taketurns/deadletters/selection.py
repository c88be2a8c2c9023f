"""Which dead letters are meant. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taketurns.deadletters.letter import CAUSES
from taketurns.errors import InvalidInput
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import Collection

    from taketurns.deadletters.letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Selection:
    """The dead letters that have all of this; all of them if nothing is named.

    Attributes:
        ids: one of these ids.
        tenant: this tenant.
        task: this task name.
        cause: this cause, one of ``CAUSES``.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        InvalidInput: there is no such cause, the ids are one text instead of several, or the task is no text.
    """

    ids: Collection[str] | None = None
    tenant: str | None = None
    task: str | None = None
    cause: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ids, str | bytes):
            raise InvalidInput(self.ids, "a set or list of ids", field="ids")
        if not isinstance(self.task, str | None):
            raise InvalidInput(self.task, "a task's name", field="task")
        if self.tenant is not None:
            validate_tenant(self.tenant)
        if self.cause is not None and self.cause not in CAUSES:
            raise InvalidInput(self.cause, f"one of {', '.join(CAUSES)}", field="cause")

    def has(self, letter: DeadLetter) -> bool:
        """Tell whether the letter is meant."""
        return (
            (self.ids is None or letter.id in self.ids)
            and (self.tenant is None or letter.tenant == self.tenant)
            and (self.task is None or letter.task == self.task)
            and (self.cause is None or letter.cause == self.cause)
        )
