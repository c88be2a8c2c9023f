"""Rates and weights of no accepted form, tried wherever one can be given: the error names the field and the form."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from support.api_server import assert_problem
from support.command import invoke
from taketurns.errors import InvalidRate, InvalidSettings, InvalidWeight
from taketurns.settings import Settings

if TYPE_CHECKING:
    from support.api_server import Client
    from taketurns import TakeTurns

RATES = [
    "0/1s",
    "10",
    "1/0s",
    "-1/1m",
    "10/60x",
    "10/60s:0",
    "10/60s:-1",
    "10/",
    "/1s",
    "1.5/1s",
    "1/1.5s",
    "x/1s",
]
RATES += ["10/60", "10/1s ", "10 / 1s", "٣/1s", "1e3/1s", "10/1s:x", "10/1s:1:1"]
WEIGHTS = [0, -1, -0.5, -1e9]
JSON = {"Content-Type": "application/json"}

RATE_FORM = "count/period"
WEIGHT_FORM = "a number above zero"


def test_the_api_refuses_rates(operator: Client, turns: TakeTurns) -> None:
    """A 422 names the field, in a mapping too, with the form of a rate; nothing is set."""
    for rate in RATES:
        for field, value in (
            ("rate_limit", rate),
            ("priority_rate_limits", {"low": rate}),
        ):
            response = operator.patch("/tenants/acme", json={"paused": True, field: value})
            assert RATE_FORM in assert_problem(response, 422, code="invalid_input", field=field)
    assert not turns.registry.exists("acme")


def test_the_api_refuses_weights(operator: Client, turns: TakeTurns) -> None:
    """A 422 names the field, with the form of a weight; nothing is set."""
    for weight in (*WEIGHTS, float("nan"), float("inf"), "2", True):
        content = json.dumps({"paused": True, "weight": weight})
        response = operator.patch("/tenants/acme", content=content, headers=JSON)
        assert_problem(response, 422, code="invalid_input", field="weight")
    assert not turns.registry.exists("acme")


def test_the_library_refuses_rates_and_weights(turns: TakeTurns) -> None:
    """Whether for a tenant, for a type of tasks or for a priority."""
    update = turns.registry.update
    for rate in RATES:
        for field, value in (
            ("rate_limit", rate),
            ("task_rate_limits", {"shop.anything": rate}),
            ("priority_rate_limits", {"low": rate}),
        ):
            with pytest.raises(InvalidRate, match=f"^{field}: .*{RATE_FORM}"):
                update("acme", **{field: value})
    for weight in WEIGHTS:
        with pytest.raises(InvalidWeight, match=r"^weight: "):
            update("acme", weight=weight)
    assert not turns.registry.exists("acme")


def test_the_command_line_refuses_rates_and_weights() -> None:
    """One line names the option or the setting, with what is accepted."""
    rows = [(f"--rate={rate}", "rate_limit", RATE_FORM) for rate in RATES]
    rows += [(f"--task-rate=shop.mail={rate}", "--task-rate", RATE_FORM) for rate in RATES]
    rows += [(f"--priority-rate=low={rate}", "--priority-rate", RATE_FORM) for rate in RATES]
    rows += [(f"--weight={weight}", "weight", WEIGHT_FORM) for weight in WEIGHTS]
    for option, field, form in rows:
        result = invoke("tenants", "set", "acme", option)
        assert result.returncode == 1, (option, result.stderr)
        said = rf"taketurns: {field}: .* accepted is .*{form}.*\n"
        assert re.fullmatch(said, result.stderr), (option, result.stderr)


@pytest.mark.parametrize("rate", RATES)
def test_the_settings_refuse_rates(rate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default rate stops the start, by the variable's name and with the form of a rate."""
    monkeypatch.setenv("TAKETURNS_LIMITER_DEFAULT_RATE_LIMIT", rate)
    with pytest.raises(InvalidSettings, match=f"^TAKETURNS_LIMITER_DEFAULT_RATE_LIMIT: .*{RATE_FORM}"):
        Settings.load()
