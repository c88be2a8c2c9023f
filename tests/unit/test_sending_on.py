"""What of a received message goes along when it is sent on; no broker."""

from __future__ import annotations

from typing import Any

import pytest

from taketurns.sending_on import sent_on


def headers(**given: Any) -> dict[str, Any]:
    sent: dict[str, Any] = sent_on({"application_headers": given})["application_headers"]
    return sent


def test_what_the_broker_would_hold_against_the_copy_is_left() -> None:
    properties = {"content_type": "application/json", "priority": 2, "expiration": "1000", "user_id": "team"}
    assert sent_on({**properties, "delivery_mode": 1}) == {
        "content_type": "application/json",
        "priority": 2,
        "delivery_mode": 2,
        "application_headers": {},
    }


def test_a_copy_goes_to_one_queue_and_knows_of_no_death() -> None:
    traces = {"x-death": [{"queue": "q"}], "x-first-death-queue": "q", "x-last-death-reason": "expired"}
    assert headers(task="work", CC=["elsewhere"], BCC=["elsewhere"], **traces) == {"task": "work"}
    assert sent_on({"application_headers": {b"\xff": 1}})["application_headers"] == {b"\xff": 1}


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (2**31 - 1, 2**31 - 1),
        (1767225600000, 1767225600000.0),
        (-(2**31), -(2.0**31)),
        (2**53 + 1, "9007199254740993"),
        (True, True),
    ],
)
def test_integers_that_can_not_be_sent_are_sent_as_something_else(received: object, sent: object) -> None:
    (copied,) = headers(number=received).values()
    assert (copied, type(copied)) == (sent, type(sent))
    assert headers(table={"list": [received]}) == {"table": {"list": [sent]}}
