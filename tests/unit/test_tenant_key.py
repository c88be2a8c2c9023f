"""Whose queue an owner's tasks go to: shards that stay where they are, functions of a team's own. No servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from taketurns import TakeTurns, TenantTask
from taketurns.errors import InvalidInput, InvalidSettings, InvalidTenant, TenantKeyFailed
from taketurns.inheritance import give_tenant
from taketurns.resolving import Tenancy
from taketurns.settings import Settings
from taketurns.tenant_key import MOST_SHARDS, TenantKey, Whose, shard_of
from taketurns.tenants import is_tenant, owner_by, owner_of_headers

if TYPE_CHECKING:
    from collections.abc import Callable

OWNERS = [f"user-{number}" for number in range(20_000)]


def organisation_of(owner: str) -> str:
    """Be a team's own key: user@organisation."""
    return owner.rpartition("@")[2]


def test_an_owner_is_its_own_tenant_by_default() -> None:
    """And nothing but the tenant is in the headers, as before there were keys."""
    whose = TenantKey().whose("acme")
    assert whose == Whose("acme", "acme")
    assert whose.headers() == {"taketurns_tenant": "acme"}


def test_shards_are_the_same_for_ever() -> None:
    """Another hash in a later version would send what follows old tasks elsewhere."""
    found = {owner: shard_of(owner, 256) for owner in ("acme", "bolt", "user-1@example.org")}
    assert found == {"acme": "shard-0126", "bolt": "shard-0218", "user-1@example.org": "shard-0220"}
    assert shard_of("acme", 1) == "shard-0000"


@given(st.text(min_size=1), st.integers(1, MOST_SHARDS))
def test_every_shard_is_a_tenant_below_their_number(owner: str, shards: int) -> None:
    """Whatever the owner is."""
    shard = shard_of(owner, shards)
    assert is_tenant(shard)
    assert 0 <= int(shard.removeprefix("shard-")) < shards


def test_owners_are_spread_evenly() -> None:
    """No shard of 16 has a fifth more or less of 20,000 owners than another one should."""
    sizes: dict[str, int] = {}
    for owner in OWNERS:
        sizes[shard_of(owner, 16)] = sizes.get(shard_of(owner, 16), 0) + 1
    assert len(sizes) == 16
    assert all(1000 < size < 1500 for size in sizes.values())


def test_few_owners_move_when_the_number_changes() -> None:
    """With 10 shards instead of 8 a fifth of them, and all to the new ones."""
    moved = [owner for owner in OWNERS if shard_of(owner, 8) != shard_of(owner, 10)]
    assert 0.18 < len(moved) / len(OWNERS) < 0.22
    assert {shard_of(owner, 10) for owner in moved} == {"shard-0008", "shard-0009"}


def test_a_function_maps_owners_and_the_message_names_both() -> None:
    """So isolation goes by the owner, and the queue by the tenant."""
    whose = TenantKey(organisation_of).whose("ann@acme")
    assert whose == Whose("ann@acme", "acme")
    assert whose.headers() == {"taketurns_tenant": "acme", "taketurns_owner": "ann@acme"}
    assert owner_of_headers(whose.headers()) == "ann@acme"
    assert owner_of_headers({"taketurns_tenant": "acme"}) == "acme"
    assert owner_of_headers(None) is None


@pytest.mark.parametrize("other", [{}, {"taketurns_owner": "eve"}, {"taketurns_tenant": "acme"}])
def test_what_headers_said_before_does_not_count(other: dict[str, Any]) -> None:
    """Nor is anything else in them touched."""
    headers = {**other, "id": "t-1"}
    assert Whose("ann", "acme").in_headers(headers) == {
        "id": "t-1",
        "taketurns_tenant": "acme",
        "taketurns_owner": "ann",
    }
    assert Whose("ann", "ann").in_headers(headers) == {"id": "t-1", "taketurns_tenant": "ann"}


@pytest.mark.parametrize("named", ["ann", None, "", 7, "no owner"])
def test_a_message_of_a_tenants_queue_is_the_owners_or_the_tenants(named: Any) -> None:
    """Whoever else wrote into the queue wrote for the tenant."""
    headers = {"taketurns_owner": named, "taketurns_tenant": "bolt"}
    assert owner_by(headers, "acme") == ("ann" if named == "ann" else "acme")
    assert owner_by(None, "acme") == "acme"


