"""Tenant ids and the names of their queues."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.errors import InvalidTenant
from taketurns.tenants import QUEUE_PREFIX, queue_name, tenant_of, validate_tenant

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
TENANTS = st.builds(
    str.__add__,
    st.sampled_from(LETTERS_AND_DIGITS),
    st.text(LETTERS_AND_DIGITS + "._@:+-", max_size=127),
)


@given(TENANTS)
def test_a_queue_leads_back_to_its_tenant(tenant: str) -> None:
    """Each tenant id is accepted unchanged, and its queue's name tells it again."""
    assert validate_tenant(tenant) == tenant
    assert queue_name(tenant) == f"usersequence_{tenant}"
    assert tenant_of(queue_name(tenant)) == tenant


@given(TENANTS, TENANTS)
def test_two_tenants_never_share_a_queue(one: str, other: str) -> None:
    """Different tenants have different queues."""
    assert (queue_name(one) == queue_name(other)) == (one == other)


@pytest.mark.parametrize(
    "tenant",
    [
        *("", " ", ".acme", "_acme", "-acme", ":acme", "@acme", "+acme"),
        *("acme corp", "acme/corp", "acme#", "acme*", "acme{1}", "acme\n", "\nacme", "acme\0", "acme%20"),
        *("ACMÉ", "\u0430cme", "acme٣", "a" * 129),
        *(None, 7, b"acme", ["acme"], True),
    ],
)
def test_another_id_is_refused(tenant: object) -> None:
    """What is no tenant id is refused by every function, with field, value and the accepted form."""
    with pytest.raises(
        InvalidTenant, match=r"^tenant: .* is not valid; accepted is 1 to 128 characters"
    ) as caught:
        validate_tenant(tenant)
    assert caught.value.field == "tenant"
    assert caught.value.value == tenant
    with pytest.raises(InvalidTenant):
        queue_name(tenant)  # type: ignore[arg-type]  # as a caller without types would


@given(st.text() | st.text().map(lambda rest: QUEUE_PREFIX + rest))
def test_any_queue_name_is_told_apart(queue: str) -> None:
    """A queue is a tenant's exactly if it is the queue that this tenant would be given."""
    tenant = tenant_of(queue)
    assert tenant is None or queue_name(tenant) == queue


@pytest.mark.parametrize(
    "queue",
    ["celery", "usersequence", "usersequence_", "usersequence.lost", "xusersequence_a", "usersequence_a b"],
)
def test_other_queues_are_nobodys(queue: str) -> None:
    """Queues that are not tenant queues, our own shared ones among them, belong to no tenant."""
    assert tenant_of(queue) is None
