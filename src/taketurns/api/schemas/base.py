"""What all bodies of the API have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TaskId = Annotated[str, Field(examples=["5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11"])]

TaskName = Annotated[str, Field(examples=["shop.tasks.thumbnail"])]

TenantId = Annotated[str, Field(examples=["acme"])]

QueueName = Annotated[str, Field(examples=["usersequence_acme"])]

CreatedAt = Annotated[float | None, Field(examples=[1767225600.0])]


class Answer(BaseModel):
    """The base of what the API answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Request(BaseModel):
    """The base of what it takes."""

    # Strict, so that "yes" is no boolean and "2" no number: what was accepted is what was meant.
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", strict=True)


class Problem(Answer):
    """The one shape of every error."""

    error: Annotated[str, Field(examples=["invalid_input"])]
    """A short code that programs may compare."""
    message: Annotated[
        str, Field(examples=["rate_limit: 'x' is not valid; accepted is count/period[:burst]"])
    ]
    """What was wrong, and what would be accepted or helps."""
    field: Annotated[str | None, Field(examples=["rate_limit"])] = None
    """The offending field, if it is one."""
