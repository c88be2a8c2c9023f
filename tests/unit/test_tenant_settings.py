"""A tenant's settings: what is accepted, and the stored form."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.nesting import nested
from taketurns.errors import InvalidInput, InvalidRate, InvalidWeight
from taketurns.registry.tenant_settings import LARGEST_NUMBER, LARGEST_WEIGHT, LEAST_WEIGHT, TenantSettings

RATES = st.builds("{}/{}{}".format, st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from("smhd"))

TAGS = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    max_size=4,
)
METADATA = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text("aé"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aé"), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)

SETTINGS = st.builds(
    TenantSettings,
    rate_limit=st.none() | RATES,
    task_rate_limits=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), RATES, max_size=3
    ),
    weight=st.floats(LEAST_WEIGHT, LARGEST_WEIGHT),
    max_concurrency=st.none() | st.integers(1, LARGEST_NUMBER),
    burst_when_idle=st.booleans(),
    max_backlog=st.none() | st.integers(1, LARGEST_NUMBER),
    priority_rate_limits=st.dictionaries(st.sampled_from(["low", "normal", "high"]), RATES),
    paused=st.booleans(),
    tags=TAGS,
    metadata=METADATA,
    created_at=st.floats(0, 1e10),
)


@given(SETTINGS)
def test_the_stored_form_keeps_everything(settings: TenantSettings) -> None:
    """What is stored is read again, to the last digit."""
    assert TenantSettings.from_json(settings.to_json()) == settings


@given(SETTINGS)
def test_what_is_set_comes_back(settings: TenantSettings) -> None:
    """Every setting of the accepted form is taken as it is."""
    fields = {name: value for name, value in asdict(settings).items() if name != "created_at"}
    assert asdict(TenantSettings().changed(**fields)) == {**asdict(settings), "created_at": 0.0}


def test_another_version_may_have_stored_other_fields() -> None:
    """Fields that this version doesn't know are left out, and missing ones have their default."""
    stored = json.dumps({"weight": 2.0, "color": "blue"})
    assert TenantSettings.from_json(stored) == TenantSettings(weight=2.0)


