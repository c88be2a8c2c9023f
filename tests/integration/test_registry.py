"""The registry on a real Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from taketurns.errors import InvalidInput, InvalidRate, InvalidTenant, InvalidWeight
from taketurns.registry import Registry, TenantSettings
from taketurns.settings import RedisSettings
from taketurns.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Servers


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


def redis_time(store: Store) -> float:
    seconds, microseconds = store.call(lambda redis: redis.time())
    return float(seconds + microseconds / 1e6)


# Settings


def test_an_unknown_tenant_has_the_defaults(registry: Registry) -> None:
    """Nothing needs to be set for a tenant."""
    assert registry.get("acme") == TenantSettings()
    assert not registry.exists("acme")
    assert registry.all() == {}


def test_an_update_changes_what_it_names(registry: Registry, store: Store) -> None:
    """Updates add up, return the whole, and keep the time of the first."""
    before = redis_time(store)
    first = registry.update("acme", rate_limit="10/60s", weight=2)
    second = registry.update("acme", paused=True, task_rate_limits={"shop.mail": "1/1s"})
    assert before <= first.created_at <= redis_time(store)
    assert second == TenantSettings(
        rate_limit="10/60s",
        task_rate_limits={"shop.mail": "1/1s"},
        weight=2.0,
        paused=True,
        created_at=first.created_at,
    )
    assert registry.get("acme") == second
    assert registry.all() == {"acme": second}
    assert registry.exists("acme")


def test_none_takes_a_limit_away(registry: Registry) -> None:
    """A rate or a concurrency of None is none."""
    registry.update("acme", rate_limit="10/60s", max_concurrency=3)
    settings = registry.update("acme", rate_limit=None, max_concurrency=None)
    assert (settings.rate_limit, settings.max_concurrency) == (None, None)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"rate_limit": "often"}, InvalidRate),
        ({"task_rate_limits": {"mail": "often"}}, InvalidRate),
        ({"weight": 0}, InvalidWeight),
        ({"max_concurrency": 0}, InvalidInput),
        ({"paused": "yes"}, InvalidInput),
        ({"priority_rate_limits": {"high": "often"}}, InvalidRate),
        ({"tags": {"a b": "c"}}, InvalidInput),
        ({"metadata": []}, InvalidInput),
        ({"color": "blue"}, TypeError),
    ],
)
def test_a_bad_change_changes_nothing(
    registry: Registry, change: dict[str, object], error: type[Exception]
) -> None:
    """One bad value refuses the whole update, and nobody is told to read settings again."""
    before = registry.update("acme", weight=2)
    version = registry.version()
    with pytest.raises(error):
        registry.update("acme", **{"max_concurrency": 7} | change)
    assert registry.get("acme") == before
    assert registry.version() == version


def test_tenants_are_found_by_their_tags(registry: Registry) -> None:
    """All given tags must match; without any, and only then, tenants without tags are there too."""
    registry.update("a", tags={"plan": "pro", "region": "eu"})
    registry.update("b", tags={"plan": "pro"})
    registry.update("c", weight=2)
    assert set(registry.all(tags={"plan": "pro"})) == {"a", "b"}
    assert set(registry.all(tags={"plan": "pro", "region": "eu"})) == {"a"}
    assert registry.all(tags={"plan": "free"}) == {}
    assert set(registry.all(tags={})) == set(registry.all()) == {"a", "b", "c"}


@pytest.mark.parametrize("wanted", ["plan=pro", ["plan"], {"plan": 5}])
def test_what_can_be_no_tags_finds_no_tenants_in_silence(registry: Registry, wanted: Any) -> None:
    """A filter of another form is an error, and not one that nobody matches."""
    with pytest.raises(InvalidInput, match="tags: "):
        registry.all(tags=wanted)


def test_single_tags_are_changed_at_the_same_time(registry: Registry) -> None:
    """Who sets or removes one tag leaves the others alone, also those that somebody sets meanwhile."""
    registry.update("acme", tags={"old": "1", "plan": "pro"}, weight=2)

    def change(key: str) -> None:
        for value in range(20):
            registry.tag("acme", {key: str(value), "old": None})

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(change, "abc"))
    settings = registry.get("acme")
    assert settings.tags == {"plan": "pro", "a": "19", "b": "19", "c": "19"}
    assert settings.weight == 2
    with pytest.raises(InvalidInput, match=r"^tags: "):
        registry.tag("acme", {"a b": "c"})
    assert registry.get("acme") == settings


def test_a_bad_tenant_is_refused(registry: Registry) -> None:
    """No settings are kept under a name that can't be a tenant's."""
    with pytest.raises(InvalidTenant):
        registry.update("acme corp", weight=2)
    assert registry.all() == {}


def test_updates_at_the_same_time_are_all_made(registry: Registry) -> None:
    """Two operators who change different fields of one tenant do not undo each other's change."""
    registry.update("acme")
    version = registry.version()

    def change(field: str) -> None:
        for value in range(1, 26):
            registry.update("acme", **{field: value})

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(change, ("weight", "max_concurrency")))
    settings = registry.get("acme")
    assert (settings.weight, settings.max_concurrency) == (25, 25)
    assert registry.version() == version + 50


