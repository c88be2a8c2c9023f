"""What both clients are made of: where the API is, who asks, and how patiently."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import httpx

from taketurns.client.errors import error_of
from taketurns.client.events import SILENCE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Mapping

    from taketurns.client.call import Call

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

_CONNECTIONS: Final = httpx.Limits(
    max_connections=None,  # each stream that is open has one; httpx would let the 101st wait
    max_keepalive_connections=20,
    keepalive_expiry=2.0,  # seconds; uvicorn closes after five by default, and would do so as a request comes
)


class Base(ABC, Generic[H]):
    """A client of the API of one address, which speaks for one tenant."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | Callable[[], str] | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        verify: bool | ssl.SSLContext = True,
        retries: int = 3,
        reconnects: int = 10,
    ) -> None:
        """Connect to nothing yet.

        Args:
            base_url: the API's address, with the prefix under which it is mounted, such as ``https://jobs.acme.example``.
            token: a JSON Web Token, or a function that returns one, which is called for each request.
            api_key: an API key instead.
            headers: more headers for each request, for an application that knows its users by other means.
            timeout: seconds that a connection, and each silence of the API, may take. What takes it long (batches,
                many dead letters) may take longer.
            verify: how the API's certificate is checked; a context that ``ssl.create_default_context`` has made knows
                other authorities, and may have a certificate of the client's own.
            retries: how often at most a request is sent again that does no harm then, if the connection fails or the
                API says that it is worth it. 0: never. The pauses double, from a quarter of a second to ten, or are
                as long as the API asks for, if that is a minute at most.
            reconnects: how often in a row at most a stream of events is opened again, with the same pauses, which is
                half a minute at least by default; each event that comes begins that anew.

        Raises:
            ValueError: the address is none of HTTP, or both a token and an API key are given.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(
                f"base_url: {base_url!r} is not valid; accepted is an address with http:// or https://"
            )
        if token is not None and api_key is not None:
            raise ValueError("api_key: accepted is either token or api_key, not both")
        self._timeout = timeout
        self._retries = retries
        self._reconnects = reconnects
        credential = token if api_key is None else api_key
        self._http: H = self._connect(
            base_url=base_url,
            auth=None if credential is None else _Bearer(credential),
            headers=headers,
            timeout=timeout,
            verify=verify,
            limits=_CONNECTIONS,
        )

    @abstractmethod
    def _connect(self, **options: Any) -> H:
        """Make what sends the requests."""

    def _request(self, call: Call[Any]) -> httpx.Request:
        return self._http.build_request(
            call.method,
            call.path,
            params=call.query,
            content=call.body,
            headers=None if call.body is None else {"Content-Type": call.content_type},
            timeout=httpx.Timeout(self._timeout, read=max(self._timeout, call.patience)),
        )

    def _stream_request(
        self, call: Call[Any], headers: Mapping[str, str], within: float | None
    ) -> httpx.Request:
        most = self._timeout if within is None else min(self._timeout, within)
        silence = SILENCE if within is None else min(SILENCE, within)
        timeout = httpx.Timeout(most, read=silence)
        return self._http.build_request(call.method, call.path, headers=headers, timeout=timeout)


class _Bearer(httpx.Auth):
    def __init__(self, credential: str | Callable[[], str]) -> None:
        self._credential = credential

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        credential = self._credential if isinstance(self._credential, str) else self._credential()
        request.headers["Authorization"] = f"Bearer {credential}"
        yield request


def check(response: httpx.Response) -> None:
    """Pass if a response, which has been read unless it is a success, is one.

    Raises:
        ApiError: it is none.
    """
    if not response.is_success:
        raise error_of(response.status_code, response.headers, response.content, now=time.time())


def not_ended(task_id: str, timeout: float | None) -> TimeoutError:
    """Return the error for a task that did not end in time."""
    return TimeoutError(f"task {task_id} has not ended within {timeout:g} s")
