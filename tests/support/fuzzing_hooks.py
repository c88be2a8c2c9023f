"""What schemathesis can't read in the OpenAPI document: names that mean something here, and NDJSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import schemathesis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TASK = "shop.anything"
_LARGEST = 50
"""Tasks of a batch; to go through those of some full ones would take seconds for each request after them."""

_KNOWN: Mapping[str, Callable[[str], Any]] = {
    "task": lambda _: TASK,
    "every": lambda _: "30s",
    "rate_limit": lambda _: "100/1s:50",
    "tenant": lambda given: f"t{len(given)}",
    "eta": lambda _: "2026-01-31T12:00:00Z",
    "expires": lambda _: 3600.0,
}
"""What takes the place of a text of which hardly any is accepted, by the field's name."""


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Have most of the requests that fit the document be accepted too, so that something comes of them."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, list):
        case.body = case.body[:_LARGEST]
    for each in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(each, dict) and len(each) % 5:
            _make_known(each, of_task=case.path.startswith("/tasks"))


def _make_known(body: dict[str, Any], *, of_task: bool) -> None:
    for name, known in _KNOWN.items():
        if isinstance(body.get(name), str):
            body[name] = known(body[name])
    if of_task and "name" in body:
        body["name"] = TASK
        if body.get("eta") is not None:
            body.pop("countdown", None)
    if "every" in body and body["every"] is not None:
        body |= {"cron": None, "timezone": None}


@schemathesis.serializer("application/x-ndjson")
def lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send what is given: texts as they are, half of the lists and objects as lines, and the rest in one."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode("utf-8", "replace")
        case list() if len(value) % 2:
            return b"\n".join(json.dumps(each).encode() for each in value)
    return json.dumps(value).encode()
