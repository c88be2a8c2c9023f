"""Where a request carries its token or API key."""

from typing import Final

from fastapi import WebSocket
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param

SUBPROTOCOL: Final = "bearer"
"""What a WebSocket's client offers before its token, and what is chosen of the two."""

IN_QUERY: Final = "access_token"
"""The query parameter of those endpoints that browsers can give no headers to."""


class Bearer(SecurityBase):
    """The dependency that finds the credential; None: there is none.

    It is in the header ``Authorization``. A browser's WebSocket may offer it as a subprotocol, ``bearer, <token>``.
    It may also be in the query of a WebSocket, and of the endpoints that say so.
    """

    def __init__(self) -> None:
        self.scheme_name = "HTTPBearer"
        self.model = HTTPBearerModel(
            bearerFormat="JWT or API key",
            description="A JSON Web Token that names the tenant, or an API key. `taketurns token TENANT` makes a "
            "token for development, `taketurns keys create TENANT` a key.",
        )

    async def __call__(self, request: HTTPConnection) -> str | None:
        """Return the credential of a request."""
        scheme, credential = get_authorization_scheme_param(request.headers.get("Authorization"))
        if credential:
            return credential if scheme.lower() == "bearer" else None
        if isinstance(request, WebSocket):
            return _offered(request) or request.query_params.get(IN_QUERY)
        # Anywhere else a URL, which is logged and remembered, is no place for it.
        is_taken = IN_QUERY in request.scope["route"].query_parameters
        return request.query_params.get(IN_QUERY) if is_taken else None


def _offered(websocket: WebSocket) -> str | None:
    match websocket.scope.get("subprotocols"):
        case [scheme, credential] if scheme.lower() == SUBPROTOCOL:
            return str(credential)
    return None
