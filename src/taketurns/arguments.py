"""Whether arguments from outside fit a task, before anything of them is queued. Pure: no I/O."""

from __future__ import annotations

import inspect
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from taketurns.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DEEPEST: Final = 64
"""Lists and objects within each other, at most; the depth at which Python's JSON gives up is no fixed one."""


def check_arguments(run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check that ``run(*args, **kwargs)`` could be called, and that JSON can carry the arguments.

    Args:
        run: a task's ``run``; the ``self`` of a bound task is none of its parameters.
        args: the positional arguments.
        kwargs: the keyword arguments.

    Raises:
        InvalidInput: they don't fit; its field is ``args`` or ``kwargs``.
    """
    _check_values(list(args), field="args")
    _check_values(dict(kwargs), field="kwargs")
    signature = _signature(run)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("args", lambda: signature.bind_partial(*args)),
        ("kwargs", lambda: signature.bind_partial(*args, **kwargs)),
        # What is still missing now could come either way; most calls pass it by position.
        ("args", lambda: signature.bind(*args, **kwargs)),
    )
    for field, bind in steps:
        try:
            bind()
        except TypeError as error:
            accepted = f"what the task takes, {describe(signature)} ({error})"
            raise InvalidInput(args if field == "args" else kwargs, accepted, field=field) from None


def misfit(task: Any, args: Any, kwargs: Any) -> str | None:
    """Say why a call does not fit a task, by what Celery checks when it is submitted; None: it does.

    A task that is declared with ``typing=False`` is not checked.
    """
    header = getattr(task, "__header__", None) if task.typing else None
    if header is not None:
        try:
            header(*args, **kwargs)
        except TypeError as error:
            return str(error)
    return None


@lru_cache(maxsize=1000)
def _signature(run: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(run)


def describe(signature: inspect.Signature) -> str:
    """Return the parameters as Python writes them, without their annotations: ``(image_id, size=128)``."""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def is_too_deep(value: Any) -> bool:
    """Tell whether lists and objects are nested more than ``DEEPEST`` deep."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        level = [below for each in level for below in _within(each)]
        depth += 1
    return depth > DEEPEST


def _check_values(value: Any, *, field: str) -> None:
    """Refuse what would not arrive as it was sent.

    Python's JSON reads what JSON doesn't know: NaN, the infinities, and a depth without end. And kombu's JSON takes
    an object with ``__type__`` and ``__value__`` for a Python object: a date, bytes, or nothing that it can decode.
    """
    if is_too_deep(value):
        raise InvalidInput("...", f"lists and objects nested at most {DEEPEST} deep", field=field)
    level = [value]
    while level:
        for each in level:
            if isinstance(each, float) and not math.isfinite(each):
                raise InvalidInput(each, "JSON, which knows no NaN and no Infinity", field=field)
            if isinstance(each, dict) and each.keys() >= {"__type__", "__value__"}:
                raise InvalidInput(each, "objects without the keys __type__ and __value__", field=field)
        level = [below for each in level for below in _within(each)]


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