def test_a_change_and_its_version_are_one_step(registry: Registry) -> None:
    """Whoever reads the same version before and after the settings has read that version's settings."""
    registry.update("acme", weight=1)
    first = registry.version()

    def write() -> None:
        for weight in range(2, 101):
            registry.update("acme", weight=weight)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        compared = 0
        while not writing.done() or compared == 0:
            before, settings, after = registry.version(), registry.get("acme"), registry.version()
            if before == after:
                compared += 1
                assert settings.weight == before - first + 1
        writing.result()


def test_a_forgotten_tenant_has_the_defaults_again(registry: Registry) -> None:
    """Forgetting removes the settings, tells everybody, and may be repeated; activity stays."""
    registry.update("acme", weight=2)
    registry.touch("acme")
    version = registry.version()
    registry.forget("acme")
    assert registry.version() > version
    assert registry.get("acme") == TenantSettings()
    assert registry.all() == {}
    assert registry.exists("acme")
    registry.forget("acme")


def test_the_version_does_not_come_back_after_a_loss(
    registry: Registry, servers: Servers, redis_prefix: str
) -> None:
    """After Redis has lost its data, the version differs from every earlier one: at once, and at each change."""
    registry.update("acme", weight=2)
    seen = {registry.version()}
    store = Store(RedisSettings(redis_url=servers.redis_url, redis_prefix=f"{redis_prefix}-emptied"))
    emptied = Registry(store)
    seen_after = {emptied.version()}
    for weight in range(1, 5):
        emptied.update("acme", weight=weight)
        seen_after.add(emptied.version())
    store.close()
    assert len(seen_after) == 5
    assert not seen & seen_after


# Activity


def test_activity_is_the_latest_time(registry: Registry, store: Store) -> None:
    """A touch records now or a later time given, and never an earlier one than is recorded."""
    before = redis_time(store)
    assert registry.touch("acme")
    recorded = registry.activity()["acme"]
    assert before <= recorded <= redis_time(store)
    due = recorded + 1000
    assert not registry.touch("acme", until=due)
    assert registry.activity() == {"acme": due}
    assert not registry.touch("acme")
    assert not registry.touch("acme", until=recorded - 1000)
    assert registry.activity() == {"acme": due}


def test_many_tenants_are_touched_in_one_call(registry: Registry, store: Store) -> None:
    """All of them are active now, and one with a task that is due later stays active until then."""
    due = redis_time(store) + 1000
    registry.touch("delayed", until=due)
    registry.worked(["acme", "delayed", "new"], {})
    activity = registry.activity()
    assert activity.pop("delayed") == due
    assert activity.keys() == {"acme", "new"}
    assert max(activity.values()) <= redis_time(store)


def test_a_past_time_counts_as_now(registry: Registry, store: Store) -> None:
    """A task that was due long ago makes its tenant active now."""
    before = redis_time(store)
    registry.touch("acme", until=before - 1000)
    assert registry.activity()["acme"] >= before


def test_a_cleared_tenant_is_unknown_again(registry: Registry) -> None:
    """The first touch after clearing says that the tenant was unknown, and only the first."""
    assert registry.touch("acme")
    registry.clear_activity("acme")
    assert registry.activity() == {}
    assert not registry.exists("acme")
    assert registry.touch("acme")
    assert not registry.touch("acme")


def test_of_many_publishers_one_is_told(registry: Registry) -> None:
    """Of threads that touch an unknown tenant at the same time exactly one learns that it was unknown."""
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _: registry.touch("acme"), range(64)))
    assert told.count(True) == 1


# Draining marks


def test_marks_are_set_and_taken_off(registry: Registry) -> None:
    """Draining marks hold for the named tenants, and each change of them is a new version."""
    versions = [registry.version()]
    registry.mark_draining(["a", "b", "c"], 60)
    versions.append(registry.version())
    assert registry.draining() == {"a", "b", "c"}
    registry.unmark_draining(["a", "c", "unknown"])
    versions.append(registry.version())
    assert registry.draining() == {"b"}
    assert versions == sorted(set(versions))


