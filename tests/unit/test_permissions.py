"""What each process needs, and what the documentation says that it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from amqp import spec
from amqp.exceptions import AccessRefused, NotAllowed, NotFound

from taketurns.permissions import PERMISSIONS, Permissions
from taketurns.refusals import refused

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
COMMAND = re.compile(r"rabbitmqctl set_permissions -p shop (\w+) \\\n +'(.*)' \\\n +'(.*)' \\\n +'(.*)'\n")


def test_the_commands_to_copy_are_those_that_are_tested() -> None:
    """Each user of the document may do what the user of that name in the tests may."""
    found = {user: Permissions(*expressions) for user, *expressions in COMMAND.findall(DOCUMENT.read_text())}
    assert found == PERMISSIONS


def test_only_workers_can_read_tenants_tasks() -> None:
    """No other process can take or see them; and none may touch what is not of taketurns or Celery."""
    readers = {who for who, may in PERMISSIONS.items() if re.search(may.read, "usersequence_acme")}
    assert readers == {"worker"}
    for may in PERMISSIONS.values():
        for expression in (may.configure, may.write, may.read):
            for name in (
                "other",
                "usersequencex",
                "my.usersequence_a",
                "celery2",
                "celeryevil",
                "amq.direct",
            ):
                assert re.search(expression, name) is None


@pytest.mark.parametrize(
    ("text", "method", "says"),
    [
        (
            "configure access to queue 'q' in vhost '/' refused",
            spec.Queue.Declare,
            "may not configure queue 'q'",
        ),
        (
            "access to queue 'q' in vhost '/' refused",
            spec.Queue.Declare,
            "may not configure or read queue 'q'",
        ),
        ("access to exchange 'e' in vhost '/' refused", spec.Queue.Declare, "may not write exchange 'e'"),
        ("access to queue 'q' in vhost '/' refused", spec.Queue.Bind, "may not write queue 'q'"),
        ("access to exchange 'e' in vhost '/' refused", spec.Queue.Bind, "may not read exchange 'e'"),
        (
            "access to exchange 'e' in vhost '/' refused",
            spec.Exchange.Bind,
            "may not write or read exchange 'e'",
        ),
        ("access to queue 'q' in vhost '/' refused", spec.Basic.Get, "may not read queue 'q'"),
        (
            "access to exchange 'amq.default' in vhost 'a' refused",
            spec.Basic.Publish,
            "may not write exchange 'amq",
        ),
        (
            "access to queue 'it's' in vhost 'a' refused",
            spec.Basic.Get,
            "may not read queue 'it's' in vhost 'a';",
        ),
    ],
)
def test_a_refusal_says_what_is_missing(text: str, method: tuple[int, int], says: str) -> None:
    """RabbitMQ 4 names the permission; of 3.10's text and the method it is concluded."""
    error = refused(AccessRefused(f"ACCESS_REFUSED - {text} for user 'eve'", method), user="other")
    assert str(error).startswith(f"RabbitMQ's user 'eve' {says}")


def test_who_is_not_let_in_is_told_apart() -> None:
    """A login that is refused, a vhost that is closed, and what is no refusal."""
    login = AccessRefused("ACCESS_REFUSED - Login was refused using PLAIN.", (0, 0))
    assert "'eve' is not let in (Login was refused using PLAIN.); see" in str(refused(login, user="eve"))
    vhost = NotAllowed("NOT_ALLOWED - vhost x not found", (10, 40))
    assert "'eve' can't connect (vhost x not found); see" in str(refused(vhost, user="eve"))
    assert refused(NotAllowed("NOT_ALLOWED - attempt to reuse consumer tag", (60, 20)), user="eve") is None
    assert refused(NotFound("NOT_FOUND - no queue", (50, 10)), user="eve") is None
