"""kombu's loop, which asks the kernel only for what it must."""

from __future__ import annotations

from typing import Any

from kombu.asynchronous import Hub


class Loop(Hub):
    """A loop for which it costs next to nothing to stop what is not watched.

    In each of its passes prefork stops watching the pipe to each of its processes, whether it is watched or not; each
    is a system call that fails.
    """

    def remove_writer(self, fd: Any) -> None:
        """Wait no more until a file can be written to."""
        if fd in self.writers or not isinstance(fd, int):  # what has a fileno() is known by that
            super().remove_writer(fd)


def hurry(hub: Hub) -> None:
    """Have a loop not wait in the pass from which this is called: kombu looks only before that for what is due."""
    if hub._waker is not None:  # noqa: SLF001  # call_soon() wakes it from other threads only
        hub._waker.wake()  # noqa: SLF001  # the same
