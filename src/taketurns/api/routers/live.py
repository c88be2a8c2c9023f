"""The events of tasks as they happen: server-sent events and WebSockets."""

from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any, Final

from anyio import CancelScope, create_task_group
from fastapi import Header, Query, Response, WebSocket, WebSocketDisconnect

from taketurns.api.credentials import IN_QUERY
from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.event_stream import EventStream
from taketurns.api.routers.tasks import TaskIdPath
from taketurns.api.websockets import DONE, NOT_AUTHENTICATED, STOPPING, accept, refusal
from taketurns.errors import TaketurnsError
from taketurns.live.event import checked_id
from taketurns.live.stream import End, Stream

endpoints = Endpoints("live", prefix="")

_LAST_EVENT_ID: Final = "Last-Event-ID"

LastEventId = Annotated[
    str | None,
    Header(
        alias=_LAST_EVENT_ID, description="The `id` of the last event that was seen; what came after is sent."
    ),
]
AccessToken = Annotated[
    str | None,
    Query(
        alias=IN_QUERY,
        description="The token or API key, for a browser's EventSource, which can't set a header. URLs are logged by "
        "proxies: prefer the header, and short-lived tokens.",
    ),
]

_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK.value: {"content": {EventStream.media_type: {"schema": {"type": "string"}}}}
}

_CLOSES: Final[dict[End, tuple[int, str]]] = {
    "final": (DONE, "the task has ended"),
    "stopping": (STOPPING, "the server stops; connect again with your last_event_id"),
    "unauthorised": (NOT_AUTHENTICATED, "the token or API key has expired"),
}


@endpoints.get(
    "/tasks/{task_id}/events",
    summary="Follow a task",
    status_code=HTTPStatus.OK,
    response_class=Response,  # errors are JSON
    response_description="The events, each with `event`, `id` and JSON as `data`, until the task has ended.",
    responses={
        **_STREAM,
        HTTPStatus.NO_CONTENT.value: {
            "description": "The task has ended, and nothing came after that event: don't connect again."
        },
        **describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def follow(
    task_id: TaskIdPath,
    caller: CurrentCaller,
    turns: Turns,
    last_event_id: LastEventId = None,
    access_token: AccessToken = None,  # noqa: ARG001  # the authentication reads it
) -> Response:
    """Send the events of a task of the caller's tenant: its history first, then what happens, until it has ended.

    The first event is `connected`. The others are `queued`, `delayed`, `started`, `progress`, `retrying`, and the
    ends: `completed`, `failed`, `cancelled`, `expired`, `dead`, `ignored`. Of what was progress before, the last one
    is sent. After an end without the task's, connect again with `Last-Event-ID`.
    """
    after = checked_id(last_event_id, of=_LAST_EVENT_ID)
    stream = turns.live.task(caller.tenant, task_id, after=after, until=caller.expires_at)
    await stream.__aenter__()
    if after is not None and not stream.has_more:
        await stream.__aexit__()
        return Response(status_code=HTTPStatus.NO_CONTENT)  # EventSource would otherwise connect for ever
    return EventStream(stream)


@endpoints.get(
    "/events",
    summary="Follow all tasks",
    status_code=HTTPStatus.OK,
    response_class=Response,  # errors are JSON
    response_description="The events, each with `event`, `id` and JSON as `data`, without an end.",
    responses={**_STREAM, **describe(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)},
)
async def follow_all(
    caller: CurrentCaller,
    turns: Turns,
    last_event_id: LastEventId = None,
    access_token: AccessToken = None,  # noqa: ARG001  # the authentication reads it
) -> Response:
    """Send the events of all tasks of the caller's tenant from now on, or after `Last-Event-ID`.

    The latest 10,000 or so are remembered (`TAKETURNS_RECORDS_MAX_EVENTS`); the event `gap` says that some may be
    missing before what follows.
    """
    after = checked_id(last_event_id, of=_LAST_EVENT_ID)
    stream = turns.live.tenant(caller.tenant, after=after, until=caller.expires_at)
    await stream.__aenter__()
    return EventStream(stream)


@endpoints.websocket("/ws/tasks/{task_id}")
async def follow_by_websocket(
    websocket: WebSocket,
    task_id: str,
    caller: CurrentCaller,
    turns: Turns,
    last_event_id: str | None = None,
    access_token: AccessToken = None,  # noqa: ARG001  # the authentication reads it
) -> None:
    """Send what ``GET /tasks/{task_id}/events`` does, each as a JSON object, and close with 1000 after the end."""
    async with AsyncExitStack() as stack:
        try:
            after = checked_id(last_event_id, of="last_event_id")
            stream = turns.live.task(caller.tenant, task_id, after=after, until=caller.expires_at)
            await stack.enter_async_context(stream)
        except TaketurnsError as error:
            raise await refusal(websocket, error) from error
        await accept(websocket)
        async with create_task_group() as group:
            group.start_soon(_until_gone, websocket, group.cancel_scope)
            await _send(stream, websocket)
            group.cancel_scope.cancel()


async def _send(stream: Stream, websocket: WebSocket) -> None:
    try:
        async for event in stream:
            if event is not None:  # the server's pings are the sign of life
                await websocket.send_text(event.json)
        await websocket.close(*_CLOSES[stream.ended or "stopping"])
    except WebSocketDisconnect:
        pass


async def _until_gone(websocket: WebSocket, sending: CancelScope) -> None:
    """Take no heed of what the client says, but that it leaves."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    sending.cancel()
