"""A client of the HTTP API, as a tenant's own program would be one."""

from __future__ import annotations

from typing import Any

import requests

from taketurns.demo.errors import DemoFailed

_TIMEOUT = 30.0


class Client:
    """One keep-alive connection that speaks for the token's tenant; for one thread."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies and no .netrc between the demo and its API
        self._session.headers["Authorization"] = f"Bearer {token}"

    def submit(self, name: str, *args: Any) -> str:
        """Submit a task and return its id, once the broker has confirmed it."""
        return str(self._ask("POST", "/tasks", {"name": name, "args": list(args)})["task_id"])

    def me(self) -> dict[str, Any]:
        """Return what the API tells the tenant of itself: settings, backlog, limits."""
        return self._ask("GET", "/me")

    def change(self, tenant: str, **settings: Any) -> None:
        """Change a tenant's settings; needs an operator's token."""
        self._ask("PATCH", f"/tenants/{tenant}", settings)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = self._session.request(method, self._url + path, json=body, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise DemoFailed(f"the demo's API did not answer to {method} {path}: {error}") from error
        if not answer.ok:
            raise DemoFailed(
                f"the demo's API answered {answer.status_code} to {method} {path}: {answer.text[:500]}"
            )
        return dict(answer.json())


def answers(url: str) -> bool:
    """Return whether a GET of the address succeeds now."""
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
