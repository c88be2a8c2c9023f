"""taketurns, with its settings as they are shipped."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery.signals import worker_ready

from benchmarks import stamps
from benchmarks.apps.common import BROKER, create, given
from taketurns import Settings, TakeTurns, TenantTask

if TYPE_CHECKING:
    from celery import Celery

TASK: Final = "bench.work"
UNRECORDED: Final = "bench.unrecorded"
"""The same, without a task record."""


def build(broker_url: str, settings: Settings) -> Celery:
    """Return the app with taketurns installed."""
    app = create(broker_url)
    app.task(stamps.work, name=TASK, base=TenantTask, shared=False)
    app.task(stamps.work, name=UNRECORDED, base=TenantTask, recorded=False, shared=False)
    TakeTurns(app, settings)
    return app


def _stamp_ready(sender: Any, **_: object) -> None:
    """Leave the moment when Celery calls the worker ready."""
    (Path(given(stamps.DIRECTORY)) / f"ready.{sender.hostname}").write_text(repr(time.time()))


if BROKER in os.environ:
    app = build(given(BROKER), Settings.load())
    worker_ready.connect(_stamp_ready)
