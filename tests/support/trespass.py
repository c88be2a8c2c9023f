"""Attempts to get at what is another's, each beside one to get at what is nobody's, and how both are answered."""

from __future__ import annotations

import json
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.belongings import nobodys
from support.operations import WEBSOCKET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import httpx

    from support.api_server import Client
    from support.belongings import Belongings
    from support.operations import Operation, Parameter

    Given = dict[tuple[str, str], Any]
    """What a request tells, by places and names."""

WITHIN: Final = 30.0
TASK: Final = "shop.anything"

BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "POST /tasks": {"name": TASK},
    "POST /tasks/batch": {"name": TASK},
    "POST /schedules": {"task": TASK, "every": "1h"},
    "PATCH /schedules/{name}": {"paused": False},
    "POST /me/dead-letters/replay": {"cause": "failed"},
}
"""What each operation with a body is content with; a schedule gets a name besides."""

EVERYBODYS: Final[Mapping[str, Any]] = {
    "state": "QUEUED",
    "name": "shop.thumbnail",
    "task": "shop.thumbnail",
    "cause": "failed",
    "since": "1h",
    "until": "2999-01-01",
    "all": True,
}
"""What fits things of everybody's; a request without it, and with nobody's name, is nothing to compare with."""

NAMES_NOTHING: Final = {
    *(
        "args",
        "kwargs",
        "priority",
        "countdown",
        "eta",
        "expires",
        "max_retries",
        "time_limit",
        "soft_time_limit",
    ),
    *("cron", "every", "timezone", "missed", "paused", "limit", "terminate", "access_token"),
}
"""What can't name anything that is somebody's."""

UNDECLARED: Final = (("query", "tenant"), ("query", "owner"), ("header", "X-Tenant"), ("body", "tenant"))
"""Where somebody may try to say whose things are meant."""

_OF_EACH_ANSWER: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b\d{13}-\d+\b|\b\d+\.\d+(?:e[+-]?\d+)?\b"
)
"""New ids, and times."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: the status code; of a WebSocket the code with which it was closed.
        text: the body or the events, and why a WebSocket was closed.
        kind: the content type.
    """

    status: int
    text: str
    kind: str = ""

    def but_for(self, names: Iterable[str]) -> Answer:
        """Return it without these names, and without what is another in each answer, and each line once.

        A stream tells the same of each task, and there are more of the asker's each time.
        """
        text = self.text
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, "…")
        lines = dict.fromkeys(_OF_EACH_ANSWER.sub("…", text).splitlines())
        return Answer(self.status, "\n".join(lines), self.kind)


@dataclass(frozen=True)
class Attempt:
    """A request for what is somebody's.

    Attributes:
        given: what it tells.
        nobodys: the same for what is nobody's; None: there is no such thing.
    """

    given: Given
    nobodys: Given | None


def check_that_it_is_known(operation: Operation, someone: Belongings) -> None:
    """Check that attempts can try all that an operation takes, as one may that is new."""
    if operation.body is not None:
        assert str(operation) in BODIES, f"say in BODIES what {operation} is content with"
    known = {*someone.named(), *EVERYBODYS, *NAMES_NOTHING}
    unknown = {each.name for each in operation.parameters} - known
    assert not unknown, f"say in Belongings.named what of somebody's is named by {unknown} of {operation}"


def attempts(
    operation: Operation, victim: Belongings, own: Belongings | None = None, *, most: int | None = None
) -> Iterator[Attempt]:
    """Return requests that would get at what is a victim's by each parameter and field.

    Args:
        operation: what to ask for.
        victim: whose things they are.
        own: what the asker has. What is only looked at is asked for together with these; what is changed with the
            victim's.
        most: how many names of a kind, at most; None: all.
    """
    looks = operation.method in {"GET", WEBSOCKET}
    path = _path(operation, own if looks and own else victim)
    nowhere = path if looks and own else {place: nobodys(name) for place, name in path.items()}
    yield Attempt(path, None)
    names = victim.named()
    for each in operation.parameters:
        place = (each.place, each.name)
        for name in names.get(each.name, [])[:most]:
            yield Attempt(
                {**path, place: _fitting(each, name)}, {**nowhere, place: _fitting(each, nobodys(name))}
            )
        if each.place != "path" and each.name in EVERYBODYS:
            yield Attempt({**path, place: EVERYBODYS[each.name]}, None)
    for place in UNDECLARED:
        if place[0] != "body" or operation.body is not None:
            yield Attempt({**path, place: victim.tenant}, {**nowhere, place: nobodys(victim.tenant)})


def ask(client: Client, operation: Operation, given: Given) -> Answer:
    """Send a request as the client, and return how it is answered."""
    path = operation.path
    for name, value in _at("path", given):
        path = path.replace("{" + name + "}", quote(str(value), safe=""))
    query = {name: json.dumps(it) if isinstance(it, bool) else it for name, it in _at("query", given)}
    headers = {name: str(value) for name, value in _at("header", given)}
    if operation.method == WEBSOCKET:
        return _by_websocket(client, f"{path}?{urlencode(query)}", headers)
    options: dict[str, Any] = {"params": query, "headers": headers}
    if operation.body is not None:
        body = {**BODIES.get(str(operation), {}), **dict(_at("body", given))}
        if str(operation) == "POST /schedules":
            body.setdefault("name", f"schedule-{uuid.uuid4()}")
        options["json"] = [body] if operation.body == "array" else body
    with client.stream(operation.method, path, **options) as response:
        has_no_end = operation.is_stream and response.status_code == 200 and path == "/events"
        text = _until_own(client, response) if has_no_end else response.read().decode()
        return Answer(response.status_code, text, response.headers.get("Content-Type", ""))


def _path(operation: Operation, someone: Belongings) -> Given:
    names = someone.named()
    return {
        (each.place, each.name): names[each.name][0] for each in operation.parameters if each.place == "path"
    }


def _fitting(parameter: Parameter, name: str) -> str | list[str]:
    kinds = [parameter.schema, *parameter.schema.get("anyOf", ())]
    is_list = parameter.place == "body" and any(each.get("type") == "array" for each in kinds)
    return [name] if is_list else name


def _at(place: str, given: Given) -> Iterator[tuple[str, Any]]:
    return ((name, value) for (where, name), value in given.items() if where == place)


def _until_own(client: Client, response: httpx.Response) -> str:
    """Return what a stream without an end tells, until it tells of a task that the client submits now."""
    own = ""
    lines = []
    for line in response.iter_lines():
        lines.append(line)
        own = own or str(client.post("/tasks", json={"name": TASK}).json()["task_id"])
        if own in line:
            return "\n".join(lines)
    raise AssertionError(f"the stream has ended: {lines}")


def _by_websocket(client: Client, path: str, headers: dict[str, str]) -> Answer:
    url = f"ws://{client.base_url.host}:{client.base_url.port}{path}"
    if "Authorization" in client.headers:
        headers = {**headers, "Authorization": client.headers["Authorization"]}
    told = []
    with connect(url, additional_headers=headers, proxy=None, open_timeout=WITHIN) as socket:
        with suppress(ConnectionClosed):
            while True:
                told.append(str(socket.recv(WITHIN)))
        return Answer(socket.close_code or 0, "\n".join([*told, socket.close_reason or ""]))
