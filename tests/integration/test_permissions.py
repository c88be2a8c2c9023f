"""Users of RabbitMQ that may do too little: who tries learns what is missing, and nothing is lost for it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
import requests

from support.api_server import assert_problem, serving, shop
from support.publishing import close
from support.secure_app import build
from support.workers import START_WITHIN, started, worker
from taketurns import TakeTurns
from taketurns.errors import BrokerRefused
from taketurns.permissions import PERMISSIONS, Permissions
from taketurns.reaper.recover import Recoverer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Broker
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

WORKER = PERMISSIONS["worker"]
EVERYTHING = Permissions(".*", ".*", ".*")


class User:
    """A user of the test's own vhost; its password is its name."""

    def __init__(self, broker: Broker, settings: Settings) -> None:
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self._broker = broker
        self._settings = settings
        self._send("PUT", f"users/{self.name}", {"password": self.name, "tags": "management"})

    def grant(self, permissions: Permissions) -> None:
        """Let the user do this, in place of what it could."""
        self._send("PUT", f"permissions/{{vhost}}/{self.name}", asdict(permissions))

    def settings(self, password: str | None = None) -> Settings:
        """Return the settings of a process that is this user."""
        login = f"{self.name}:{password or self.name}"
        changed = {
            name: f"{url.partition('://')[0]}://{login}@{url.rpartition('@')[2]}"
            for name, url in (
                ("amqp_url", self._broker.amqp_url),
                ("management_url", self._broker.management_url),
            )
        }
        return replace(self._settings, broker=self._settings.broker.model_copy(update=changed))

    def remove(self) -> None:
        """Remove the user."""
        self._send("DELETE", f"users/{self.name}", None)

    def _send(self, method: str, path: str, body: Any) -> None:
        requests.request(method, self._broker.api(path), json=body, timeout=10).raise_for_status()


@pytest.fixture
def user(broker: Broker, settings: Settings) -> Iterator[User]:
    user = User(broker, settings)
    yield user
    user.remove()


@pytest.fixture
def turns_of() -> Iterator[Callable[[Settings], TakeTurns]]:
    """Return a function that makes an app with these settings and returns its extension."""
    made: list[TakeTurns] = []

    def make(settings: Settings) -> TakeTurns:
        made.append(TakeTurns.of(build(settings)))
        return made[-1]

    yield make
    for each in made:
        close(each.app)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("configure", r"may not configure( or read)? queue 'usersequence\.lost' in vhost|may not configure"),
        ("write", r"may not (write|configure, read or write) (queue|exchange) 'usersequence"),
        ("read", r"may not (read|configure, read or write) exchange 'usersequence"),
    ],
)
def test_a_submission_that_is_refused_names_user_and_permission(
    missing: str, says: str, user: User, turns_of: Callable[[Settings], TakeTurns]
) -> None:
    """Each of the three is needed, and the error says which, of what, and where to read on."""
    user.grant(replace(PERMISSIONS["publisher"], **{missing: "^$"}))
    work: Any = turns_of(user.settings()).app.tasks["work"]
    with pytest.raises(BrokerRefused, match=says) as caught:
        work.apply_async(("a",), tenant="acme")
    assert f"RabbitMQ's user '{user.name}' " in str(caught.value)
    assert "docs/operations.md, Permissions" in str(caught.value)
    user.grant(PERMISSIONS["publisher"])
    work.apply_async(("a",), tenant="acme")