def test_what_was_accepted_goes_on_if_the_function_fails(caplog: pytest.LogCaptureFixture) -> None:
    """In the queue that it had."""
    assert TenantKey(organisation_of).whose_now("ann@acme", "bolt") == Whose("ann@acme", "acme")
    assert TenantKey(lambda _: str(1 / 0)).whose_now("ann", "bolt") == Whose("ann", "bolt")
    assert "ZeroDivision" in caplog.text


@pytest.mark.parametrize("returned", [None, "", "no tenant", 7, "ä"])
def test_what_a_function_returns_must_be_a_tenant_id(returned: Any) -> None:
    """The error names the function and the owner, and says what is accepted."""
    with pytest.raises(InvalidTenant, match=r"what tenant_key .*<lambda> returned for 'ann'.*1 to 128"):
        TenantKey(lambda _: returned).tenant_of("ann")


def test_a_function_that_fails_is_named() -> None:
    """Its error is the cause."""
    with pytest.raises(
        TenantKeyFailed, match=r"tenant_key .* failed for owner 'ann': .*ZeroDivision"
    ) as told:
        TenantKey(lambda _: str(1 / 0)).tenant_of("ann")
    assert isinstance(told.value.__cause__, ZeroDivisionError)


def test_a_function_may_be_named_by_its_place() -> None:
    """It is imported at its first use, since it may be in the module that is creating the app."""
    assert TenantKey("unit.test_tenant_key:organisation_of").tenant_of("ann@acme") == "acme"


@pytest.mark.parametrize("place", ["nowhere:f", "json:nothing", "json:__name__"])
def test_a_place_without_a_function_is_told(place: str) -> None:
    """With the name of the setting."""
    with pytest.raises(InvalidSettings, match=f"TAKETURNS_TENANT_KEY_FUNCTION: '{place}'"):
        TenantKey(place).check()


def test_only_one_of_the_ways_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the function must be one."""
    with pytest.raises(InvalidSettings, match="exclude each other"):
        TenantKey(organisation_of, shards=4)
    with pytest.raises(InvalidInput, match=r"tenant_key: .*a function of an owner"):
        TenantKey(7)  # type: ignore[arg-type]
    monkeypatch.setenv("TAKETURNS_TENANT_KEY_SHARDS", "4")
    monkeypatch.setenv("TAKETURNS_TENANT_KEY_FUNCTION", "shop.keys:organisation_of")
    with pytest.raises(InvalidSettings, match="exclude each other"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"), [("SHARDS", "0"), ("SHARDS", "10001"), ("SHARDS", "many"), ("FUNCTION", "shop.keys")]
)
def test_settings_that_can_not_be_used_are_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start."""
    monkeypatch.setenv(f"TAKETURNS_TENANT_KEY_{name}", value)
    with pytest.raises(InvalidSettings, match=f"TAKETURNS_TENANT_KEY_{name}: "):
        Settings.load()


def test_the_settings_make_the_key_of_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the app tells whose queue an owner's tasks go to."""
    monkeypatch.setenv("TAKETURNS_TENANT_KEY_SHARDS", "256")
    turns = TakeTurns(Celery("shop", set_as_current=False))
    assert turns.tenant_of("acme") == shard_of("acme", 256)
    with pytest.raises(InvalidTenant):
        turns.tenant_of("no tenant")


KEYS: list[Callable[[str], str]] = [organisation_of, lambda owner: shard_of(owner, 4), lambda _: "house"]


@pytest.mark.parametrize("function", KEYS)
def test_nothing_is_mapped_twice(function: Callable[[str], str]) -> None:
    """A retry has the headers of its message, and is mapped from the owner; so it stays where it was."""
    tenancy = Tenancy(key=TenantKey(function))
    first = tenancy.whose("shop.work", (), {}, {}, named="ann@acme")
    assert tenancy.whose("shop.work", (), {}, first.headers()) == first


def test_what_was_submitted_without_a_key_is_mapped_when_it_goes_on() -> None:
    """So the queues of an old mapping run empty."""
    before = TenantKey().whose("ann@acme").headers()
    assert Tenancy(key=TenantKey(organisation_of)).whose("work", (), {}, before) == Whose("ann@acme", "acme")


def test_what_follows_a_task_has_its_owner() -> None:
    """Signatures carry owners, and what a caller wrote into their headers does not count."""
    app = Celery("shop", set_as_current=False)
    TakeTurns(app, tenant_key=organisation_of)

    @app.task(base=TenantTask, shared=False)
    def work() -> None: ...

    given = give_tenant(work.s().set(headers={"taketurns_owner": "eve@evil"}), "ann@acme")
    assert given["options"]["tenant"] == "ann@acme"
    assert owner_of_headers(given["options"]["headers"]) == "ann@acme"
