"""The reaper's talk with the live workers: it asks them, and knows who has answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from taketurns.conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Collection

    from celery import Celery

    from taketurns.registry import Registry

_POLL_SECONDS: Final = 0.05


class LiveWorkers:
    """The workers that serve tenants, as Celery's remote control reaches them. For one thread.

    It has a connection of its own, opened by the first question and kept until ``disconnect()``.
    """

    def __init__(self, app: Celery, registry: Registry, *, timeout: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            app: the Celery app of the workers.
            registry: knows which workers live.
            timeout: seconds that the broker has for connecting and for each answer.
        """
        self._registry = registry
        self._conversation = Conversation(app, timeout=timeout)
        self._told_to_drain: set[str] = set()

    def drain(self, tenants: Collection[str], *, expiry: float, within: float) -> dict[str, str]:
        """Have every live worker let go of these tenants, and wait until each has said that it did.

        A worker that comes to life meanwhile is asked too; one that leaves is not waited for.

        Args:
            tenants: the tenants.
            expiry: seconds after which the workers serve them again by themselves.
            within: seconds that they have for it.

        Returns:
            The tenants of which it could not be confirmed, each with the reason; empty if nobody holds anything.

        Raises:
            BrokerUnavailable: the workers can't be reached.
            RegistryUnavailable: it is not known which workers live.
        """
        started = time.monotonic()
        drained: set[str] = set()
        self._told_to_drain = set()
        while True:
            elapsed = time.monotonic() - started
            workers = set(self._registry.workers())
            self._told_to_drain |= workers
            seconds = max(0.0, expiry - elapsed)
            answers = self._ask("taketurns_drain", workers - drained, tenants, seconds=seconds)
            drained |= {worker for worker, answer in answers.items() if "ok" in answer}
            if silent := workers - drained:
                reasons = dict.fromkeys(tenants, f"no answer from worker {min(silent)}")
            else:
                reasons = self._held(workers, tenants)
            if not reasons or elapsed > within:
                return reasons
            time.sleep(_POLL_SECONDS)

    def keep_away(self, tenants: Collection[str], *, expiry: float) -> None:
        """Tell the workers of the last drain not to serve these tenants for so many seconds more.

        Raises:
            BrokerUnavailable: the workers can't be reached.
        """
        self._tell("taketurns_drain", tenants, seconds=expiry)

    def resume(self, tenants: Collection[str]) -> None:
        """Tell the workers of the last drain to serve these tenants again; its expiry does so in any case.

        Raises:
            BrokerUnavailable: the workers can't be reached.
        """
        self._tell("taketurns_resume", tenants)

    def drop(self, tenants: Collection[str]) -> None:
        """Tell the workers of the last drain that the queues of these tenants are gone.

        Raises:
            BrokerUnavailable: the workers can't be reached; they will notice the missing queues.
        """
        self._tell("taketurns_drop", tenants)

    def disconnect(self) -> None:
        """Close the connection; the next question opens a new one."""
        self._conversation.disconnect()

    def _held(self, workers: Collection[str], tenants: Collection[str]) -> dict[str, str]:
        """Return the tenants of which a worker holds something, or might, since it did not answer."""
        answers = self._ask("taketurns_holding", workers, tenants)
        reasons: dict[str, str] = {}
        for worker in sorted(workers):
            holding = answers.get(worker, {}).get("holding")
            if holding is None:
                return dict.fromkeys(tenants, f"no answer from worker {worker}")
            reasons |= dict.fromkeys(holding, f"held by worker {worker}")
        return reasons

    def _ask(
        self, command: str, workers: Collection[str], tenants: Collection[str], **arguments: object
    ) -> dict[str, dict[str, Any]]:
        """Return the answers that came in time, by worker."""
        return self._conversation.ask(workers, command, {"tenants": list(tenants), **arguments})

    def _tell(self, command: str, tenants: Collection[str], **arguments: object) -> None:
        if tenants:
            self._conversation.tell(self._told_to_drain, command, {"tenants": list(tenants), **arguments})
