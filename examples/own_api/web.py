"""The team's own FastAPI application, with its own users, errors and endpoints."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from tasks import step, turns

from taketurns import BacklogFull, BrokerUnavailable
from taketurns.api.mounting import health_router, operator_router, tenant_router


@dataclass
class User:
    id: int
    name: str
    is_admin: bool = False


SESSIONS = {
    "ada-s-session": User(1, "Ada"),
    "bob-s-session": User(2, "Bob"),
    "eve-s-session": User(3, "Eve", is_admin=True),
}


def current_user(session: Annotated[str, Header()] = "") -> User:
    user = SESSIONS.get(session)
    if user is None:
        raise HTTPException(401, "please log in")
    return user


CurrentUser = Annotated[User, Depends(current_user)]


def current_tenant(user: CurrentUser) -> str:
    return str(user.id)


def require_admin(user: CurrentUser) -> None:
    if not user.is_admin:
        raise HTTPException(403, "for administrators only")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    turns.close()


app = FastAPI(title="The team's application", lifespan=lifespan)
app.include_router(tenant_router(turns, current_tenant=current_tenant), prefix="/queue")
app.include_router(operator_router(turns, require_operator=require_admin), prefix="/queue")
app.include_router(health_router(turns), prefix="/queue")


@app.exception_handler(HTTPException)
async def own_shape(_: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"oops": error.detail}, error.status_code)


@app.post("/sequence", status_code=202)
def start_sequence(user: CurrentUser, steps: int = 3) -> dict[str, object]:
    """Start the sequence of the user who is logged in, on the queue usersequence_<user id>."""
    try:
        started = [step.apply_async((number,), tenant=str(user.id)) for number in range(steps)]
    except (BacklogFull, BrokerUnavailable) as error:
        raise HTTPException(503, "please try again soon") from error
    return {"user": user.name, "tasks": [each.id for each in started]}