def test_the_api_answers_503_and_logs_what_is_missing(user: User, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns that nothing was accepted, and the operator which permission is missing."""
    user.grant(replace(PERMISSIONS["api"], write="^$"))
    turns = shop(user.settings(), results=False)
    with serving(turns) as client, client.as_("acme") as acme:
        response = acme.post("/tasks", json={"name": "shop.anything"})
    said = assert_problem(response, 503, code="broker_refused")
    assert user.name not in said
    assert f"RabbitMQ's user '{user.name}' may not " in caplog.text


def test_a_publish_that_is_refused_is_not_sent_twice(
    user: User, turns_of: Callable[[Settings], TakeTurns]
) -> None:
    """What a process may no longer do is told at once, although the queue is there already."""
    user.grant(PERMISSIONS["publisher"])
    turns = turns_of(user.settings())
    work: Any = turns.app.tasks["work"]
    work.apply_async(("a",), tenant="acme")
    turns.close()  # RabbitMQ remembers for a while what a channel may do
    user.grant(replace(PERMISSIONS["publisher"], write="^$"))
    with pytest.raises(BrokerRefused, match="may not write exchange 'usersequence'"):
        work.apply_async(("b",), tenant="acme")


def test_who_is_not_let_in_is_told(user: User, turns_of: Callable[[Settings], TakeTurns]) -> None:
    """A wrong password, and a vhost without permissions or that is missing, are told apart."""
    wrong = turns_of(user.settings(password="wrong"))
    with pytest.raises(BrokerRefused, match=r"is not let in .* see that user and password"):
        wrong.publisher.ensure("acme")
    shut = turns_of(user.settings())
    for call in (lambda: shut.publisher.ensure("acme"), shut.dead_letters.count, Recoverer(shut).run_once):
        with pytest.raises(
            BrokerRefused, match=r"can't connect \(access to vhost .* see that the vhost of the app"
        ):
            call()
    (connection,) = [each for each in shut.doctor() if each.check == "RabbitMQ"]
    assert f"user '{user.name}' can't connect" in connection.found


@pytest.mark.parametrize(
    ("permissions", "says"),
    [
        (None, "can't connect"),
        (replace(WORKER, configure="^usersequence"), "may not configure"),
        (replace(WORKER, read="^usersequence"), "may not "),
        (replace(WORKER, write="^usersequence"), "may not "),
    ],
    ids=["no vhost", "configure", "read", "write"],
)
def test_a_worker_that_may_do_too_little_ends_and_says_so(
    permissions: Permissions | None, says: str, user: User, tmp_path: Path
) -> None:
    """One line names what is missing; there is no traceback, and no attempt after the other."""
    if permissions is not None:
        user.grant(permissions)
    arguments = ("worker", "-n", f"w@{user.name}", "-P", "solo")
    with started(user.settings(), tmp_path, "w", *arguments, app="support.secure_worker") as process:
        assert process.process.wait(START_WITHIN) == 1
    lines = [line for line in process.output.splitlines() if "The worker ends: " in line]
    assert len(lines) == 1, process.output
    assert f"RabbitMQ's user '{user.name}' {says}" in lines[0]
    assert "Traceback" not in process.output


def test_a_worker_goes_on_when_what_it_lacked_is_granted(
    user: User,
    settings: Settings,
    turns_of: Callable[[Settings], TakeTurns],
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """Without read on tenant queues it says so once; without write on amq.default a dead letter waits in its hand."""
    user.grant(replace(WORKER, read=WORKER.read.replace("|_.*", "")))
    turns = turns_of(settings)
    for tenant in ("a", "b", "c"):
        turns.app.tasks["work"].apply_async(("x",), tenant=tenant)
    result = turns.app.tasks["insist"].apply_async(("no",), tenant="a", max_retries=0)
    with worker(user.settings(), tmp_path, "-P", "threads", app="support.secure_worker") as crew:
        eventually(lambda: "may not read queue 'usersequence_" in crew.output)
        assert turns.app.tasks["ordinary"].delay("x").get(timeout=10) == "x"
        user.grant(replace(WORKER, write=WORKER.write.replace(r"|amq\.default", "")))
        with suppress(ValueError):
            result.get(timeout=20)
        eventually(lambda: "may not write exchange 'amq.default'" in crew.output)
        assert turns.dead_letters.count() == 0
        user.grant(WORKER)
        eventually(lambda: turns.dead_letters.count() == 1)
        eventually(
            lambda: not any(q.ready or q.unacknowledged for q in turns.management.tenant_queues().values())
        )
    assert crew.output.count("may not read queue") == 1
