"""Who is in the canary: decided by the tenant's id alone, the same everywhere and for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.errors import InvalidInput, InvalidTenant
from taketurns.migration.canary import EVERYBODY, Canary, position, read_tenants

TENANTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,40}", fullmatch=True)
PERCENT = st.floats(0, 100)


def test_everybody_is_in_unless_something_is_set() -> None:
    """Nothing set means that each tenant has its queue."""
    assert Canary().has("acme")
    assert Canary() == EVERYBODY
    assert EVERYBODY.has_everybody


@given(TENANTS, PERCENT, PERCENT)
def test_who_is_in_at_a_percentage_is_in_at_a_larger_one(tenant: str, one: float, another: float) -> None:
    """Raising the percentage takes nobody out."""
    smaller, larger = sorted((one, another))
    assert not Canary(smaller).has(tenant) or Canary(larger).has(tenant)


@given(TENANTS)
def test_nobody_and_everybody_have_no_exception(tenant: str) -> None:
    """At 0 % no tenant is in, and at 100 % every one."""
    assert not Canary(0).has(tenant)
    assert Canary(100).has(tenant)


def test_a_tenants_place_is_the_same_in_every_process_and_version() -> None:
    """A change of these would move customers between old and new queues in the middle of a migration."""
    places = {tenant: round(position(tenant), 6) for tenant in ("acme", "bolt", "a")}
    assert places == {"acme": 50.847171, "bolt": 81.524346, "a": 79.137427}


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_a_percentage_of_the_tenants_is_in(percent: float) -> None:
    """Of ten thousand tenants with ids in a row it is that share, as far as chance lets it."""
    found = sum(Canary(percent).has(f"tenant-{number}") for number in range(10_000))
    assert abs(found - percent * 100) < 4 * (100 * percent * (1 - percent / 100)) ** 0.5


def test_a_list_alone_lets_nobody_else_in() -> None:
    """With a percentage, those on the list are in besides."""
    listed = Canary(tenants=frozenset({"acme"}))
    assert listed.has("acme")
    assert not any(listed.has(f"tenant-{number}") for number in range(1000))
    both = Canary(50, frozenset({"acme"}))
    assert both.has("acme")
    assert any(both.has(f"tenant-{number}") for number in range(1000))


def test_who_is_excluded_is_out_in_any_case() -> None:
    """Before the list and the percentage."""
    canary = Canary(100, frozenset({"acme"}), frozenset({"acme"}))
    assert not canary.has("acme")
    assert canary.has("bolt")
    assert not canary.has_everybody


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan"), True, "10"])
def test_a_percentage_is_a_number_from_0_to_100(percent: object) -> None:
    """Anything else is an error that names the field."""
    with pytest.raises(InvalidInput, match=r"percent: .* accepted is a number from 0 to 100"):
        Canary(percent)  # type: ignore[arg-type]


def test_a_list_of_tenants_is_read() -> None:
    """Spaces and a comma too many do no harm; what is no tenant id does."""
    assert read_tenants(" acme, bolt,") == {"acme", "bolt"}
    assert read_tenants("") == set()
    with pytest.raises(InvalidTenant, match="a/b"):
        read_tenants("acme,a/b")
    with pytest.raises(InvalidTenant):
        Canary(excluded=frozenset({"a b"}))


def test_a_change_leaves_the_rest_as_it_was() -> None:
    """The last tenant taken off a list lets nobody in, who was out before."""
    canary = EVERYBODY.changed(percent=10).changed(tenants=["acme"]).changed(excluded={"carl"})
    assert canary == Canary(10, frozenset({"acme"}), frozenset({"carl"}))
    assert Canary(tenants=frozenset({"acme"})).changed(tenants=()) == Canary(0)
    assert EVERYBODY.changed(excluded=["carl"]) == Canary(100, excluded=frozenset({"carl"}))


@given(st.builds(Canary, st.none() | PERCENT, st.frozensets(TENANTS), st.frozensets(TENANTS)))
def test_it_is_written_and_read(canary: Canary) -> None:
    """What one process writes another one reads."""
    assert Canary.from_json(canary.to_json()) == canary


@pytest.mark.parametrize(
    ("canary", "words"),
    [
        (Canary(), "every tenant"),
        (Canary(0), "no tenant"),
        (Canary(12.5), "12.5 % of the tenants"),
        (Canary(10, frozenset({"acme", "bolt"})), "10 % of the tenants and acme, bolt"),
        (Canary(None, frozenset("abcde")), "a, b, c and 2 more"),
        (Canary(100, excluded=frozenset({"carl"})), "every tenant but for carl"),
    ],
)
def test_it_is_said_in_words(canary: Canary, words: str) -> None:
    """For people."""
    assert str(canary) == words
