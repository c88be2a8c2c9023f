"""The optional packages that commands need."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODULES: Final[Mapping[str, frozenset[str]]] = {
    "api": frozenset({"anyio", "fastapi", "jwt", "starlette", "uvicorn"}),
    "cli": frozenset({"rich", "typer"}),
}


class MissingExtra(TaketurnsError):
    """Packages of one of taketurns' extras are not installed."""


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed import of one of the extra's packages into advice.

    Raises:
        MissingExtra: the block imports a package of the extra that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _MODULES[extra]:
            raise
        raise MissingExtra(
            f'the package {package!r} is not installed: pip install "taketurns[{extra}]"'
        ) from None