def test_only_what_is_named_changes() -> None:
    """A change leaves the other fields as they were."""
    before = TenantSettings(rate_limit="10/1s", weight=2.0, max_concurrency=3, paused=True, created_at=5.0)
    after = before.changed(rate_limit=None, weight=4)
    assert after == TenantSettings(weight=4.0, max_concurrency=3, paused=True, created_at=5.0)


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("task_rate_limits", {"mail": "1/1s", "thumbnail": "2/1s"}, {"mail": "5/1s"}),
        ("priority_rate_limits", {"low": "1/1s", "high": "2/1s"}, {"low": "5/1s"}),
        ("tags", {"plan": "pro", "region": "eu"}, {"plan": "free"}),
        ("metadata", {"a": 1, "b": {"c": 2}}, {"b": {}}),
    ],
)
def test_a_mapping_is_replaced_as_a_whole(field: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """A new mapping takes the old one's place, and an empty one removes it all."""
    before = TenantSettings().changed(**{field: old})
    assert getattr(before.changed(**{field: new}), field) == new
    assert getattr(before.changed(**{field: {}}), field) == {}


def test_settings_do_not_change_with_the_callers_mapping() -> None:
    """What the caller goes on using is copied, with all that is in it."""
    rates, tags, metadata = {"mail": "1/1s"}, {"plan": "pro"}, {"a": [1]}
    settings = TenantSettings().changed(task_rate_limits=rates, tags=tags, metadata=metadata)
    rates["mail"] = "9/1s"
    tags["plan"] = "free"
    metadata["a"].append(2)
    assert settings.task_rate_limits == {"mail": "1/1s"}
    assert settings.tags == {"plan": "pro"}
    assert settings.metadata == {"a": [1]}


def test_single_tags_are_set_and_removed() -> None:
    """Tags that are not named stay; None removes one, also one that is not there."""
    before = TenantSettings(tags={"plan": "pro", "region": "eu"})
    after = before.tagged({"plan": "free", "size": "big", "region": None, "other": None})
    assert after.tags == {"plan": "free", "size": "big"}
    full = TenantSettings().changed(tags={f"k{n}": "v" for n in range(64)})
    assert len(full.tagged({"k0": None, "new": "v"}).tags) == 64
    bad_changes: list[Any] = [{"new": "v"}, {"k0": ""}, {"a b": "v"}, {"a b": None}, "k0"]
    for changes in bad_changes:
        with pytest.raises(InvalidInput, match=r"^tags: "):
            full.tagged(changes)


BAD: list[tuple[str, type[InvalidInput], list[Any]]] = [
    ("rate_limit", InvalidRate, ["often", "", 10, "0/1s", True, ["1/1s"]]),
    ("task_rate_limits", InvalidRate, [{"mail": "often"}, {"mail": None}, {"mail": 1}]),
    ("task_rate_limits", InvalidInput, [None, "1/1s", [], {1: "1/1s"}, {"": "1/1s"}]),
    ("weight", InvalidWeight, [0, -1, math.nan, math.inf, -math.inf, 1e-320, 10**400, True, None, "2", ""]),
    ("max_concurrency", InvalidInput, [0, -1, 1.5, 2.0, True, "3", math.inf, 2**31, 10**30]),
    ("max_backlog", InvalidInput, [0, -1, 1.5, 2.0, True, "3", math.inf, 2**31, 10**30]),
    ("paused", InvalidInput, [None, 0, 1, "yes", "false"]),
    ("burst_when_idle", InvalidInput, [None, 0, 1, "yes", "false"]),
    ("priority_rate_limits", InvalidRate, [{"low": "often"}, {"low": None}, {"high": 1}]),
    (
        "priority_rate_limits",
        InvalidInput,
        [None, "1/1s", [], {"urgent": "1/1s"}, {0: "1/1s"}, {"Low": "1/1s"}],
    ),
    (
        "tags",
        InvalidInput,
        [None, "plan=pro", [], {1: "x"}, {"": "x"}, {"-a": "x"}, {"a b": "x"}, {"ä": "x"}],
    ),
    (
        "tags",
        InvalidInput,
        [{"a\n": "x"}, {"a" * 64: "x"}, {"a": 1}, {"a": None}, {"a": ""}, {"a": "x" * 257}],
    ),
    ("tags", InvalidInput, [{"a": "\ud800"}, {f"k{n}": "v" for n in range(65)}]),
    (
        "metadata",
        InvalidInput,
        [None, "{}", [], 1, {1: 2}, {"a": {1: 2}}, {"a": math.nan}, {"a": [math.inf]}],
    ),
    ("metadata", InvalidInput, [{"a": {1, 2}}, {"a": (1,)}, {"a": "\ud800"}, {"\ud800": 1}, {"a": b"x"}]),
    ("metadata", InvalidInput, [{"a": "x" * 16377}, {"a": "é" * 8189}, {"a": nested(32)}, {"a": 10**5000}]),
]


@pytest.mark.parametrize(
    ("field", "error", "value"), [(field, error, value) for field, error, values in BAD for value in values]
)
def test_a_bad_value_is_told_by_its_field(field: str, error: type[InvalidInput], value: Any) -> None:
    """A bad value raises the field's own error, which names the field."""
    with pytest.raises(error) as caught:
        TenantSettings().changed(**{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert len(str(caught.value)) < 600


GOOD: list[tuple[str, list[Any]]] = [
    ("rate_limit", [None, "1/1h", "10/60s:5"]),
    ("task_rate_limits", [{}, {"any name: {at} all": "1/1s"}]),
    ("weight", [1, 0.5, 100, LEAST_WEIGHT, LARGEST_WEIGHT]),
    ("max_concurrency", [None, 1, 2**31 - 1]),
    ("burst_when_idle", [True, False]),
    ("max_backlog", [None, 1, 2**31 - 1]),
    ("priority_rate_limits", [{}, {"low": "1/1h", "normal": "10/60s:5", "high": "1/1s"}]),
    ("paused", [True, False]),
    ("tags", [{}, {"0": "x"}, {"a._-Z9": "=, \n ä", "a" * 63: "x" * 256}, {f"k{n}": "v" for n in range(64)}]),
    ("metadata", [{}, {"": None}, {"a": "x" * 16376}, {"a": "é" * 8188}, {"a": nested(31)}, {"a": 10**400}]),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in GOOD for value in values])
def test_a_good_value_is_taken_as_it_is(field: str, value: Any) -> None:
    """A good value comes back as it was given."""
    assert getattr(TenantSettings().changed(**{field: value}), field) == value


@pytest.mark.parametrize("field", ["created_at", "wieght"])
def test_there_are_no_other_fields(field: str) -> None:
    """A field that can't be set is a mistake in the program, not in its input."""
    with pytest.raises(TypeError, match=f"no setting '{field}'"):
        TenantSettings().changed(**{field: 1.0})
