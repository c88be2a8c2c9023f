"""API keys over real HTTP: who they speak for, until when, and what Redis has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis

from support.api_server import Client, assert_problem, serving, shop
from support.outages import without_redis
from taketurns.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from taketurns import TakeTurns
    from taketurns.settings import Settings


def get(api: Client, path: str, key: str) -> httpx.Response:
    return api.get(path, headers={"Authorization": f"Bearer {key}"})


def test_a_key_speaks_for_its_tenant_until_it_is_revoked(api: Client, turns: TakeTurns) -> None:
    """A revocation by another process counts from the next request on, in every API process."""
    with serving(shop(turns.settings)) as other:
        key = turns.registry.api_keys.create("acme", name="import")
        for each in (api, other):
            assert get(each, "/me", key.text).json()["tenant"] == "acme"
            assert get(each, "/status", key.text).status_code == 403
        assert turns.registry.api_keys.revoke(key.key.id)
        for each in (api, other):
            assert_problem(get(each, "/me", key.text), 401, code="not_authenticated")
    assert not turns.registry.api_keys.revoke(key.key.id)


def test_an_operators_key_sees_all_tenants(api: Client, turns: TakeTurns) -> None:
    key = turns.registry.api_keys.create("root", operator=True)
    assert get(api, "/tenants", key.text).status_code == 200


def test_a_key_that_is_not_quite_right_is_refused(api: Client, turns: TakeTurns) -> None:
    """A wrong secret, the id of another key, an unknown id, and parts of a key."""
    keys = turns.registry.api_keys
    text, other = keys.create("acme").text, keys.create("globex").text
    head, key_id, secret = text.split("_")
    for wrong in (
        f"{text[:-1]}{'0' if text[-1] != '0' else '1'}",
        f"{head}_{other.split('_')[1]}_{secret}",
        f"{head}_{'0' * 12}_{secret}",
        f"{head}_{key_id}_",
        f"{text}0",
        text.upper(),
        secret,
    ):
        assert_problem(get(api, "/me", wrong), 401, code="not_authenticated")


def test_a_key_expires(api: Client, turns: TakeTurns, eventually: Callable[..., None]) -> None:
    """It is valid for the seconds that were said, and is listed afterwards too."""
    key = turns.registry.api_keys.create("acme", expires_in=1.5)
    assert get(api, "/me", key.text).status_code == 200
    eventually(lambda: get(api, "/me", key.text).status_code == 401, within=5)
    assert turns.registry.api_keys.all() == [key.key]


def test_redis_has_no_key(turns: TakeTurns, settings: Settings) -> None:
    """Neither the list nor anything in Redis tells the key or its secret."""
    text, key = turns.registry.api_keys.create("acme", name="import")
    secret = text.split("_")[2]
    with Redis.from_url(settings.redis.redis_url, decode_responses=True) as redis:
        stored = redis.hgetall(f"{settings.redis.redis_prefix}:{{.all}}:api-keys")
    assert list(stored) == [key.id]
    assert secret not in repr(stored)
    assert secret not in repr(turns.registry.api_keys.all())


def test_without_redis_keys_cannot_be_checked(settings: Settings, nowhere: str) -> None:
    """Neither accepted nor called wrong: 503, and when to try again. Tokens go on."""
    with serving(shop(without_redis(settings, nowhere))) as api, api.as_("acme") as acme:
        response = get(api, "/status", f"taketurns_{'0' * 12}_{'0' * 64}")
        assert_problem(response, 503, code="redis_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert acme.get("/status").status_code == 403


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "acme", "name": "x" * 101}, "name"),
        ({"tenant": "acme", "name": "a\nb"}, "name"),
        ({"tenant": "acme", "expires_in": 0}, "expires_in"),
        ({"tenant": "acme", "expires_in": float("nan")}, "expires_in"),
        ({"tenant": "acme", "expires_in": "90d"}, "expires_in"),
    ],
)
def test_a_key_of_wrong_values_is_not_made(given: dict[str, object], field: str, turns: TakeTurns) -> None:
    with pytest.raises(InvalidInput) as error:
        turns.registry.api_keys.create(**given)  # type: ignore[arg-type]
    assert error.value.field == field
    assert turns.registry.api_keys.all() == []
