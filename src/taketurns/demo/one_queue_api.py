"""The HTTP API of the comparison: the same request, and the task goes into the one queue of an ordinary app."""

from http import HTTPStatus

from celery.utils import uuid
from fastapi import Depends, FastAPI

from taketurns.api.authenticator import Authenticator
from taketurns.api.dependencies import CurrentCaller, authenticated, for_tenant
from taketurns.api.endpoints import Endpoints
from taketurns.api.mounting import serve
from taketurns.api.schemas.tasks import TaskAccepted, TaskSubmission
from taketurns.demo import app as demo
from taketurns.demo.names import ONE_QUEUE
from taketurns.demo.tasks import plain_work

_endpoints = Endpoints("tasks", prefix="/tasks")


def create_app() -> FastAPI:
    """Return the API; the secret of its tokens is a setting, as for the other."""
    api = FastAPI(title="The demo's one queue")
    caller = authenticated(Authenticator(demo.turns))
    api.include_router(serve(demo.turns, [_endpoints], Depends(for_tenant(caller))))
    return api


@_endpoints.post("", status_code=HTTPStatus.ACCEPTED)
def _submit(submission: TaskSubmission, caller: CurrentCaller) -> TaskAccepted:
    task_id = uuid()
    plain_work.apply_async(submission.args, submission.kwargs, task_id=task_id, queue=ONE_QUEUE)
    return TaskAccepted(task_id=task_id, tenant=caller.tenant, queue=ONE_QUEUE)
