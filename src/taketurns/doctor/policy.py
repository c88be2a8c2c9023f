"""RabbitMQ's policies: which one applies to a queue. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, or an operator policy, of the vhost.

    Attributes:
        name: its name.
        pattern: matches names of queues, as a regular expression.
        applies_to: ``queues``, ``all``, ``exchanges``, or since RabbitMQ 3.12 a type, such as ``classic_queues``.
        priority: of several that match the one with the highest applies.
        definition: its keys and values.
        is_operators: an operator policy, which applies beside an ordinary one.
    """

    name: str
    pattern: str
    applies_to: str
    priority: int
    definition: Mapping[str, Any]
    is_operators: bool = False

    @property
    def title(self) -> str:
        """Its name, with its kind."""
        return f"{'operator policy' if self.is_operators else 'policy'} {self.name!r}"

    def matches(self, queue: str, kind: str) -> bool:
        """Tell whether it is for a queue of this name and type, such as ``classic``."""
        if self.applies_to not in {"all", "queues", f"{kind}_queues"}:
            return False
        try:
            return re.search(self.pattern, queue) is not None
        except re.error:  # Erlang knows forms that Python does not
            return False


def applying(policies: Iterable[Policy], queue: str, kind: str) -> Sequence[Policy]:
    """Return the policies that apply to a queue: an ordinary one and an operators' one at most."""
    matching = [policy for policy in policies if policy.matches(queue, kind)]
    both = ([each for each in matching if each.is_operators is operators] for operators in (False, True))
    return [max(some, key=lambda each: each.priority) for some in both if some]
