"""What is wrong with what was asked for: codes and words. Without FastAPI: the command line says the same."""

import sys
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any, Final

from pydantic import ValidationError

from taketurns.api.results import ResultsUnavailable
from taketurns.arguments import DEEPEST
from taketurns.errors import (
    BacklogFull,
    BrokerRefused,
    BrokerUnavailable,
    InvalidInput,
    KeyConflict,
    ManagementUnavailable,
    PublishNotConfirmed,
    RegistryUnavailable,
    TaketurnsError,
    UnknownTask,
)
from taketurns.texts import escaped

# Their own messages name hosts and ports, which are for the operator's log and not for every client.
AWAY: Final[Mapping[type[TaketurnsError], tuple[str, str]]] = {
    PublishNotConfirmed: (
        "not_confirmed",
        "RabbitMQ did not confirm the task in time, so it is not accepted; it may run all the same",
    ),
    BrokerRefused: (
        "broker_refused",
        "RabbitMQ does not allow that to this service, whose log says what is missing; nothing was accepted",
    ),
    BrokerUnavailable: ("broker_unavailable", "RabbitMQ can't be reached at present; nothing was accepted"),
    ManagementUnavailable: (
        "management_unavailable",
        "RabbitMQ's management API can't be reached at present",
    ),
    RegistryUnavailable: ("redis_unavailable", "Redis can't be reached at present"),
    ResultsUnavailable: ("results_unavailable", "the app's result backend can't be reached at present"),
}
"""What clients are told of an error that a server is away: a code, and a text."""

_WHOLE, _NUMBER, _CHOICE = "a whole number", "a number", "true or false"
_ACCEPTED: Final[Mapping[str, str]] = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _CHOICE,
    "bool_parsing": _CHOICE,
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
"""What is accepted where pydantic found another type, by its names of such errors."""


class Malformed(TaketurnsError, ValueError):
    """A submission, or a batch of them, can't be read.

    Attributes:
        reason: what is wrong, without the field's name.
        field: where it is wrong.
        code: a short code that programs may compare.
    """

    def __init__(self, reason: str, *, field: str = "body", code: str = "invalid_input") -> None:
        self.reason = reason
        self.field = field
        self.code = code
        super().__init__(reason)

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def invalid_fields(error: ValidationError) -> Malformed:
    """Return the error for what pydantic has found wrong with one submission; the first of it counts."""
    detail = error.errors(include_url=False)[0]
    field = ".".join(map(str, detail["loc"])) or "body"
    return Malformed(said(detail), field=field)


def told(error: Exception) -> dict[str, Any]:
    """Return an error of a submission in the shape of all: its code, what is wrong, and the field."""
    field = field_of(error)
    return {
        "error": code_of(error),
        "message": escaped(str(error)),
        "field": None if field is None else escaped(field),
    }


def code_of(error: Exception) -> str:
    """Return the code of an error of a submission."""
    match error:
        case Malformed():
            return error.code
        case UnknownTask():
            return "unknown_task"
        case KeyConflict():
            return "key_conflict"
        case BacklogFull():
            return "backlog_full"
        case _:
            away = (AWAY[kind][0] for kind in type(error).__mro__ if kind in AWAY)
            return next(away, "invalid_input")


def field_of(error: Exception) -> str | None:
    """Return the name of the field that an error of a submission is about; None: it is about none."""
    return "name" if isinstance(error, UnknownTask) else getattr(error, "field", None)


def said(detail: Mapping[str, Any]) -> str:
    """Tell in our words what pydantic has found wrong with a field."""
    match detail["type"]:
        case "extra_forbidden":
            return "there is no such field here"
        case "json_invalid":
            return f"it is no JSON ({detail['ctx']['error']})"
        case "missing" | "model_attributes_type" if detail["loc"] == ("body",):
            return "a JSON object is needed, with Content-Type: application/json"
        case kind if kind in _ACCEPTED:
            return InvalidInput(detail["input"], _ACCEPTED[kind]).reason
        case "literal_error":
            return InvalidInput(detail["input"], detail["ctx"]["expected"]).reason
        case _:
            return str(detail["msg"])


def unreadable(cause: BaseException) -> str:
    """Tell why a text is no JSON that can be read."""
    return f"it is no JSON ({cause})" if isinstance(cause, JSONDecodeError) else not_parsed(cause)


def not_parsed(cause: BaseException | None) -> str:
    """Tell why a body could not be read for another reason than that it is no JSON."""
    match cause:
        case RecursionError():
            return f"lists and objects may be nested at most {DEEPEST} deep"
        case UnicodeDecodeError():
            return "it is no JSON (it is not UTF-8)"
        case ValueError():  # Python's limit is the only reason that is left
            return f"a whole number may have at most {sys.get_int_max_str_digits()} digits"
    return "it can't be read"
