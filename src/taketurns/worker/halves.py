"""How a worker's slots are parted between ordinary tasks and those of tenants while both wait. Pure."""

from __future__ import annotations


class Halves:
    """Gives each side half of the slots; of an odd number one belongs to either side in turn, with each task.

    What one side has no use for, the other one has.
    """

    def __init__(self) -> None:
        self._odd_is_tenants = True

    def ordinary_may_begin(self, slots: int, running: int, *, tenants_wait: bool) -> bool:
        """Tell whether an ordinary task may have a slot that is free.

        Args:
            slots: all of them.
            running: those that ordinary tasks have.
            tenants_wait: whether a tenant's task could have it as well.
        """
        return not tenants_wait or running < self._half_of_ordinary(slots)

    def left_for_tenants(self, slots: int, free: int, running: int) -> int:
        """Return how many of the free slots tenants may take while ordinary tasks wait.

        Args:
            slots: all of them.
            free: those where nothing runs.
            running: those that ordinary tasks have.
        """
        return max(0, free - max(0, self._half_of_ordinary(slots) - running))

    def ordinary_began(self) -> None:
        """Note that an ordinary task has a slot now."""
        self._odd_is_tenants = True

    def tenant_began(self) -> None:
        """Note that a tenant's task has one."""
        self._odd_is_tenants = False

    def _half_of_ordinary(self, slots: int) -> int:
        return (slots + (not self._odd_is_tenants)) // 2
