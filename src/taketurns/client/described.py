"""Functions that are made of other functions, and look like them to whoever asks for help."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


def described_as(other: Callable[P, Any], function: Callable[P, T]) -> Callable[P, T]:
    """Give a function the parameters of another."""
    function.__signature__ = inspect.signature(other)  # type: ignore[attr-defined]
    return function


def method_of(other: Callable[..., Any], method: Callable[P, T]) -> Callable[P, T]:
    """Give a method the name, the parameters and the description of a function."""
    parameters = inspect.signature(other).parameters.values()
    method.__name__ = method.__qualname__ = other.__name__
    method.__doc__ = other.__doc__
    method.__signature__ = inspect.Signature([_SELF, *parameters])  # type: ignore[attr-defined]
    return method
