"""The Celery app: the steps of a user's sequence."""

import os

from celery import Celery

from taketurns import TakeTurns, TenantTask

app = Celery("tasks", backend=os.environ.get("CELERY_RESULT_BACKEND"))
turns = TakeTurns(app)


@app.task(base=TenantTask, expose=True)
def step(number: int) -> str:
    return f"step {number} done"
