"""A hold of a lock: until when it is sure, and the thread that renews it."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

from taketurns.errors import LockLost, RegistryUnavailable

if TYPE_CHECKING:
    from taketurns.locks.fenced import FencedLock
    from taketurns.store import Store

logger = logging.getLogger(__name__)

_RENEWALS: Final = 3
"""How often a hold is renewed in the time that it lasts."""


class Hold:
    """A lock that this process holds; a context manager that renews it meanwhile and gives it up at the end.

    It ends early if Redis loses it, or can't be reached for as long as it lasts, or when it was renewed for
    ``longest`` seconds. Then somebody else may have the lock, so look at [held][] or [check][] before what can't be
    undone, or pass [fence][] on to whatever refuses an older one.

    Attributes:
        tenant: whose lock it is.
        name: its name.
        fence: the fencing token, which is larger than that of every earlier holder.
    """

    def __init__(
        self, store: Store, lock: FencedLock, *, tenant: str, name: str, longest: float, quiet: bool
    ) -> None:
        """Take over a lock that was acquired.

        Args:
            store: the Redis client.
            lock: the lock, acquired.
            tenant: whose lock it is.
            name: its name, for messages.
            longest: seconds from now on for which it is renewed.
            quiet: whether a loss is only logged at the end, and no error.
        """
        self.tenant = tenant
        self.name = name
        self.fence = lock.fence
        self._store = store
        self._lock = lock
        self._quiet = quiet
        self._renewed_until = monotonic() + longest
        self._ended = threading.Event()
        self._renewal = threading.Thread(
            target=self._renew, name=f"taketurns lock {tenant} {name}", daemon=True
        )

    @property
    def held(self) -> bool:
        """Whether the lock is surely held at this moment, by what Redis said last."""
        return not self._ended.is_set() and monotonic() < self._lock.sure_until

    def check(self) -> None:
        """Return if [held][].

        Raises:
            LockLost: it is not, or not surely.
        """
        if not self.held:
            raise LockLost(self.tenant, self.name)

    def __enter__(self) -> Self:
        self._renewal.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        was_held = self.held
        self._ended.set()
        self._renewal.join()  # or it would renew what is being released
        if self._release(was_held=was_held):
            return
        lost = LockLost(self.tenant, self.name)
        if error is None and not self._quiet:
            raise lost
        logger.warning("%s", lost)  # the body's own error says more

    def _release(self, *, was_held: bool) -> bool:
        """Give the lock up; False if it was lost before."""
        try:
            return self._store.call(lambda _: self._lock.give_up())
        except RegistryUnavailable as error:
            logger.info("the lock %r of %s is not released but expires: %s", self.name, self.tenant, error)
            return was_held

    def _renew(self) -> None:
        while not self._ended.wait(self._lock.ttl / _RENEWALS):
            if monotonic() >= self._renewed_until:
                logger.warning(
                    "the lock %r of %s is renewed no more, since it is held for so long",
                    self.name,
                    self.tenant,
                )
                return
            try:
                kept = self._store.call(lambda _: self._lock.renew())
            except RegistryUnavailable:
                continue  # the store has said so; it may be back before the hold expires
            if not kept:
                logger.warning("%s", LockLost(self.tenant, self.name))
                return
