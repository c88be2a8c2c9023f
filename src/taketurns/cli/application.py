"""Finding the user's Celery app, and saying clearly why it can't be found."""

import logging
import sys
import traceback
from pathlib import Path

import celery
import kombu
from celery import Celery
from celery.app.utils import find_app

from taketurns import store
from taketurns.errors import TaketurnsError
from taketurns.extension import TakeTurns


class AppNotFound(TaketurnsError):
    """The Celery app that ``-A`` names can't be used."""


def load_turns(name: str | None) -> TakeTurns:
    """Import the Celery app as ``celery -A`` does, and return the TakeTurns that is installed in it.

    Args:
        name: ``module``, ``module:attribute`` or ``module.attribute``; the current directory is searched first.

    Raises:
        AppNotFound: no name was given, its module can't be imported, or there is no Celery app in it.
        TaketurnsError: no TakeTurns is installed in the app, or its settings are not valid.
    """
    if not name:
        raise AppNotFound("this needs your Celery app; name it before the command: taketurns -A shop ...")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    app = _find(name)
    if not isinstance(app, Celery):
        raise AppNotFound(f"-A {name}: that is no Celery app but of type {type(app).__name__}")
    return TakeTurns.of(app)


def load_turns_once(name: str | None) -> TakeTurns:
    """Do the same for a command that does one thing and ends: that Redis is away is its failure, told once.

    Raises:
        AppNotFound: no name was given, its module can't be imported, or there is no Celery app in it.
        TaketurnsError: no TakeTurns is installed in the app, or its settings are not valid.
    """
    turns = load_turns(name)
    # It logs when an outage begins and ends, which is for processes that outlive one.
    logging.getLogger(store.__name__).setLevel(logging.ERROR)
    return turns


def _find(name: str) -> object:
    module = name.partition(":")[0]
    nothing = AppNotFound(f"-A {name}: no Celery app found there; name it: -A {module}:ATTRIBUTE")
    try:
        return find_app(name)
    except TaketurnsError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if ":" in missing:  # the module is there, but not the attribute, which Celery then took for a module
            raise nothing from None
        if module == missing or module.startswith(f"{missing}."):
            raise AppNotFound(f"-A {name}: there is no module {missing!r} here or on sys.path") from None
        raise _failed(name, error) from error
    except Exception as error:  # whatever the user's own module raises
        if isinstance(error, AttributeError) and _is_the_search(error):
            raise nothing from None
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> AppNotFound:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename}, line {frame.lineno}"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return AppNotFound(f"-A {name}: importing it failed: {type(error).__name__}: {reason} ({place})")


def _is_the_search(error: AttributeError) -> bool:
    """Tell whether the search for the app raised this, and not something in the user's module."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return any(raised_in.is_relative_to(Path(str(each.__file__)).parent) for each in (celery, kombu))
