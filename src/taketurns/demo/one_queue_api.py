"""The HTTP API of the comparison: the same request, and the task goes into the one queue of an ordinary app."""

from http import HTTPStatus

from celery.utils import uuid
from fastapi import FastAPI

from taketurns.api import errors
from taketurns.api.auth import Tokens
from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.schemas import TaskAccepted, TaskSubmission
from taketurns.demo import app as demo
from taketurns.demo.names import ONE_QUEUE
from taketurns.demo.tasks import plain_work


def create_app() -> FastAPI:
    """Return the API; the secret of its tokens is a setting, as for the other."""
    api = FastAPI(title="The demo's one queue")
    api.state.turns = demo.turns
    api.state.tokens = Tokens(demo.turns.settings.api)
    errors.install(api)
    api.post("/tasks", status_code=HTTPStatus.ACCEPTED)(_submit)
    return api


def _submit(submission: TaskSubmission, caller: CurrentCaller, _turns: Turns) -> TaskAccepted:
    task_id = uuid()
    plain_work.apply_async(submission.args, submission.kwargs, task_id=task_id, queue=ONE_QUEUE)
    return TaskAccepted(task_id=task_id, tenant=caller.tenant, queue=ONE_QUEUE)
