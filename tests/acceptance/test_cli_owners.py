"""Owners that share a tenant on the command line, run as people run it, on real servers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.command import assert_one_line, parsed
from support.letters import bury
from taketurns.tenant_key import shard_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from taketurns import TakeTurns

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sharing(taketurns: Run) -> Run:
    """Return a function that runs ``taketurns -A APP ARGUMENTS`` where all owners share one tenant."""
    return partial(taketurns, TAKETURNS_TENANT_KEY_SHARDS="1")


def test_an_owners_tenant_is_told(taketurns: Run, sharing: Run) -> None:
    """Its own by default; and what can't be an owner is refused."""
    assert taketurns("tenants", "of", "ann").stdout == "ann\n"
    assert sharing("tenants", "of", "ann").stdout == "shard-0000\n"
    found = taketurns("tenants", "of", "ann", "--json", TAKETURNS_TENANT_KEY_SHARDS="256")
    assert parsed(found) == {"owner": "ann", "tenant": shard_of("ann", 256)}
    assert_one_line(taketurns("tenants", "of", "no owner"), ".*'no owner'.*")


def test_an_owners_tasks_are_submitted_listed_and_cancelled(sharing: Run) -> None:
    """Those of another owner in the same tenant are not touched, whatever is named."""
    for owner in ("ann", "ben"):
        submitted = sharing("tenants", "submit", owner, "shop.anything", "--count", "2")
        assert submitted.returncode == 0, submitted.stderr
    mine, theirs = (parsed(sharing("tasks", "list", owner, "--json")) for owner in ("ann", "ben"))
    assert [each["tenant"] for each in (*mine, *theirs)] == ["ann", "ann", "ben", "ben"]
    assert {each["queue"] for each in (*mine, *theirs)} == {"usersequence_shard-0000"}
    assert parsed(sharing("tasks", "list", "shard-0000", "--json")) == []
    refused = sharing("tasks", "show", "ann", theirs[0]["task_id"])
    assert_one_line(refused, f"of ann no task .*{theirs[0]['task_id']}.*")
    refused = sharing("tasks", "cancel", "ann", theirs[0]["task_id"])
    assert refused.returncode == 1
    assert f"of ann no task of the id {theirs[0]['task_id']!r}" in refused.stderr
    assert parsed(sharing("tasks", "cancel", "ann", "--all", "--yes", "--json"))["cancelled"] == 2
    assert {each["status"] for each in parsed(sharing("tasks", "list", "ben", "--json"))} == {"QUEUED"}


def test_an_owners_dead_letters_are_chosen(sharing: Run, turns: TakeTurns) -> None:
    """Among those of the tenant that it shares."""
    bury(turns, "d-1", "shard-0000", owner="ann")
    bury(turns, "d-2", "shard-0000", owner="ben")
    (letter,) = parsed(sharing("dead", "list", "--owner", "ann", "--json"))["letters"]
    assert (letter["id"], letter["tenant"], letter["owner"]) == ("d-1", "shard-0000", "ann")
    assert "ann" in sharing("dead", "show", "d-1").stdout
    assert parsed(sharing("dead", "replay", "--owner", "ann", "--json"))["replayed"] == 1
    assert parsed(sharing("dead", "discard", "--owner", "ann", "--yes", "--json"))["discarded"] == 0
    assert [each.id for each in turns.dead_letters.list()] == ["d-2"]
    assert_one_line(sharing("dead", "list", "--owner", "no owner"), ".*owner.*")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"TAKETURNS_TENANT_KEY_SHARDS": "0"}, "TAKETURNS_TENANT_KEY_SHARDS"),
        ({"TAKETURNS_TENANT_KEY_FUNCTION": "nowhere"}, "TAKETURNS_TENANT_KEY_FUNCTION"),
        ({"TAKETURNS_TENANT_KEY_FUNCTION": "nowhere:f"}, "TAKETURNS_TENANT_KEY_FUNCTION"),
        (
            {"TAKETURNS_TENANT_KEY_SHARDS": "4", "TAKETURNS_TENANT_KEY_FUNCTION": "json:dumps"},
            "exclude each other",
        ),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(taketurns: Run, variables: dict[str, str], named: str) -> None:
    assert_one_line(taketurns("tenants", "of", "ann", **variables), f".*{named}.*")
