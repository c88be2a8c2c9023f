"""Workers, and whether the API is up."""

from typing import Literal

from taketurns.api.schemas.base import Answer
from taketurns.worker_list import WorkerInfo


class WorkerList(Answer):
    """The workers that serve tenants, by name."""

    workers: list[WorkerInfo]


class Check(Answer):
    """How a server that the API needs is doing."""

    status: Literal["ok", "error"]
    message: str = ""


class Live(Answer):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Ready(Answer):
    """Whether tasks can be accepted. `degraded`: they are, but a server that other things need is away."""

    status: Literal["ready", "degraded", "unavailable"]
    broker: Check
    """Without it nothing can be accepted."""
    management: Check
    """Without it no backlog can be told."""
    redis: Check
    """Without it no settings, limits and task states can be told."""
