"""Task records in Redis, without workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from taketurns.errors import InvalidInput
from taketurns.records.events import of_entry, place, read
from taketurns.records.lifecycle import Step
from taketurns.records.record import written_error
from taketurns.records.records import Records
from taketurns.settings import RecordsSettings
from taketurns.tenant_tasks import Chosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from taketurns import TakeTurns
    from taketurns.store import Store

    Eventually = Callable[..., None]

NOW = float(int(time.time()))


@pytest.fixture
def records(store: Store) -> Records:
    return Records(store, RecordsSettings())


def queued(task_id: str, at: float = NOW, name: str = "shop.mail", **fields: Any) -> Step:
    return Step(task_id, "queued", at, name=name, fields=fields)


def state(records: Records, task_id: str = "t", tenant: str = "acme") -> str | None:
    record = records.get(tenant, task_id)
    return None if record is None else record.stored


def events(records: Records, task_id: str = "t") -> list[str]:
    return [event["event"] for _, event in records.history("acme", task_id)]


def test_a_record_tells_the_steps_of_a_task(records: Records) -> None:
    records.write({"acme": [queued("t", NOW, priority=1, tags='["x"]')]})
    records.write(
        {
            "acme": [
                Step("t", "started", NOW + 1, fields={"started": NOW + 1, "worker": "w1"}),
                Step("t", "progress", NOW + 2, data={"done": 1}),
                Step("t", "progress", NOW + 3, data={"done": 2, "total": 2}),
                Step("t", "completed", NOW + 4),
            ]
        }
    )
    record = records.get("acme", "t")
    assert record is not None
    assert (record.stored, record.name, record.attempts, record.worker) == ("SUCCESS", "shop.mail", 1, "w1")
    assert record.ended_at == pytest.approx(NOW + 4, abs=1e-5)
    assert record.tags == ("x",)
    assert record.progress is not None
    assert (record.progress.done, record.progress.total) == (2, 2)
    assert events(records) == ["queued", "started", "progress", "completed"], "of its progress the last"


def test_a_step_that_is_told_late_changes_no_state_and_fills_what_is_missing(records: Records) -> None:
    """The worker of a first attempt may tell of it after the second one's worker has."""
    records.write({"acme": [queued("t"), Step("t", "started", NOW + 5, retries=1, fields={"worker": "w2"})]})
    late = Step("t", "retrying", NOW + 4, fields={"worker": "w1", "error": "ValueError\nno"})
    records.write({"acme": [late]})
    record = records.get("acme", "t")
    assert record is not None
    assert (record.stored, record.worker, record.error) == ("RUNNING", "w2", ("ValueError", "no"))


def test_a_task_that_succeeded_after_a_failure_has_no_error(records: Records) -> None:
    """Whoever asks whether there is one, to know how it has ended, is told right."""
    retrying = Step("t", "retrying", NOW + 2, fields={"error": "ValueError\nno"})
    records.write({"acme": [queued("t"), Step("t", "started", NOW + 1), retrying]})
    record = records.get("acme", "t")
    assert record is not None
    assert record.error == ("ValueError", "no")
    again = Step("t", "started", NOW + 3, retries=1)
    records.write({"acme": [again, Step("t", "completed", NOW + 4, retries=1)]})
    record = records.get("acme", "t")
    assert record is not None
    assert (record.stored, record.error) == ("SUCCESS", None)


def test_a_request_to_cancel_overrules_no_end_and_is_told_once(records: Records) -> None:
    asked = Step("t", "cancelled", NOW + 2, asked=True)
    records.write({"acme": [asked]})
    assert state(records) is None, "nobody begins a record with a wish"
    records.write({"acme": [queued("t"), asked, asked]})
    records.write({"acme": [Step("t", "cancelled", NOW + 3)]})
    assert (state(records), events(records)) == ("CANCELLED", ["queued", "cancelled"])
    records.write(
        {"acme": [queued("u"), Step("u", "completed", NOW + 1), Step("u", "cancelled", NOW, asked=True)]}
    )
    assert state(records, "u") == "SUCCESS"


def test_a_task_that_ran_although_its_end_was_asked_for_is_told_so(records: Records) -> None:
    records.write({"acme": [queued("t"), Step("t", "cancelled", NOW + 1, asked=True)]})
    records.write({"acme": [Step("t", "started", NOW + 2)]})
    record = records.get("acme", "t")
    assert record is not None
    assert (record.stored, record.ended_at) == ("RUNNING", None)


