"""taketurns, with its settings as they are shipped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from benchmarks import stamps
from benchmarks.apps.common import BROKER, create, given
from taketurns import Settings, TakeTurns, TenantTask

if TYPE_CHECKING:
    from celery import Celery

TASK: Final = "bench.work"


def build(broker_url: str, settings: Settings) -> Celery:
    """Return the app with taketurns installed."""
    app = create(broker_url)
    app.task(stamps.work, name=TASK, base=TenantTask, shared=False)
    TakeTurns(app, settings)
    return app


if BROKER in os.environ:
    app = build(given(BROKER), Settings.load())
