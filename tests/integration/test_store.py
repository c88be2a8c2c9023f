"""The store on a real Redis. What it does while Redis is away: see test_redis_outage.py."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from taketurns.errors import InvalidSettings, RegistryRefused, RegistryUnavailable
from taketurns.settings import RedisSettings
from taketurns.store import Store

if TYPE_CHECKING:
    from support.servers import Servers

TENANTS = st.from_regex(r"[a-c][a-c:+]{0,4}", fullmatch=True)
PARTS = st.lists(st.text("abc:{}+", max_size=5), max_size=1)


def echo(store: Store, text: str) -> str:
    return str(store.call(lambda redis: redis.echo(text)))


def test_a_call_returns_what_its_operation_returns(store: Store) -> None:
    """An operation is given a client whose answers are strings."""
    key = store.key("greeting")
    store.call(lambda redis: redis.set(key, "grüß Gott", px=60_000))
    assert store.call(lambda redis: redis.get(key)) == "grüß Gott"
    store.ping()


def test_every_key_begins_with_the_prefix(store: Store, redis_prefix: str) -> None:
    """Two installations with two prefixes share a Redis."""
    assert store.key("a", "b") == f"{redis_prefix}:a:b"
    assert store.tenant_key("acme", "rate") == f"{redis_prefix}:{{acme}}:rate"


@given(st.lists(st.tuples(TENANTS, PARTS), min_size=2, max_size=2))
def test_no_two_tenants_or_tasks_share_a_key(pairs: list[tuple[str, list[str]]]) -> None:
    """Colons in tenant ids, and anything in task names, lead to no common key; a tenant's keys share a slot."""
    store = Store(RedisSettings(redis_prefix="p:q"))
    (one, one_parts), (other, other_parts) = pairs
    keys = [store.tenant_key(one, "rate", *one_parts), store.tenant_key(other, "rate", *other_parts)]
    assert (keys[0] == keys[1]) == (pairs[0] == pairs[1])
    if one == other:
        assert key_slot(keys[0].encode()) == key_slot(keys[1].encode()) == key_slot(one.encode())


def test_threads_get_their_own_answers(store: Store) -> None:
    """Threads that share a store never read each other's answer."""

    def check(thread: int) -> None:
        for number in range(100):
            assert echo(store, f"{thread}-{number}") == f"{thread}-{number}"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(check, range(8)))


def test_a_forked_child_has_its_own_connections(store: Store) -> None:
    """After a fork parent and child go on with the same store, and neither reads the other's answers."""

    def all_right(name: str) -> bool:
        return all(echo(store, f"{name}{number}") == f"{name}{number}" for number in range(200))

    store.ping()
    child = os.fork()
    if child == 0:
        os._exit(0 if all_right("child") else 1)
    parent_right = all_right("parent")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert parent_right


def test_a_closed_store_opens_again(store: Store) -> None:
    """Closing gives the connections back; the store itself stays usable."""
    store.ping()
    store.close()
    store.ping()


def test_a_refused_call_is_no_outage(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with one call is told with Redis' own words, and all others go on."""
    store.call(lambda redis: redis.set(store.key("text"), "text", px=60_000))
    with pytest.raises(RegistryRefused, match="WRONGTYPE"):
        store.call(lambda redis: redis.zcard(store.key("text")))
    with pytest.raises(RegistryRefused, match="user_script"):
        store.call(lambda redis: redis.eval("return cjson.decode('no JSON')", 0))
    write = store.batch("taketurns.records", "write.lua")
    with pytest.raises(RegistryRefused):
        write([([store.key(str(place))] * 4, [1, 1, 1, "", 1, "no JSON"]) for place in range(2)])
    store.ping()
    assert "Redis is away" not in caplog.text


def test_a_url_that_leads_nowhere_is_refused() -> None:
    """A URL that can't be used is told by the setting's name when the store is made."""
    with pytest.raises(InvalidSettings, match=r"^TAKETURNS_REDIS_URL: "):
        Store(RedisSettings(redis_url="redis://127.0.0.1:port"))


@pytest.mark.parametrize("options", ["socket_timeout=30", "retry_on_timeout=yes", "decode_responses=no"])
def test_the_url_does_not_undo_the_manners(servers: Servers, options: str) -> None:
    """Options in the URL change neither timeouts nor retries nor the kind of answers."""
    store = Store(RedisSettings(redis_url=f"{servers.redis_url}?{options}", redis_timeout=0.2))

    def look(redis: object) -> tuple[float, float, int, str]:
        pool = redis.connection_pool  # type: ignore[attr-defined]  # redis-py's, as at work
        connection = pool.get_connection()
        try:
            retries = connection.retry.get_retries()
            return connection.socket_timeout, connection.socket_connect_timeout, retries, redis.echo("x")  # type: ignore[attr-defined]
        finally:
            pool.release(connection)

    assert store.call(look) == (0.2, 0.2, 0, "x")
    store.close()


def test_a_call_waits_for_a_connection(servers: Servers) -> None:
    """However many threads call, there are no more connections than may be, and none of the calls fails."""
    settings = RedisSettings(redis_url=servers.redis_url, redis_connections=2)
    with Store(settings) as store, ThreadPoolExecutor(100) as pool:
        ids = set(pool.map(lambda _: store.call(lambda redis: redis.client_id()), range(500)))
    assert 1 <= len(ids) <= 2


def test_no_free_connection_is_no_outage(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    """Who waited too long is told the setting; the next call goes through as soon as one is free."""
    settings = RedisSettings(redis_url=servers.redis_url, redis_connections=1)
    with Store(settings) as store:

        def hold(redis: Any) -> None:
            with redis.pipeline() as pipe:
                pipe.watch("any")  # keeps the connection
                with pytest.raises(RegistryUnavailable, match=r"all 1 .*TAKETURNS_REDIS_CONNECTIONS"):
                    store.ping()

        store.call(hold)
        store.ping()
    assert not caplog.records
