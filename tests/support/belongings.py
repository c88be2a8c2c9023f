"""What somebody has on the service, of each kind there is, with a secret in all of it that nobody else may see."""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from taketurns import TenantTask
from taketurns.deadletters.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from support.api_server import Client
    from taketurns import TakeTurns

WITHIN = 60.0
_EVENT = re.compile(r"(\d+)-(\d+)")
_HEXADECIMAL = re.compile(r"(?<=-)[0-9a-f]{12,}$")
"""The last part of a UUID, and what makes a secret one."""


@dataclass(frozen=True)
class Belongings:
    """What somebody has.

    Attributes:
        owner: whom the token speaks for.
        tenant: whose queue it is.
        secret: a text that is in all of it.
        client: sends the owner's token.
        api_key: an API key of the owner's.
        tasks: the ids of its tasks, by their states.
        letters: the ids of its dead letters.
        events: the ids of its tasks' events.
        cursor: that of a page of its tasks.
        schedule: the name of its schedule.
        tag: the tag of all of its tasks.
        key: the idempotency key of its first one.
    """

    owner: str
    tenant: str
    secret: str
    client: Client
    api_key: str
    tasks: Mapping[str, str]
    letters: Sequence[str]
    events: Sequence[str]
    cursor: str
    schedule: str
    tag: str
    key: str

    def named(self) -> dict[str, list[str]]:
        """Return what names something of it, by the parameters and fields in which such names are given."""
        tasks = list(self.tasks.values())
        return {
            "task_id": tasks,
            "depends_on": tasks,
            "letter_id": list(self.letters),
            "name": [self.schedule, self.secret],
            "tag": [self.tag],
            "tags": [self.tag],
            "cursor": [self.cursor],
            "Last-Event-ID": list(self.events[:2]),
            "last_event_id": list(self.events[:2]),
            "idempotency-key": [self.key],
            "idempotency_key": [self.key],
            "tenant": [self.tenant],
            "X-Tenant": [self.tenant],
        }

    def marks(self) -> set[str]:
        """Return the texts that show that something is of it; ids of events are times, which others may have too."""
        names = {text for several in self.named().values() for text in several} - set(self.events)
        return {*names, self.owner, f"usersequence_{self.tenant}", self.api_key}

    def as_it_is(self, turns: TakeTurns) -> dict[str, Any]:
        """Return all of it as it is stored, to be compared with what it is later."""
        tasks = self.tasks.values()
        return {
            "tasks": {task_id: turns.tasks.get(self.tenant, task_id) for task_id in tasks},
            "events": {task_id: turns.records.history(self.tenant, task_id) for task_id in tasks},
            "listed": sorted(task["task_id"] for task in self.client.get("/tasks").json()["tasks"]),
            "results": {
                task_id: turns.app.AsyncResult(task_id).result for task_id in [self.tasks["SUCCESS"]]
            },
            "letters": turns.dead_letters.list(Selection(tenant=self.tenant)),
            "schedules": turns.schedules.list(self.tenant),
            "settings": turns.registry.get(self.tenant),
            "keys": [key for key in turns.registry.api_keys.all() if key.tenant == self.tenant],
        }


@cache
def nobodys(name: str) -> str:
    """Return a name of the same form that nothing has, the same one each time."""
    if is_event := _EVENT.fullmatch(name):
        return f"{is_event[1]}-{int(is_event[2]) + 500}"
    found = _HEXADECIMAL.sub(lambda digits: secrets.token_hex(len(digits[0]))[: len(digits[0])], name)
    return found if found != name else f"nobody-{name}"


