"""What a dead letter says, and which ones are meant; no broker."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from taketurns.deadletters.letter import DeadLetter, Death, buried, original, revived
from taketurns.deadletters.selection import Selection
from taketurns.errors import InvalidInput, InvalidTenant

TASK: dict[str, Any] = {"task": "shop.work", "id": "t-1", "retries": 2, "eta": None, "expires": None}
BODY = b'[["a"], {}, {}]'
FAILED = Death("failed", "ValueError('no')", "Traceback ...\nValueError: no", attempts=3)


def dead(headers: dict[str, Any] | None = None, death: Death = FAILED, **given: Any) -> dict[str, Any]:
    about: dict[str, Any] = {"letter_id": "d-1", "at": "2026-01-01T00:00:00+00:00", "tenant": "acme"}
    return buried(
        TASK if headers is None else headers, death, **{**about, "queue": "usersequence_acme", **given}
    )


def test_a_letter_tells_all_that_was_noted() -> None:
    letter = DeadLetter.read(dead(), BODY)
    assert letter == DeadLetter(
        id="d-1",
        tenant="acme",
        owner="acme",
        queue="usersequence_acme",
        task="shop.work",
        task_id="t-1",
        cause="failed",
        reason="ValueError('no')",
        traceback="Traceback ...\nValueError: no",
        attempts=3,
        replays=0,
        died_at="2026-01-01T00:00:00+00:00",
        size=15,
        headers={**TASK, "taketurns_tenant": "acme"},
        body=BODY.decode(),
    )


def test_a_revived_letter_has_all_its_retries_and_no_notes_but_the_count_of_its_replays() -> None:
    once = revived(dead({**TASK, "expires": "2020-01-01T00:00:00", "x-death": [], "taketurns_d3": True}))
    assert once == {**TASK, "retries": 0, "taketurns_tenant": "acme", "taketurns_replays": 1}
    twice = DeadLetter.read(dead(once), BODY)
    assert twice.replays == 1
    assert revived(dead(once))["taketurns_replays"] == 2


def test_a_letter_is_its_owners_who_may_share_the_tenant() -> None:
    """And of nobody, if nobody knows the tenant either."""
    letter = DeadLetter.read(dead({**TASK, "taketurns_owner": "ann"}), BODY)
    assert (letter.tenant, letter.owner) == ("acme", "ann")
    assert Selection(owner="ann", tenant="acme").has(letter)
    assert not Selection(owner="acme").has(letter)
    assert DeadLetter.read(dead(TASK, tenant=None, queue="nowhere"), BODY).owner is None
    with pytest.raises(InvalidTenant, match="owner"):
        Selection(owner="no owner")


def test_one_who_dies_again_has_the_notes_of_the_last_time() -> None:
    again = dead(dead(), Death("unknown_task", "unknown task 'shop.work'"), letter_id="d-2")
    letter = DeadLetter.read(again, BODY)
    assert (letter.id, letter.cause, letter.traceback, letter.attempts) == ("d-2", "unknown_task", "", 0)


def test_long_words_are_cut_so_that_the_headers_fit_a_frame() -> None:
    long = Death("failed", "x" * 10_000, "first" + "y" * 200_000 + "last")
    letter = DeadLetter.read(dead(death=long), BODY)
    assert letter.traceback.endswith("last")
    assert len(json.dumps(dead(death=long))) < 12_000
    full = dead({"argsrepr": "z" * 110_000}, long)
    assert len(json.dumps(full)) < 113_000


@pytest.mark.parametrize(
    "headers",
    [{}, {"task": 7, "id": None}, {"taketurns_dead_cause": "magic", "taketurns_dead_attempts": "many"}],
)
def test_what_somebody_else_put_there_is_read_too(headers: dict[str, Any]) -> None:
    letter = DeadLetter.read(headers, b"\xff")
    assert (letter.tenant, letter.task, letter.cause, letter.attempts) == (None, None, None, 0)
    assert letter.id == DeadLetter.read(headers, b"\xff").id
    assert letter.id != DeadLetter.read(headers, b"x").id
    assert letter.headers == original(headers)


def test_headers_of_any_type_are_told_as_json() -> None:
    odd = {
        "at": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  # as py-amqp has it
        "price": Decimal("1.5"),
        "blob": b"a\xff",
        "table": {"list": [1, None, True, {b"\xfe": 0.5}]},
        b"\xff": "lone \ud800",
        "taketurns_dead_id": "../../etc",
    }
    letter = DeadLetter.read(odd, b"")
    assert letter.headers == {
        "at": "2026-01-02T03:04:05+00:00",
        "price": "1.5",
        "blob": "a\ufffd",
        "table": {"list": [1, None, True, {"\ufffd": 0.5}]},
        "\ufffd": "lone ?",
    }
    json.dumps(letter.headers, allow_nan=False).encode()
    assert re.fullmatch("[0-9a-f]{32}", letter.id)
    assert (letter.body, letter.size) == ("", 0)


def test_headers_that_are_nested_too_deep_are_cut() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert '"..."' in json.dumps(DeadLetter.read(deep, b"").headers)


def test_what_a_policy_put_there_has_the_reason_of_rabbitmq() -> None:
    died = datetime(2026, 1, 2, tzinfo=None)  # noqa: DTZ001  # as py-amqp has it
    earlier = {"queue": "usersequence.delay.100", "reason": "expired", "count": 1}
    deaths = [{"queue": "usersequence_acme", "reason": "maxlen", "count": 1, "time": died}, earlier]
    letter = DeadLetter.read({**TASK, "x-death": deaths}, BODY)
    assert (letter.tenant, letter.queue, letter.task) == ("acme", "usersequence_acme", "shop.work")
    assert (letter.cause, letter.reason, letter.died_at) == (None, "maxlen", "2026-01-02T00:00:00+00:00")
    ours = DeadLetter.read(dead({**TASK, "x-death": deaths}, queue="usersequence_bolt"), BODY)
    assert (ours.tenant, ours.reason) == ("bolt", "ValueError('no')")
    for nonsense in (7, [], [7], [{"queue": 7}]):
        assert DeadLetter.read({"x-death": nonsense}, BODY).queue == ""


def test_a_brief_letter_has_nothing_that_may_be_large() -> None:
    whole, brief = DeadLetter.read(dead(), BODY), DeadLetter.read(dead(), BODY, brief=True)
    assert brief == replace(whole, traceback="", headers={}, body="")
    assert brief.size == len(BODY)


def test_a_letter_without_a_valid_tenant_has_none() -> None:
    assert DeadLetter.read(dead(tenant="not valid!", queue="elsewhere"), BODY).tenant is None
    assert DeadLetter.read(dead(tenant="acme", queue="elsewhere"), BODY).tenant == "acme"


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), True),
        (Selection(ids=["d-1", "d-2"]), True),
        (Selection(ids=[]), False),
        (Selection(tenant="acme", task="shop.work", cause="failed"), True),
        (Selection(tenant="bolt"), False),
        (Selection(tenant="acme", task="shop.other"), False),
        (Selection(cause="rejected"), False),
        (Selection(task_id=TASK["id"]), True),
        (Selection(task_id="another"), False),
    ],
)
def test_a_selection_means_what_has_all_of_it(selection: Selection, meant: bool) -> None:
    assert selection.has(DeadLetter.read(dead(), BODY)) is meant


def test_a_selection_refuses_what_can_never_be_meant() -> None:
    with pytest.raises(
        InvalidInput, match=r"cause: 'bad' is not valid; accepted is one of failed, .*unroutable"
    ):
        Selection(cause="bad")
    with pytest.raises(InvalidTenant):
        Selection(tenant="not valid!")
    with pytest.raises(InvalidInput, match=r"ids: 'd-1' is not valid; accepted is a set or list of ids"):
        Selection(ids="d-1")
    with pytest.raises(InvalidInput, match="task: 5"):
        Selection(task=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="task_id: 5"):
        Selection(task_id=5)  # type: ignore[arg-type]
