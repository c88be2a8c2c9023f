"""redis-py's lock, whose holders get a number that grows."""

from __future__ import annotations

from importlib.resources import files
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final

from redis.exceptions import LockNotOwnedError
from redis.lock import Lock

if TYPE_CHECKING:
    from taketurns.store import Client

_ACQUIRE: Final = files(__package__).joinpath("acquire.lua").read_text(encoding="utf-8")


class FencedLock(Lock):
    """A lock in Redis that one holder has at a time. Its errors are redis-py's, but for a hold that was lost.

    Attributes:
        ttl: seconds for which it is held, if it is not renewed.
        fence: the fencing token of this hold; 0 before.
        sure_until: until when it is held by what Redis said last, by the monotonic clock.
    """

    lua_acquire: ClassVar[Any] = None

    def __init__(self, redis: Client, key: str, fence_key: str, ttl: float) -> None:
        # The thread that renews it needs the token too.
        super().__init__(redis, key, timeout=ttl, thread_local=False)
        self.ttl = ttl
        self.fence = 0
        self.sure_until = 0.0
        self._fence_key = fence_key

    def register_scripts(self) -> None:
        """Prepare the scripts, once for all locks."""
        super().register_scripts()
        if FencedLock.lua_acquire is None:
            FencedLock.lua_acquire = self.redis.register_script(_ACQUIRE)

    def do_acquire(self, token: Any) -> bool:
        """Take the lock, if nobody has it."""
        keys, arguments = (self.name, self._fence_key), (token, int(self.ttl * 1000))
        asked_at = monotonic()
        self.fence = int(FencedLock.lua_acquire(keys, arguments, client=self.redis))
        if self.fence:
            self.sure_until = asked_at + self.ttl
        return self.fence > 0

    def adopt(self, token: str, fence: int) -> None:
        """Go on with a hold that another process has begun."""
        self.local.token = self.redis.get_encoder().encode(token)
        self.fence = fence

    def renew(self) -> bool:
        """Have the hold last for ``ttl`` seconds from now; False if it was lost."""
        asked_at = monotonic()
        try:
            self.reacquire()
        except LockNotOwnedError:
            self.sure_until = 0.0
            return False
        self.sure_until = asked_at + self.ttl
        return True

    def give_up(self) -> bool:
        """Release the lock; False if the hold was lost before."""
        try:
            self.release()
        except LockNotOwnedError:
            return False
        return True
