"""The workers that serve tenants, each with what it does now; the silent ones and those that were lost too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, with_config

from taketurns.conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.extension import TakeTurns
    from taketurns.registry.sign_of_life import SignOfLife

State = Literal["alive", "silent", "lost"]

# The API shows this class as it is; the docstrings are the descriptions in its OpenAPI document.
_documented = with_config(ConfigDict(use_attribute_docstrings=True))


@_documented
@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that serves tenants. What is null it did not tell."""

    name: str
    """Its Celery name."""
    state: State
    """`alive`: it answered. `silent`: it did not within a second; one with the solo pool is silent while it runs a
    task. `lost`: it gave no sign of life for three of its heartbeats and said no farewell: it was killed, hangs, or
    can't reach Redis. It is named for ten minutes, or until one of its name is there again."""
    heartbeat_age: float | None
    """Seconds since its last sign of life in Redis; null: unknown."""
    pid: int | None = None
    """Its main process."""
    running: int | None = None
    """Tasks of tenants that it runs."""
    hand: int | None = None
    """Tasks that it holds and has not started."""
    slots: int | None = None
    """Tasks that it can run at a time, grown as far as autoscaling may."""
    serves: int | None = None
    """Tenants whose queues it serves."""
    tenants: dict[str, int] | None = None
    """How many tasks run of each tenant of whom one does."""


def list_workers(turns: TakeTurns) -> list[WorkerInfo]:
    """Return the workers that live, and those that were lost in the last ten minutes, by name.

    Takes about a second if one does not answer.

    Raises:
        RegistryUnavailable: Redis is away, so it is not known which workers live.
        BrokerUnavailable: the workers can't be asked.
    """
    known = turns.registry.signs_of_life()
    alive = [name for name, sign in known.items() if sign.lives]
    with Conversation(turns.app, timeout=turns.settings.broker.publish_timeout) as conversation:
        answers = conversation.ask(alive, "taketurns_running")
    return [_worker(name, sign, answers.get(name)) for name, sign in sorted(known.items())]


def _worker(name: str, sign: SignOfLife, answer: Mapping[str, Any] | None) -> WorkerInfo:
    if answer is None:
        return WorkerInfo(name, "silent" if sign.lives else "lost", sign.seconds)
    return WorkerInfo(
        name=name,
        state="alive",
        heartbeat_age=sign.seconds,
        pid=answer["pid"],
        running=answer["running"],
        hand=answer["hand"],
        slots=answer["slots"],
        serves=answer["queues"],
        tenants=answer["tenants"],
    )
