"""The private nodes of one directory: a RabbitMQ and a Redis of its own, for development, demo and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from taketurns.services.compose import ComposedServers, engine_answers
from taketurns.services.errors import NodesUnavailable
from taketurns.services.identity import Identity
from taketurns.services.programs import find_program
from taketurns.services.rabbitmq import PortMapper, RabbitMQ
from taketurns.services.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from taketurns.services.server import Server

# In the order of their start: RabbitMQ needs its port mapper.
_INSTALLED: tuple[type[PortMapper | RedisServer | RabbitMQ], ...] = (PortMapper, RedisServer, RabbitMQ)


class PrivateNodes:
    """A RabbitMQ and a Redis that nobody else uses: own data, own free ports on 127.0.0.1, own credentials.

    As a context manager they run from enter to exit, and no longer than this process, however it ends: after
    Ctrl-C, SIGTERM and SIGKILL too they stop within seconds. Their data stays in the directory, and the next
    start goes on with it, with the same credentials.

        with PrivateNodes(Path(".taketurns")) as nodes:
            app = Celery("shop", broker=nodes.amqp_url)
    """

    def __init__(self, directory: Path) -> None:
        """Name the nodes of ``directory``; nothing is created or started yet."""
        self.directory = directory.resolve()
        self._identity = Identity.read(self.directory)
        self._servers: list[Server] = self._all_servers()

    @property
    def amqp_url(self) -> str:
        """RabbitMQ's address with credentials, on its default vhost."""
        return self._known().amqp_url

    @property
    def management_url(self) -> str:
        """The management API's address with credentials."""
        return self._known().management_url

    @property
    def redis_url(self) -> str:
        """Redis' address with its password."""
        return self._known().redis_url

    def start(self, *, detached: bool = False) -> None:
        """Start both and wait until they answer, which takes some seconds.

        Args:
            detached: let them live on when this process ends, until somebody calls ``stop``.

        Raises:
            NodesUnavailable: a program is missing, the nodes run already, or one did not start.
        """
        kinds = _startable()
        if not _gone(self._servers):  # a killed process' servers may still be on their way out
            raise NodesUnavailable(
                f"the nodes of {self.directory} run already: name another directory, "
                f"or end them by `taketurns services down --directory {self.directory}`"
            )
        self._start(kinds, detached=detached)

    def start_missing(self, *, detached: bool = False) -> None:
        """Start what is down and wait until it answers; what is up goes on undisturbed.

        Args:
            detached: let what is started live on when this process ends, until somebody calls ``stop``.

        Raises:
            NodesUnavailable: a program is missing, one did not start, or what is left of one did not stop.
        """
        kinds = _startable()
        if any(server.running for server in self._servers if not isinstance(server, kinds)):
            self.stop()  # containers from before the programs were installed, or the other way round
        down = [server for server in self._servers if not server.up]
        self._stop(down)  # one that hangs, or the guardian of one that has died
        up = [type(server) for server in self._servers if server not in down]
        self._start(tuple(kind for kind in kinds if kind not in up), detached=detached)

    def stop(self) -> None:
        """Stop what runs, whoever started it, and wait until it has gone.

        Raises:
            NodesUnavailable: something did not go, even by SIGKILL.
        """
        self._stop(self._servers)

    def status(self) -> dict[str, bool]:
        """Return for ``rabbitmq`` and ``redis`` whether it answers now."""
        answers = {kind.name: False for kind in (RabbitMQ, RedisServer)}
        return answers | {server.name: server.answers() for server in self._servers if server.name in answers}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, kinds: Sequence[type[Server]], *, detached: bool) -> None:
        """Start the servers of these kinds, in this order; should one fail, stop those of them again."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._identity = Identity.prepare(self.directory, [port for kind in kinds for port in kind.ports])
        kept = {type(server): server for server in self._servers if not isinstance(server, tuple(kinds))}
        self._servers = [kept.get(type(server), server) for server in self._all_servers()]
        chosen = [server for server in self._servers if isinstance(server, tuple(kinds))]
        try:
            for server in chosen:
                server.start(detached=detached)
        except BaseException:
            self._stop(chosen)
            raise

    def _stop(self, servers: Sequence[Server]) -> None:
        for server in servers:
            server.request_stop()
        if not _gone(servers):
            alive = ", ".join(server.name for server in servers if server.running)
            raise NodesUnavailable(f"{alive} of {self.directory} did not stop; end it by hand")

    def _all_servers(self) -> list[Server]:
        """Return all that may run here, installed or composed."""
        if self._identity is None:
            return []
        return [kind(self.directory, self._identity) for kind in (*_INSTALLED, ComposedServers)]

    def _known(self) -> Identity:
        if self._identity is None:
            raise NodesUnavailable(f"the nodes of {self.directory} were never started")
        return self._identity


def missing_programs() -> list[str]:
    """Return which of the needed programs are not installed."""
    return [name for name in ("rabbitmq-server", "epmd", "redis-server") if find_program(name) is None]


def _gone(servers: Sequence[Server]) -> bool:
    return all(server.wait_until_gone() for server in servers)


def _startable() -> tuple[type[Server], ...]:
    """Return what can be started on this machine."""
    missing = missing_programs()
    if not missing:
        return _INSTALLED
    if engine_answers():
        return (ComposedServers,)
    raise NodesUnavailable(
        f"{', '.join(missing)}: not found, and no Docker engine answers. Install RabbitMQ 3.10 or later, with"
        " it Erlang and its epmd, and Redis 6.2 or later, by `apt install rabbitmq-server redis-server`, "
        "`dnf install rabbitmq-server redis` or `brew install rabbitmq redis`; or start Docker; or name "
        "servers that run already by TAKETURNS_AMQP_URL, TAKETURNS_MANAGEMENT_URL and TAKETURNS_REDIS_URL."
    )
