"""Which methods a path takes, for the header Allow."""

from typing import Final

from fastapi import Request
from fastapi.routing import iter_route_contexts
from starlette.routing import Match

_PARAMETER: Final = "{"


def allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes of the path that a request asked for.

    A path that is also the value of another one's parameter, as ``/tasks/batch`` of ``/tasks/{task_id}``, is itself.
    """
    paths: dict[str, set[str]] = {}
    for route in iter_route_contexts(request.app.routes):
        if route.path is not None and route.methods and route.matches(request.scope)[0] is not Match.NONE:
            paths.setdefault(route.path, set()).update(route.methods)
    return sorted(paths[min(paths, key=lambda path: (path.count(_PARAMETER), -len(path)))]) if paths else []
