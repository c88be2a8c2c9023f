"""What the control runs go without: a test that can't fail shows nothing, so each of these must lose tasks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, get_args

from kombu.transport import pyamqp

from chaos.variables import CONTROL
from taketurns import confirms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.reaper.policy import Decision
    from taketurns.reaper.removal import Removal

Control = Literal["late acknowledgements", "confirms", "draining"]


def take_away(task: Any) -> None:
    """Take away from the app of this process what the environment names, if anything."""
    match os.environ.get(CONTROL):
        case None:
            return
        case "late acknowledgements":
            task.acks_late = False  # on the bound task, where nothing checks it any more
        case "confirms":
            confirms.Channel.basic_publish = _publish_unconfirmed  # type: ignore[method-assign, assignment]
        case "draining":
            from taketurns.reaper.removal import Removal

            Removal.remove = _remove_undrained  # type: ignore[method-assign]
        case unknown:
            raise ValueError(f"{CONTROL}: {unknown!r} is none of {', '.join(get_args(Control))}")


def _publish_unconfirmed(self: confirms.Channel, message: Any, **options: Any) -> None:
    """Publish as one does who does not wait for the confirm."""
    pyamqp.Channel.basic_publish(self, message, **options | {"timeout": self.connection.remaining()})


def _remove_undrained(self: Removal, candidates: Sequence[Decision]) -> list[Decision]:
    """Remove as one does who trusts the broker's own "if empty"."""
    outcomes = []
    for candidate in candidates:
        outcome = self._management.delete_queue(candidate.queue, if_empty=True, if_unused=False)
        outcomes.append(candidate if outcome == "deleted" else candidate.kept(outcome))
    self._finish([each.tenant for each in outcomes if each.remove])
    return outcomes
