"""A tenant's settings: what is accepted, and the stored form."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.errors import InvalidInput, InvalidRate, InvalidWeight
from taketurns.registry.tenant_settings import LARGEST_WEIGHT, LEAST_WEIGHT, TenantSettings

RATES = st.builds("{}/{}{}".format, st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from("smhd"))

SETTINGS = st.builds(
    TenantSettings,
    rate_limit=st.none() | RATES,
    task_rate_limits=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), RATES, max_size=3),
    weight=st.floats(LEAST_WEIGHT, LARGEST_WEIGHT),
    max_concurrency=st.none() | st.integers(1),
    paused=st.booleans(),
    created_at=st.floats(0, 1e10),
)


@given(SETTINGS)
def test_the_stored_form_keeps_everything(settings: TenantSettings) -> None:
    """What is stored is read again, to the last digit."""
    assert TenantSettings.from_json(settings.to_json()) == settings


def test_another_version_may_have_stored_other_fields() -> None:
    """Fields that this version doesn't know are left out, and missing ones have their default."""
    stored = json.dumps({"weight": 2.0, "color": "blue"})
    assert TenantSettings.from_json(stored) == TenantSettings(weight=2.0)


def test_only_what_is_named_changes() -> None:
    """A change leaves the other fields as they were."""
    before = TenantSettings(rate_limit="10/1s", weight=2.0, max_concurrency=3, paused=True, created_at=5.0)
    after = before.changed(rate_limit=None, weight=4)
    assert after == TenantSettings(weight=4.0, max_concurrency=3, paused=True, created_at=5.0)


def test_task_rates_are_replaced_as_a_whole() -> None:
    """A new mapping of task rates takes the old one's place, and an empty one removes them all."""
    before = TenantSettings(task_rate_limits={"mail": "1/1s", "thumbnail": "2/1s"})
    assert before.changed(task_rate_limits={"mail": "5/1s"}).task_rate_limits == {"mail": "5/1s"}
    assert before.changed(task_rate_limits={}).task_rate_limits == {}


def test_settings_do_not_change_with_the_callers_mapping() -> None:
    """A mapping that the caller goes on using is copied."""
    rates = {"mail": "1/1s"}
    settings = TenantSettings().changed(task_rate_limits=rates)
    rates["mail"] = "9/1s"
    assert settings.task_rate_limits == {"mail": "1/1s"}


BAD: list[tuple[str, type[InvalidInput], list[Any]]] = [
    ("rate_limit", InvalidRate, ["often", "", 10, "0/1s", True, ["1/1s"]]),
    ("task_rate_limits", InvalidRate, [{"mail": "often"}, {"mail": None}, {"mail": 1}]),
    ("task_rate_limits", InvalidInput, [None, "1/1s", [], {1: "1/1s"}]),
    ("weight", InvalidWeight, [0, -1, math.nan, math.inf, -math.inf, 1e-320, 10**400, True, None, "2", ""]),
    ("max_concurrency", InvalidInput, [0, -1, 1.5, 2.0, True, "3", math.inf]),
    ("paused", InvalidInput, [None, 0, 1, "yes", "false"]),
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


GOOD: list[tuple[str, list[Any]]] = [
    ("rate_limit", [None, "1/1h", "10/60s:5"]),
    ("task_rate_limits", [{}, {"any name: {at} all": "1/1s"}]),
    ("weight", [1, 0.5, 100, LEAST_WEIGHT, LARGEST_WEIGHT]),
    ("max_concurrency", [None, 1, 10**9]),
    ("paused", [True, False]),
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