def test_a_record_that_redis_has_lost_begins_anew_with_the_next_step(records: Records) -> None:
    records.write({"acme": [Step("t", "progress", NOW, data={"done": 1})]})
    assert state(records) is None
    records.write({"acme": [Step("t", "started", NOW, name="shop.mail")]})
    record = records.get("acme", "t")
    assert record is not None
    assert (record.stored, record.name) == ("RUNNING", "shop.mail")
    assert [task_id for _, task_id in records.ids("acme", count=10)] == ["t"]


def test_what_utf_8_cannot_carry_is_replaced_where_it_is_written(records: Records) -> None:
    """A task may raise, and note, any text; JSON writes half of a surrogate pair as an escape."""
    odd = "half of a pair \ud83d, a whole one \U0001f600"
    failed = Step(
        "t", "failed", NOW + 1, data={"message": odd}, fields={"error": written_error("ValueError", odd)}
    )
    records.write({"acme": [queued("t"), failed, queued("other")]})
    record = records.get("acme", "t")
    assert record is not None
    assert record.error == ("ValueError", odd.replace("\ud83d", "?"))
    assert records.history("acme", "t")[-1][1]["message"] == odd.replace("\ud83d", "?")
    assert state(records, "other") == "QUEUED"


def test_tenants_do_not_see_each_other(records: Records) -> None:
    records.write({"acme": [queued("t")], "bolt": [queued("u")]})
    assert records.get("bolt", "t") is None
    assert [task_id for _, task_id in records.ids("bolt", count=10)] == ["u"]
    assert records.history("bolt", "t") == []


def test_only_so_many_records_are_kept_of_tasks_that_have_ended(store: Store) -> None:
    """Those that ended first go first. Who waits is known, however many came later."""
    records = Records(store, RecordsSettings(max_tasks=3))
    names = [f"t{number}" for number in range(10)]
    records.write({"acme": [queued(name, NOW + number) for number, name in enumerate(names)]})
    for name in reversed(names[2:]):
        records.write({"acme": [Step(name, "started", NOW + 20), Step(name, "completed", NOW + 21)]})
    assert [task_id for _, task_id in records.ids("acme", count=10)] == ["t4", "t3", "t2", "t1", "t0"]
    assert [state(records, name) for name in ("t5", "t4", "t1")] == [None, "SUCCESS", "QUEUED"]


def test_a_task_that_is_replayed_is_none_that_has_ended(store: Store) -> None:
    records = Records(store, RecordsSettings(max_tasks=1))
    records.write(
        {"acme": [queued("t"), Step("t", "dead", NOW + 1), Step("t", "queued", NOW + 2, replays=1)]}
    )
    for name in ("u", "v"):
        records.write({"acme": [queued(name, NOW + 3), Step(name, "completed", NOW + 4)]})
    assert [state(records, name) for name in ("t", "u", "v")] == ["QUEUED", None, "SUCCESS"]
    records.write({"acme": [Step("t", "completed", NOW + 5, replays=1)]})
    assert [state(records, name) for name in ("t", "v")] == ["SUCCESS", None]


def test_of_tasks_that_have_not_ended_the_oldest_are_forgotten_when_they_are_very_many(store: Store) -> None:
    records = Records(store, RecordsSettings(max_tasks=1))
    for number in range(14):
        records.write({"acme": [queued(f"t{number:02}", NOW + number)]})
    kept = [f"t{number:02}" for number in reversed(range(4, 14))]
    assert [task_id for _, task_id in records.ids("acme", count=20)] == kept
    assert [state(records, name) for name in ("t03", "t04")] == [None, "QUEUED"]


def test_a_record_ends_a_while_after_its_last_step_and_a_delayed_one_not_before_it_is_due(
    store: Store, eventually: Eventually
) -> None:
    records = Records(store, RecordsSettings(ttl=0.2))
    now = time.time()
    records.write({"acme": [queued("t", now), Step("u", "delayed", now, fields={"due": now + 60})]})
    eventually(lambda: state(records) is None)
    assert state(records, "u") == "QUEUED"
    records.write({"acme": [queued("v", now + 1)]})
    assert [task_id for _, task_id in records.ids("acme", count=9)] == ["v", "u"], "it has left the list too"