def acquire(
    turns: TakeTurns, api: Client, owners: Sequence[str], eventually: Callable[..., None]
) -> list[Belongings]:
    """Have several people come by everything; a worker of ``support.api_app`` has as many processes.

    In the end each of these runs a task of one of them, so that nothing else starts.
    """
    # One that the worker does not know.
    gone = turns.app.task(_nothing, name="shop.gone", base=TenantTask, shared=False, expose=True)
    people = [_Person(turns, api, owner, eventually) for owner in owners]
    for person in people:
        person.have("SUCCESS", "shop.thumbnail", idempotency_key=f"order {person.secret}")
        person.have("FAILURE", "shop.fail")
        person.have("DEAD", gone.name)
    for person in people:
        person.wait_for("SUCCESS", "FAILURE", "DEAD")
    for person in people:
        person.have("RUNNING", "shop.nap", args=[600])
    for person in people:
        person.wait_for("RUNNING")
    for person in people:
        person.have("QUEUED", "shop.thumbnail")
        person.have("DELAYED", "shop.thumbnail", countdown=3600)
        person.have("BLOCKED", "shop.thumbnail", depends_on=[person.tasks["QUEUED"]])
        person.wait_for("QUEUED", "DELAYED", "BLOCKED")
    return _apart([person.belongings() for person in people])


def _apart(all_of_them: list[Belongings]) -> list[Belongings]:
    """Leave each the events of moments that are nobody else's: an id is a time, after which others' events count."""
    moments = [{_moment(event) for event in each.events} for each in all_of_them]
    apart = []
    for place, each in enumerate(all_of_them):
        others = set().union(*moments[:place], *moments[place + 1 :])
        apart.append(replace(each, events=[event for event in each.events if _moment(event) not in others]))
        assert len(apart[-1].events) >= 2
    return apart


def _moment(event: str) -> str:
    return event.partition("-")[0]


class _Person:
    def __init__(self, turns: TakeTurns, api: Client, owner: str, eventually: Callable[..., None]) -> None:
        self._turns = turns
        self._owner = owner
        self._eventually = eventually
        self._client = api.as_(owner)
        self._tenant = str(self._client.get("/me").json()["tenant"])
        self.secret = f"secret-of-{owner}-{uuid.uuid4().hex[:12]}"
        self.tasks: dict[str, str] = {}

    def have(self, state: str, name: str, **options: Any) -> None:
        body = {"name": name, "args": [self.secret], "tags": [f"tag-{self.secret}"], **options}
        response = self._client.post("/tasks", json=body)
        assert response.status_code == 202, response.text
        self.tasks[state] = response.json()["task_id"]

    def wait_for(self, *states: str) -> None:
        for state in states:
            self._eventually(lambda state=state: self._state(state) == state, within=WITHIN, what=state)

    def _state(self, state: str) -> str:
        return str(self._client.get(f"/tasks/{self.tasks[state]}").json()["status"])

    def belongings(self) -> Belongings:
        schedule = f"nightly-{self.secret}"
        given = {"name": schedule, "task": "shop.thumbnail", "args": [self.secret], "cron": "0 3 1 1 *"}
        assert self._client.post("/schedules", json=given).status_code == 201
        self._turns.update(self._tenant, tags={"plan": self.secret}, metadata={"contact": self.secret})
        self._eventually(lambda: len(self._letters()) == 2, within=WITHIN, what="two dead letters")
        events = [
            event_id
            for task_id in self.tasks.values()
            for event_id, _ in self._turns.records.history(self._tenant, task_id)
        ]
        return Belongings(
            owner=self._owner,
            tenant=self._tenant,
            secret=self.secret,
            client=self._client,
            api_key=self._turns.registry.api_keys.create(self._tenant, name=self.secret).text,
            tasks=self.tasks,
            letters=self._letters(),
            events=events,
            cursor=self._client.get("/tasks", params={"limit": 2}).json()["cursor"],
            schedule=schedule,
            tag=f"tag-{self.secret}",
            key=f"order {self.secret}",
        )

    def _letters(self) -> list[str]:
        return [each["id"] for each in self._client.get("/me/dead-letters").json()["letters"]]


def _nothing(label: str) -> None:
    """Do nothing."""