def test_a_mark_undoes_itself(registry: Registry, eventually: Callable[..., None]) -> None:
    """A mark that nobody takes off ends after its seconds, and not those of longer ones with it."""
    registry.mark_draining(["short"], 0.2)
    registry.mark_draining(["long"], 60)
    assert registry.draining() == {"short", "long"}
    eventually(lambda: registry.draining() == {"long"}, within=2)


def test_marking_nobody_is_no_change(registry: Registry) -> None:
    """No tenants, no marks, no new version."""
    version = registry.version()
    registry.mark_draining([], 60)
    registry.unmark_draining([])
    assert registry.version() == version
    assert registry.draining() == set()


# Workers


def test_workers_live_while_they_say_so(registry: Registry, eventually: Callable[..., None]) -> None:
    """A worker counts until its ttl passes or it says goodbye; each sign of life counts anew."""
    registry.worker_alive("quiet@host", 0.2)
    registry.worker_alive("leaving@host", 60)
    registry.worker_alive("busy@host", 0.2)
    registry.worker_alive("busy@host", 60)
    assert registry.workers() == ["busy@host", "leaving@host", "quiet@host"]
    registry.worker_gone("leaving@host")
    registry.worker_gone("leaving@host")
    eventually(lambda: registry.workers() == ["busy@host"], within=2)


def test_who_went_without_a_farewell_is_remembered(
    registry: Registry, eventually: Callable[..., None]
) -> None:
    """A worker that was killed or hangs is known as lost, until it gives another sign of life or says goodbye."""
    registry.worker_alive("killed@host", 0.2)
    registry.worker_alive("leaving@host", 60)
    registry.worker_gone("leaving@host")
    assert registry.lost_workers() == []
    eventually(lambda: registry.lost_workers() == ["killed@host"], within=2)
    registry.worker_alive("other@host", 60)
    assert registry.lost_workers() == ["killed@host"]
    registry.worker_alive("killed@host", 60)
    assert registry.lost_workers() == []
    registry.worker_gone("killed@host")
    assert registry.lost_workers() == []


def test_signs_of_life_tell_how_old_they_are(registry: Registry, eventually: Callable[..., None]) -> None:
    """Of the lost ones too; a worker that said goodbye is not told of."""
    for name, ttl in (("lost@host", 0.2), ("alive@host", 60), ("leaving@host", 60)):
        registry.worker_alive(name, ttl)
    registry.worker_gone("leaving@host")
    assert registry.signs_of_life().keys() == {"alive@host", "lost@host"}
    eventually(lambda: not registry.signs_of_life()["lost@host"].lives, within=2)
    registry.worker_alive("alive@host", 60)
    signs = registry.signs_of_life()
    assert signs["alive@host"].lives
    assert (signs["lost@host"].seconds or 0) >= 0.2 > (signs["alive@host"].seconds or 0)


# A role


def test_one_leads(registry: Registry) -> None:
    """A role has one owner, who keeps it by asking again and loses it by resigning."""
    assert registry.lead("reaper", "one", 60)
    assert not registry.lead("reaper", "two", 60)
    assert registry.lead("reaper", "one", 60)
    assert registry.lead("recoverer", "two", 60)
    registry.resign("reaper", "two")
    assert not registry.lead("reaper", "two", 60)
    registry.resign("reaper", "one")
    assert registry.lead("reaper", "two", 60)


def test_a_silent_leader_is_replaced(registry: Registry, eventually: Callable[..., None]) -> None:
    """A leader that does not ask again loses the role after its ttl."""
    assert registry.lead("reaper", "one", 0.2)
    eventually(lambda: registry.lead("reaper", "two", 60), within=2)
    assert not registry.lead("reaper", "one", 60)


def test_of_many_candidates_one_leads(registry: Registry) -> None:
    """Of candidates that ask at the same time exactly one is told that it leads."""
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda owner: registry.lead("reaper", str(owner), 60), range(32)))
    assert told.count(True) == 1


# Task records


def test_every_change_of_settings_is_told(store: Store) -> None:
    """Whoever wants to tell the workers is called after each change, and not for one that was refused."""
    told: list[float] = []
    look = Registry(store)
    registry = Registry(store, changed=lambda: told.append(look.get("acme").weight))
    registry.update("acme", weight=2)
    registry.tag("acme", {"plan": "pro"})
    registry.forget("acme")
    with pytest.raises(InvalidWeight):
        registry.update("acme", weight=0)
    assert told == [2.0, 2.0, 1.0]
