"""The options of a submission over HTTP, as ``apply_async`` takes them."""

from typing import Any

from celery import Celery

from taketurns.api.schemas.tasks import TaskSubmission
from taketurns.errors import InvalidInput
from taketurns.options import expires_at


def options_of(submission: TaskSubmission, app: Celery) -> dict[str, Any]:
    """Return the options that a submission asks for; those it leaves out are the task's own.

    Raises:
        InvalidInput: one does not have its accepted form, or two exclude each other.
    """
    if submission.countdown is not None and submission.eta is not None:
        raise InvalidInput(submission.eta, "either countdown or eta", field="eta")
    given = {
        "priority": submission.priority,
        "countdown": submission.countdown,
        "eta": submission.eta,
        "expires": expires_at(app, submission.expires),
        "max_retries": submission.max_retries,
        "time_limit": submission.time_limit,
        "soft_time_limit": submission.soft_time_limit,
        "tags": submission.tags or None,
        "idempotency_key": submission.idempotency_key,
        "depends_on": submission.depends_on or None,
    }
    return {name: value for name, value in given.items() if value is not None}
