"""An identity provider: it signs tokens, and publishes its public keys over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAKERS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class Issuer:
    """Keys by their ids, and how it answers who asks for them.

    Attributes:
        url: where the public keys are.
        asked: how often they were asked for.
        away: whether it answers 503 instead.
        hang: seconds that each answer takes.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.away = False
        self.hang = 0.0
        self._keys: dict[str, tuple[str, Any]] = {}

    def rotate(self, key_id: str, algorithm: str = "ES256") -> None:
        """Publish a new key, and none of the old ones."""
        self._keys = {key_id: (algorithm, MAKERS[algorithm]())}

    def token(self, key_id: str, **claims: Any) -> str:
        """Return a token, signed with one of the keys that are published."""
        algorithm, key = self._keys[key_id]
        claims = {"exp": time.time() + 600, "sub": "acme", **claims}
        return jwt.encode(claims, key, algorithm, headers={"kid": key_id})

    def public_key(self, key_id: str) -> Any:
        return self._keys[key_id][1].public_key()

    def published(self) -> bytes:
        return json.dumps({"keys": [self._published(key_id) for key_id in self._keys]}).encode()

    def _published(self, key_id: str) -> dict[str, Any]:
        algorithm, _ = self._keys[key_id]
        key: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(
            self.public_key(key_id), as_dict=True
        )
        return {**key, "kid": key_id, "use": "sig", "alg": algorithm}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Run an issuer until the block ends."""
    issuer = Issuer()
    issuer.rotate("first")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            issuer.asked += 1
            time.sleep(issuer.hang)
            body = b"" if issuer.away else issuer.published()
            self.send_response(503 if issuer.away else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}/keys"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
