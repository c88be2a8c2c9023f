"""Which limits a task of a tenant has."""

from __future__ import annotations

from taketurns.limits.book import LimitBook
from taketurns.limits.limiter import Limits
from taketurns.limits.rate import parse_rate
from taketurns.registry import TenantSettings

DEFAULT, TASK = parse_rate("100/1m"), parse_rate("10/1s")


def test_without_settings_nothing_is_limited() -> None:
    """A tenant of whom nothing is known has no limits, and that is false."""
    assert not LimitBook({}).limits("acme", "work")


def test_the_default_and_the_tasks_own_rate_are_for_everybody() -> None:
    """Every tenant has the default rate, and the rate that the task declares."""
    book = LimitBook({"beta": TenantSettings(weight=2.0)}, DEFAULT)
    for tenant in ("acme", "beta"):
        assert book.limits(tenant, "work", TASK) == Limits(tenant_rate=DEFAULT, task_rate=TASK)


def test_a_tenants_own_limits_come_first() -> None:
    """What is set for a tenant replaces the default, and for a task what the task declares."""
    own = TenantSettings(rate_limit="1/1h", task_rate_limits={"work": "2/1s:3"}, max_concurrency=4)
    book = LimitBook({"acme": own}, DEFAULT)
    rate = parse_rate("1/1h")
    assert book.limits("acme", "work", TASK) == Limits(
        tenant_rate=rate, task_rate=parse_rate("2/1s:3"), max_concurrency=4
    )
    assert book.limits("acme", "other", TASK) == Limits(tenant_rate=rate, task_rate=TASK, max_concurrency=4)
    assert book.limits("beta", "work", None) == Limits(tenant_rate=DEFAULT)


def test_a_priority_may_have_a_rate_of_its_own() -> None:
    """It holds beside the others, for the messages of this priority only; one without a priority is a low one."""
    book = LimitBook({"acme": TenantSettings(priority_rate_limits={"low": "1/1h", "high": "5/1s"})})
    low = Limits(priority_rate=parse_rate("1/1h"), priority="low")
    assert book.limits("acme", "work", priority=0) == book.limits("acme", "work") == low
    assert book.limits("acme", "work", priority=2) == Limits(
        priority_rate=parse_rate("5/1s"), priority="high"
    )
    assert not book.limits("acme", "work", priority=1)
