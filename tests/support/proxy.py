"""A TCP proxy before a real server: its connections can be counted, cut, slowed, and left without an answer."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


class Proxy:
    """Passes bytes on, until told otherwise. Use [running][]."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._from_server: set[socket.socket] = set()
        self._answering = threading.Event()
        self._answering.set()
        self._stalled = False
        self._refusing = False
        self._forsaken: set[socket.socket] = set()
        self._bytes_per_second = math.inf
        self._held: list[tuple[socket.socket, bytes]] = []
        self._lock = threading.Lock()
        self._stopped = False
        self.accepted = 0

    @property
    def url(self) -> str:
        """The server's URL by way of the proxy."""
        user, at, _ = self._url.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        return self._url._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()

    @property
    def held(self) -> int:
        """How many pieces of the server's answers are held back."""
        with self._lock:
            return len(self._held)

    def silence(self) -> None:
        """Hold back from now on what the server answers."""
        self._answering.clear()

    def stall(self) -> None:
        """Hold back from now on whatever either side says."""
        self._stalled = True
        self._answering.clear()

    def slow(self, bytes_per_second: float) -> None:
        """Pass no more than so many bytes a second from now on, all connections and both ways together."""
        self._bytes_per_second = bytes_per_second

    def forsake(self) -> None:
        """Leave all connections half-open: neither side is told, and what it says from now on is lost."""
        with self._lock:
            self._forsaken |= set(self._peers)

    def answer(self) -> None:
        """Deliver what was held back, and what comes from now on."""
        with self._lock:
            self._answering.set()
            self._stalled = False
            for peer, data in self._held:
                with contextlib.suppress(OSError):
                    peer.sendall(data)
            self._held.clear()

    def drop(self) -> None:
        """End all connections, forget what was held back, and pass on what comes by new ones."""
        self.cut()
        with self._lock:
            self._held.clear()
            self._answering.set()

    def refuse(self) -> None:
        """End all connections, and each new one at once."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Pass on what comes by new connections again."""
        self._refusing = False

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            for end in list(self._peers):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Pass bytes on until [stop][] is called."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not self._stopped:
            for key, _ in self._selector.select(timeout=0.02):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is self._listener:
                    self._accept()
                else:
                    self._pass_on(end)
        for end in [*self._peers, self._listener]:
            end.close()
        self._selector.close()

    def stop(self) -> None:
        """Let [serve][] end."""
        self._stopped = True

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._refusing:
            client.close()
            return
        try:
            server = socket.create_connection((self._url.hostname, self._url.port))
        except OSError:  # the server is away, which the client is to notice
            client.close()
            return
        with self._lock:
            self.accepted += 1
            self._from_server.add(server)
            for end, peer in ((client, server), (server, client)):
                self._peers[end] = peer
                self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._peers:
            return
        try:
            data = end.recv(4096 if self._bytes_per_second < math.inf else 65536)
        except OSError:
            data = b""
        time.sleep(len(data) / self._bytes_per_second)
        with self._lock:
            peer = self._peers[end]
            if not data:
                for closed in (end,) if end in self._forsaken else (end, peer):
                    self._selector.unregister(closed)
                    del self._peers[closed]
                    self._forsaken.discard(closed)
                    closed.close()
            elif end in self._forsaken:
                pass
            elif self._stalled or (end in self._from_server and not self._answering.is_set()):
                self._held.append((peer, data))
            else:
                with contextlib.suppress(OSError):
                    peer.sendall(data)


@contextlib.contextmanager
def running(url: str) -> Iterator[Proxy]:
    """Run a proxy before the server of a URL until the block ends."""
    proxy = Proxy(url)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join()
