"""Which dead letters are meant. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from taketurns.deadletters.letter import CAUSES
from taketurns.deadletters.moments import aware
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
        owner: submitted by this owner.
        task: this task name.
        task_id: this task's id.
        cause: this cause, one of ``CAUSES``.
        since: it died at this time or later; in UTC if the time has no zone. Of some letters that others have put
            there it is not known when they died: these are not meant.
        until: it died before this time.

    Raises:
        InvalidTenant: the tenant or owner does not have the accepted form.
        InvalidInput: there is no such cause, the ids are one text instead of several, the task or its id is no text,
            a time is none, or nothing can be between the two.
    """

    ids: Collection[str] | None = None
    tenant: str | None = None
    owner: str | None = None
    task: str | None = None
    task_id: str | None = None
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ids, str | bytes):
            raise InvalidInput(self.ids, "a set or list of ids", field="ids")
        if not isinstance(self.task, str | None):
            raise InvalidInput(self.task, "a task's name", field="task")
        if not isinstance(self.task_id, str | None):
            raise InvalidInput(self.task_id, "a task's id", field="task_id")
        self._check_times()
        if self.tenant is not None:
            validate_tenant(self.tenant)
        if self.owner is not None:
            validate_tenant(self.owner, field="owner")
        if self.cause is not None and self.cause not in CAUSES:
            raise InvalidInput(self.cause, f"one of {', '.join(CAUSES)}", field="cause")

    def has(self, letter: DeadLetter) -> bool:
        """Tell whether the letter is meant."""
        return (
            (self.ids is None or letter.id in self.ids)
            and (self.tenant is None or letter.tenant == self.tenant)
            and (self.owner is None or letter.owner == self.owner)
            and (self.task is None or letter.task == self.task)
            and (self.task_id is None or letter.task_id == self.task_id)
            and (self.cause is None or letter.cause == self.cause)
            and self._died_in_time(letter.died_at)
        )

    def _check_times(self) -> None:
        for field, moment in (("since", self.since), ("until", self.until)):
            if not isinstance(moment, datetime | None):
                raise InvalidInput(moment, "a datetime", field=field)
        if self.since and self.until and aware(self.since) >= aware(self.until):
            raise InvalidInput(f"{self.until:%Y-%m-%dT%H:%M:%S%z}", "a time after since", field="until")

    def _died_in_time(self, died_at: str) -> bool:
        if self.since is None and self.until is None:
            return True
        try:
            died = aware(datetime.fromisoformat(died_at))
        except (ValueError, OverflowError):
            return False
        return (self.since is None or died >= aware(self.since)) and (
            self.until is None or died < aware(self.until)
        )
