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
    "ignored_auth",
)
_SHORT = ("--seed=1", "--generation-deterministic", "--max-examples=5")
_ANSWER_WITHIN = 120
"""Seconds; a batch may have 10,000 tasks."""


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
        "--continue-on-failure",
        "--no-color",
        *how,
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.fspath(_HERE.parent),
        "SCHEMATHESIS_HOOKS": "support.fuzzing_hooks",
    }
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
