"""RabbitMQ's management API: which tenant queues exist, what waits in them, and their removal.

The one place that speaks HTTP to RabbitMQ. Whatever goes wrong there leaves it as
[ManagementUnavailable][taketurns.errors.ManagementUnavailable], with a message that says what to do.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests
from requests.auth import HTTPBasicAuth

from taketurns import tls
from taketurns.errors import InvalidSettings, ManagementUnavailable
from taketurns.refusals import GRANT
from taketurns.tenants import tenant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.settings import TlsSettings

_T = TypeVar("_T")

Deletion = Literal["deleted", "gone", "refused"]

# The live listing asks every queue when it is requested (answers are about 0.2 s old); the ordinary one is
# made of statistics that are 5 to 10 s old. No pages, since each costs the broker as much as the whole: 3,000
# queues take 0.2 s on 3.10 and on 4.3, in six pages 1 s. And so no queue can slip through between two pages.
_LIVE: Final = {
    "disable_stats": "true",
    "enable_queue_totals": "true",
    "columns": "name,durable,arguments,consumers,messages_ready,messages_unacknowledged",
}

# RabbitMQ closes a connection that was idle for 60 s; a request must not meet that moment.
_KEEP_ALIVE: Final = 20.0

_PAGE: Final = 500
"""Queues of a page, the most that RabbitMQ gives."""

_DELETIONS: Final[Mapping[int, Deletion]] = {
    HTTPStatus.NO_CONTENT: "deleted",
    HTTPStatus.NOT_FOUND: "gone",
    HTTPStatus.BAD_REQUEST: "refused",
}


@dataclass(frozen=True)
class QueueInfo:
    """What the management API says of one queue.

    Attributes:
        name: the queue's name.
        ready: messages that wait in it; None: unknown (it did not answer in time, or its node is down), which
            never means empty.
        unacknowledged: messages that consumers hold; None: unknown.
        consumers: its consumers; None: unknown, and the live listing of RabbitMQ 3.10 and 4.3 never tells.
        durable: whether the queue outlives the broker's restart.
        arguments: the arguments that it was declared with.
    """

    name: str
    ready: int | None
    unacknowledged: int | None
    consumers: int | None
    durable: bool
    arguments: Mapping[str, Any]


class Management:
    """A client of the management API for one vhost. Threads may share it.

    Every request is tried once and answers within about ``timeout`` or raises ``ManagementUnavailable``.
    """

    def __init__(
        self, url: str, *, vhost: str, timeout: float = 10.0, tls_settings: TlsSettings | None = None
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            url: such as ``http://user:password@host:15672``; a path is kept as the API's prefix.
            vhost: the vhost by its plain name, such as ``/``.
            timeout: seconds for connecting, and for each wait for more of an answer.
            tls_settings: the certificates for an ``https://``; by default those of requests.

        Raises:
            InvalidSettings: the URL is none of HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidSettings(
                "TAKETURNS_MANAGEMENT_URL: accepted is http://user:password@host:15672 (or https://...)"
            )
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        """The API's address without credentials, fit for messages and logs."""
        self.vhost = vhost
        self._timeout = timeout
        self._last_used = 0.0
        self._session = requests.Session()
        self._options: Mapping[str, Any] = {}
        if tls_settings is not None and parts.scheme == "https":
            self._session.mount("https://", tls.HttpsAdapter(tls_settings))
            self._options = tls.https_options(tls_settings)
        self._user = unquote(parts.username or "")
        if parts.username is not None:
            # As bytes, since requests would encode text as Latin-1.
            self._session.auth = HTTPBasicAuth(self._user.encode(), unquote(parts.password or "").encode())

    def ping(self) -> None:
        """Check that the API answers, accepts the credentials and knows the vhost.

        Raises:
            ManagementUnavailable: it doesn't.
        """
        self._get(f"exchanges/{self._vhost}/amq.direct", dict, {"disable_stats": "true"})

    def version(self) -> str:
        """Return the broker's version, such as ``3.10.8``.

        Raises:
            ManagementUnavailable: the API can't be used.
        """
        overview = self._get("overview", dict, {"columns": "rabbitmq_version"})
        return self._checked(str, overview.get("rabbitmq_version"))

    def tenant_queues(self) -> dict[str, QueueInfo]:
        """Return all tenant queues of the vhost by name, as they are now; what quorum queues hold is up to 5 s old.

        A queue that did not answer RabbitMQ in time may be absent: absence alone does not prove it gone.

        Raises:
            ManagementUnavailable: the API can't be used.
        """
        return {name: queue for name, queue in self.queues().items() if tenant_of(name) is not None}

    def queues(self) -> dict[str, QueueInfo]:
        """Return all queues of the vhost by name, tenants' and others; see [tenant_queues][] for the rest."""
        listing = self._get(f"queues/{self._vhost}", list, _LIVE)
        return {queue.name: queue for queue in map(_queue_info, listing)}

    def names(self, prefix: str) -> list[str]:
        """Return the names of the queues that begin like this.

        Raises:
            ManagementUnavailable: the API can't be used.
        """
        only = {"use_regex": "true", "name": f"^{re.escape(prefix)}", "page_size": str(_PAGE)}
        brief = {"columns": "name", "disable_stats": "true"}
        names: list[str] = []
        page = pages = 1
        while page <= pages:
            found = self._get(f"queues/{self._vhost}", dict, {**brief, **only, "page": str(page)})
            names += [str(each["name"]) for each in self._checked(list, found.get("items"))]
            pages = _count(found.get("page_count")) or 1
            page += 1
        return names

    def queue(self, name: str, *, timeout: float = math.inf) -> QueueInfo | None:
        """Return one queue as it is now, or None if there is no such queue.

        Costs the broker as much as the whole listing: only that one is live, on 3.10.

        Args:
            name: the queue's name.
            timeout: seconds for which somebody waits for the answer, if that is less than this client's own timeout.

        Raises:
            ManagementUnavailable: the API can't be used.
        """
        only = {"page": "1", "page_size": "1", "use_regex": "true", "name": f"^{re.escape(name)}$"}
        page = self._get(f"queues/{self._vhost}", dict, {**_LIVE, **only}, timeout=timeout)
        found = self._checked(list, page.get("items"))
        return _queue_info(found[0]) if found else None

    def head_timestamps(self) -> dict[str, int]:
        """Return the time stamp of the message at each tenant queue's head, by the queue's name, as Unix time.

        From RabbitMQ's statistics, so up to 6 s old. A held or running message counts as the head until it is
        acknowledged, and of several priorities only the highest with a message is looked at. A queue whose head
        has no time stamp is left out, and so is one without messages.

        Raises:
            ManagementUnavailable: the API can't be used.
        """
        listing = self._get(f"queues/{self._vhost}", list, {"columns": "name,head_message_timestamp"})
        stamps = {str(each["name"]): _count(each.get("head_message_timestamp")) for each in listing}
        return {
            name: stamp for name, stamp in stamps.items() if stamp is not None and tenant_of(name) is not None
        }

    def read(self, path: str, **params: str) -> Any:
        """Return what the API says at a path below ``/api/``; None if there is nothing, or not in this version.

        A health check that failed is an answer too.

        Args:
            path: the path; ``{vhost}`` in it becomes the vhost.
            **params: the query.

        Raises:
            ManagementUnavailable: the API can't be used, or its user may not see this.
        """
        response = self._send("GET", path.format(vhost=self._vhost), params)
        if response.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            return None
        if response.status_code not in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
            self._refused(response)
        return self._decoded(object, response)

    def delete_queue(self, name: str, *, if_empty: bool, if_unused: bool) -> Deletion:
        """Delete a queue, under conditions that the broker checks in the same step.

        Args:
            name: the queue's name.
            if_empty: refuse if messages are ready. Messages that a consumer holds don't count!
            if_unused: refuse if it has a consumer.

        Returns:
            ``deleted``; ``gone``: there was no such queue; ``refused``: a condition did not hold, or the
            queue is of a type that knows no conditions: see ``Witnesses`` for quorum queues.

        Raises:
            ManagementUnavailable: the API can't be used. After a timeout the queue may have been deleted.
        """
        conditions = {"if-empty": if_empty, "if-unused": if_unused}
        path = f"queues/{self._vhost}/{quote(name, safe='')}"
        response = self._send("DELETE", path, {key: "true" for key, wanted in conditions.items() if wanted})
        outcome = _DELETIONS.get(response.status_code)
        if outcome is None:
            self._refused(response)
        return outcome

    def close(self) -> None:
        """Close the idle connections; the next request opens a new one."""
        self._session.close()

    @property
    def _vhost(self) -> str:
        return quote(self.vhost, safe="")

    def _get(self, path: str, kind: type[_T], params: Mapping[str, str], *, timeout: float = math.inf) -> _T:
        response = self._send("GET", path, params, timeout=timeout)
        if response.status_code != HTTPStatus.OK:
            self._refused(response)
        return self._decoded(kind, response)

    def _decoded(self, kind: type[_T], response: requests.Response) -> _T:
        try:
            return self._checked(kind, response.json())
        except requests.JSONDecodeError:
            self._no_answer()

    def _send(
        self, method: str, path: str, params: Mapping[str, str], *, timeout: float = math.inf
    ) -> requests.Response:
        timeout = min(timeout, self._timeout)
        now = time.monotonic()
        if now - self._last_used > _KEEP_ALIVE:
            self._session.close()
        self._last_used = now
        try:
            return self._session.request(
                method,
                f"{self.url}/api/{path}",
                params=params,
                timeout=timeout,
                allow_redirects=False,
                **self._options,
            )
        except requests.Timeout:
            self._fail(f"did not answer within {timeout:g} s")
        except requests.RequestException as error:
            if advice := tls.hint(error):
                self._fail(f"can't be reached ({_reason(error)}): {advice}")
            self._fail(
                f"can't be reached ({_reason(error)}): is RabbitMQ running, is the plugin enabled "
                f"(rabbitmq-plugins enable rabbitmq_management), is TAKETURNS_MANAGEMENT_URL right?"
            )

    def _refused(self, response: requests.Response) -> NoReturn:
        match response.status_code:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                said = _said(response)
                self._fail(f"refused the user {self._user!r} ({said}): {self._lacking(said)}")
            case HTTPStatus.NOT_FOUND:
                self._fail(
                    f"knows no vhost {self.vhost!r}, or the user {self._user!r} has no permissions there, or the "
                    f"path of TAKETURNS_MANAGEMENT_URL is not the API's"
                )
            case status:
                self._fail(f"answered {status} ({_said(response)})")

    def _lacking(self, said: str) -> str:
        """Return what the user needs, by the reason that RabbitMQ gives, in its versions' words."""
        match said:
            case "Login failed" | "Not_Authorized":
                return "see that user and password of TAKETURNS_MANAGEMENT_URL are right"
            case "Not management user":
                return (
                    "it needs the tag 'management' or 'monitoring', which `rabbitmqctl set_user_tags` gives in place "
                    "of all that it has"
                )
            case "Access refused.":
                return f"to remove a queue it needs 'configure' for its name in the vhost {self.vhost!r}; {GRANT}"
            case _:
                return f"it needs permissions in the vhost {self.vhost!r}; {GRANT}"

    def _checked(self, kind: type[_T], value: object) -> _T:
        if not isinstance(value, kind):
            self._no_answer()
        return value

    def _no_answer(self) -> NoReturn:
        self._fail("answers something else than that API does: see TAKETURNS_MANAGEMENT_URL")

    def _fail(self, what: str) -> NoReturn:
        raise ManagementUnavailable(f"RabbitMQ's management API at {self.url} {what}")


def _queue_info(item: Any) -> QueueInfo:
    return QueueInfo(
        name=str(item["name"]),
        ready=_count(item.get("messages_ready")),
        unacknowledged=_count(item.get("messages_unacknowledged")),
        consumers=_count(item.get("consumers")),
        durable=bool(item.get("durable")),
        arguments=dict(item.get("arguments") or {}),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _said(response: requests.Response) -> str:
    """Return the broker's own reason, or the status in words."""
    try:
        return str(response.json()["reason"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        return response.reason


def _reason(error: requests.RequestException) -> str:
    """Return the innermost cause; requests wraps it in several layers that name each other."""
    inner: BaseException = error
    while inner.__context__ is not None:
        inner = inner.__context__
    return str(inner) or type(inner).__name__
