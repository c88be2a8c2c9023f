"""How many tasks of a tenant may wait, and when to try again."""

from __future__ import annotations

import pytest

from taketurns.limits.backlog import BacklogCap
from taketurns.limits.rate import parse_rate
from taketurns.registry.tenant_settings import TenantSettings
from taketurns.settings import LimiterSettings

NO_DEFAULTS = LimiterSettings(default_max_backlog=None, default_rate_limit=None)
DEFAULTS = LimiterSettings(default_max_backlog=100, default_rate_limit="1/1s")


@pytest.mark.parametrize(
    ("settings", "defaults", "cap"),
    [
        (TenantSettings(), NO_DEFAULTS, None),
        (TenantSettings(rate_limit="10/1s"), NO_DEFAULTS, None),
        (TenantSettings(max_backlog=5), NO_DEFAULTS, BacklogCap(5)),
        (TenantSettings(), DEFAULTS, BacklogCap(100, parse_rate("1/1s"))),
        (TenantSettings(max_backlog=5, rate_limit="10/1s"), DEFAULTS, BacklogCap(5, parse_rate("10/1s"))),
    ],
)
def test_a_tenants_own_cap_and_rate_come_before_the_defaults(
    settings: TenantSettings, defaults: LimiterSettings, cap: BacklogCap | None
) -> None:
    """Without either there is no cap."""
    assert BacklogCap.of(settings, defaults) == cap


@pytest.mark.parametrize(
    ("rate", "backlog", "seconds"),
    [
        (None, 10, 5.0),
        (None, 10_000, 5.0),
        ("10/1s", 10, 0.1),
        ("10/1s:10", 14, 0.5),
        ("1/10s", 12, 30.0),
        ("1/1d", 10, 60.0),
    ],
)
def test_it_is_worth_another_try_when_the_rate_has_made_room(
    rate: str | None, backlog: int, seconds: float
) -> None:
    """One task must start for each that is too many, and for the new one; in a minute at the latest."""
    cap = BacklogCap(10, parse_rate(rate) if rate else None)
    assert cap.retry_after(backlog) == pytest.approx(seconds)
