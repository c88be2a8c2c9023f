"""Schemathesis against a running API: requests by its OpenAPI document, valid and not, and checks of the answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.api_server import Client

_HERE = Path(__file__).parent
_CONFIG = _HERE / "schemathesis.toml"
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "missing_required_header",
    "ignored_auth",
)
STREAMS = ("/events", "/tasks/{task_id}/events")
"""Paths whose answers don't end, which schemathesis would wait for."""

_SHORT = ("--generation-deterministic", "--max-examples=5")
_ANSWER_WITHIN = 120
"""Seconds."""


def fuzz(client: Client, folder: Path, *, examples: int | None = None) -> str:
    """Send requests as a client's tenant, and return what was found; empty: nothing.

    Args:
        client: the client, whose token is sent.
        folder: where to write the report.
        examples: how many random requests each operation gets, at most; with other ones each time. None: a few, and
            always the same ones as far as ids don't differ.
    """
    how = _SHORT if examples is None else [f"--max-examples={examples}"]
    arguments = [
        f"--config-file={_CONFIG}",
        "run",
        f"{client.base_url}/openapi.json",
        f"--header=Authorization:{client.headers['Authorization']}",
        f"--checks={','.join(_CHECKS)}",
        f"--request-timeout={_ANSWER_WITHIN}",
        "--suppress-health-check=all",  # of what is generated, and how quickly
        "--continue-on-failure",
        "--no-color",
        *(f"--exclude-path={path}" for path in STREAMS),
        *how,
    ]
    hooks = {"PYTHONPATH": os.fspath(_HERE.parent), "SCHEMATHESIS_HOOKS": "support.fuzzing_hooks"}
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *arguments],
        cwd=folder,
        env={**os.environ, **hooks},
        capture_output=True,
        text=True,
        check=False,
    )
    is_well = done.returncode == 0 and f"Tested: {_operations(client)}\n" in done.stdout
    return "" if is_well else done.stdout + done.stderr


def _operations(client: Client) -> int:
    """Return how many operations are to be tested."""
    paths = client.get("/openapi.json").json()["paths"]
    return sum(len(methods) for path, methods in paths.items() if path not in STREAMS)