def test_who_is_delayed_is_known_of_recorded_tasks_alone(store: Store) -> None:
    """What was forgotten, trimmed or is due by now leaves nothing behind."""
    records, now = Records(store, RecordsSettings(max_tasks=1)), time.time()
    key = store.tenant_key("acme", "delayed")

    def delay(number: int) -> None:
        step = Step(f"t{number}", "delayed", now + number / 100, fields={"due": now + 60})
        records.write({"acme": [step]})

    def known() -> list[str]:
        return sorted(store.call(lambda redis: redis.zrange(key, 0, -1)))

    for number in range(10, 23):
        delay(number)
    assert (known(), records.delayed("acme")) == ([f"t{number}" for number in range(13, 23)], 10)
    records.forget("acme", [f"t{number}" for number in range(15, 23)])
    assert (known(), records.delayed("acme")) == (["t13", "t14"], 2)
    store.call(lambda redis: redis.zadd(key, {"late": now - 5}))
    delay(23)
    assert (known(), records.delayed("acme")) == (["t13", "t14", "t23"], 3)
    records.write(
        {"acme": [Step("t13", "cancelled", now), Step("t14", "started", now), queued("t24", now + 1)]}
    )
    assert known() == ["t23"]


def test_the_ids_are_the_latest_first_and_go_on_after_a_place(records: Records) -> None:
    """Tasks of one moment, as a batch has them, are neither left out nor told twice."""
    records.write({"acme": [queued(f"t{number:04}", NOW + number // 700) for number in range(1500)]})
    found: list[tuple[float, str]] = []
    while page := records.ids("acme", before=found[-1] if found else None, count=100):
        assert len(page) <= 100
        found += page
    assert [task_id for _, task_id in found] == [f"t{number:04}" for number in reversed(range(1500))]


def test_the_live_channel_tells_each_step_with_its_id(records: Records, store: Store) -> None:
    def listen(redis: Redis) -> Any:
        return redis.pubsub(ignore_subscribe_messages=True)

    with store.call(listen) as subscription:
        subscription.subscribe(records.events("acme"))
        subscription.get_message(timeout=5)
        records.write({"acme": [queued("t"), Step("t", "started", NOW)]})
        entry_id, _, text = subscription.get_message(timeout=5)["data"].partition(" ")
    heard = of_entry(entry_id, text)
    assert [(task_id, read(text)["event"]) for _, task_id, text in heard] == [
        ("t", "queued"),
        ("t", "started"),
    ]
    assert [event_id for event_id, _, _ in heard] == [
        event_id for event_id, _ in records.history("acme", "t")
    ]


def told(records: Records, store: Store, tenant: str = "acme") -> list[tuple[str, str]]:
    """Return what the tenant's stream has: the ids of the events, and those of their tasks."""
    entries: Any = store.call(lambda redis: redis.xrange(records.events(tenant)))
    return [each[:2] for entry_id, fields in entries for each in of_entry(entry_id, fields["e"])]


@pytest.mark.parametrize("at_once", [1, 7, 90])
def test_only_about_so_many_events_are_kept_of_a_tenant(at_once: int, store: Store) -> None:
    """The latest ones, whether they were told one by one or many together."""
    records = Records(store, RecordsSettings(max_events=40))
    for first in range(0, 180, at_once):
        records.write({"acme": [queued(f"t{number}") for number in range(first, min(first + at_once, 180))]})
        kept = [task_id for _, task_id in told(records, store)]
        last = min(first + at_once, 180)
        assert kept == [f"t{number}" for number in range(last - len(kept), last)]
        assert min(last, 40) <= len(kept) <= 40 + 4 + at_once


def test_what_is_told_at_once_is_cut_into_entries_whose_ids_grow(records: Records, store: Store) -> None:
    records.write({"acme": [queued(f"t{number}") for number in range(2300)]})
    kept = told(records, store)
    assert [task_id for _, task_id in kept] == [f"t{number}" for number in range(2300)]
    ids = [event_id for event_id, _ in kept]
    assert ids == sorted(set(ids), key=place)
    some = (0, 249, 250, 2299)
    assert [records.history("acme", f"t{number}")[0][0] for number in some] == [
        ids[number] for number in some
    ]


def test_nothing_of_a_tenant_stays_for_ever_whatever_redis_has_lost(store: Store) -> None:
    """Each of its keys expires again that comes back, long before the others would have been renewed."""
    records = Records(store, RecordsSettings(max_events=10))
    later = {"due": time.time() + 60}

    def write(redis: Redis, number: int) -> dict[str, int]:
        steps = [queued(f"t{number}"), Step(f"u{number}", "delayed", NOW, name="n", fields=later)]
        ran = [Step(f"t{number}", "started", NOW + 1), Step(f"t{number}", "completed", NOW + 2)]
        records.write({"acme": [*steps, *ran]})
        return {key: redis.ttl(key) for key in redis.scan_iter(store.tenant_key("acme", "*"))}

    def lose_each(redis: Redis) -> None:
        for number, lost in enumerate(write(redis, 0), start=1):
            redis.delete(lost)
            ttls = write(redis, number)
            assert min(ttls.values()) > 0, (lost, ttls)

    store.call(lose_each)


def test_a_record_is_kept_in_one_piece(records: Records, store: Store) -> None:
    """So it takes Redis half of the memory; no value may be longer than 64 bytes."""
    worker = "celery@shop-worker-6d4cf56db6-x7k2p"
    started = {"started": f"{NOW:.6f}", "worker": worker}
    start = Step("t", "started", NOW, data={"worker": worker, "attempt": 1}, fields=started)
    progress = Step("t", "progress", NOW, data={"done": 100, "total": 1000})
    records.write({"acme": [queued("t", priority=1), start, progress, Step("t", "completed", NOW + 1)]})
    encoding = store.call(lambda redis: redis.object("encoding", records.key("acme", "t")))
    assert encoding in ("listpack", "ziplist")


# ---- lists


def test_a_list_has_what_is_chosen(turns: TakeTurns) -> None:
    turns.records.write(
        {
            "acme": [
                queued("a", NOW, "mail", tags='["x"]'),
                queued("b", NOW + 1, "mail"),
                queued("c", NOW + 2, "resize", tags='["x", "y"]'),
                Step("c", "completed", NOW + 3),
                Step("d", "delayed", NOW + 3, name="resize", fields={"due": time.time() + 600}),
            ]
        }
    )

    def ids(**chosen: Any) -> list[str]:
        return [record.id for record, _ in turns.tasks.list("acme", Chosen(**chosen)).tasks]

    assert ids() == ["d", "c", "b", "a"]
    assert ids(states=frozenset({"QUEUED"})) == ["b", "a"]
    assert ids(states=frozenset({"DELAYED", "SUCCESS"})) == ["d", "c"]
    assert ids(name="mail") == ["b", "a"]
    assert ids(tag="x") == ["c", "a"]
    assert ids(since=NOW + 1) == ["d", "c", "b"]
    assert ids(until=NOW + 1) == ["a"]


def test_pages_follow_each_other(turns: TakeTurns) -> None:
    turns.records.write({"acme": [queued(f"t{number}", NOW + number) for number in range(7)]})
    cursor: str | None = None
    pages: list[list[str]] = []
    while not pages or cursor is not None:
        page = turns.tasks.list("acme", cursor=cursor, limit=3)
        pages.append([record.id for record, _ in page.tasks])
        cursor = page.cursor
    assert pages == [["t6", "t5", "t4"], ["t3", "t2", "t1"], ["t0"]]


@pytest.mark.parametrize("cursor", ["", "x", "1.5:", "x:t", "nan:t", "1e400:t", "1.5:\ud800"])
def test_what_is_no_cursor_is_refused(cursor: str, turns: TakeTurns) -> None:
    with pytest.raises(InvalidInput, match=r"^cursor: "):
        turns.tasks.list("acme", cursor=cursor)


def test_a_queued_task_of_a_tenant_without_a_token_is_throttled(turns: TakeTurns) -> None:
    turns.registry.update("acme", rate_limit="1/1h")
    turns.records.write({"acme": [queued("t")], "bolt": [queued("t")]})
    limits = turns.limits.of("acme", "mail", None, None)
    assert [state for _, state in turns.tasks.list("acme").tasks] == ["QUEUED"]
    turns.limiter.admit("acme", "mail", limits, lease="t")
    assert [state for _, state in turns.tasks.list("acme").tasks] == ["THROTTLED"]
    assert [state for _, state in turns.tasks.list("bolt").tasks] == ["QUEUED"]
