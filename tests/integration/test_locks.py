"""The locks of tenants, on a real Redis."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import shop as small_shop
from support.outages import without_redis
from support.proxy import running
from support.reaping import flush
from taketurns.errors import InvalidInput, InvalidTenant, LockLost, LockTaken, RegistryUnavailable
from taketurns.locks.locks import LockName

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns import TakeTurns
    from taketurns.settings import Settings

BOOKS = LockName("acme", "lock", "books")


def test_one_holds_a_lock_at_a_time(turns: TakeTurns) -> None:
    """The next one when it is given up; locks of other names and tenants are others."""
    with turns.lock("acme", "books") as held:
        assert (held.held, held.tenant, held.name) == (True, "acme", "books")
        held.check()
        with pytest.raises(LockTaken, match="'books' of tenant 'acme'"):
            turns.lock("acme", "books")
        with turns.lock("acme", "mails"), turns.lock("bolt", "books"):
            pass
    assert not held.held
    with turns.lock("acme", "books"):
        pass


def test_an_error_gives_the_lock_up_and_comes_through(turns: TakeTurns) -> None:
    """As from any ``with``."""
    with pytest.raises(KeyError), turns.lock("acme", "books"):
        raise KeyError
    with turns.lock("acme", "books"):
        pass


def test_many_that_wait_hold_it_one_after_the_other(turns: TakeTurns) -> None:
    """Nobody is inside beside another, and each has a larger fencing token than those before."""
    inside = threading.Semaphore(1)
    fences: list[int] = []

    def enter(_: int) -> bool:
        with turns.lock("acme", "books", wait=None) as held:
            alone = inside.acquire(blocking=False)
            fences.append(held.fence)
            inside.release()
            return alone

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(enter, range(24)))
    assert fences == sorted(set(fences))
    assert len(fences) == 24


def test_a_lock_outlasts_its_ttl_while_it_is_held(turns: TakeTurns) -> None:
    """A thread renews it; who waits for several times its ttl waits in vain."""
    with turns.lock("acme", "books", ttl=0.3) as held:
        with pytest.raises(LockTaken):
            turns.lock("acme", "books", wait=1.5)
        held.check()


def test_the_lock_of_a_holder_that_died_is_free_after_its_ttl(turns: TakeTurns) -> None:
    """Nobody renews it any more."""
    turns.locks.ttl = 0.5
    assert turns.locks.take(BOOKS) is not None
    with pytest.raises(LockTaken):
        turns.lock("acme", "books")
    with turns.lock("acme", "books", wait=5):
        pass


def test_a_lock_is_renewed_for_so_long_and_no_longer(turns: TakeTurns) -> None:
    """A body that hangs does not keep others away for ever, and is told at its end."""
    held = turns.lock("acme", "books", ttl=0.3, longest=0.3)
    with pytest.raises(LockLost), held, turns.lock("acme", "books", wait=5):
        assert not held.held


def test_another_process_goes_on_with_a_hold(turns: TakeTurns) -> None:
    """With its ticket, and with a hold of its own if that one was lost, unless somebody has it."""
    turns.locks.ttl = 5
    ticket = turns.locks.take(BOOKS)
    assert ticket is not None
    with turns.locks.hold(BOOKS, ticket=ticket) as held:
        assert held.fence == ticket.fence
    with turns.locks.hold(BOOKS, ticket=ticket) as held:
        assert held.fence > ticket.fence
        with pytest.raises(LockTaken):
            turns.locks.hold(BOOKS, ticket=ticket)
        turns.locks.give_up(BOOKS, ticket)  # that of a hold that has ended touches nobody's
        held.check()


def test_a_lock_that_redis_lost_is_held_no_more(turns: TakeTurns, eventually: Callable[..., None]) -> None:
    """It is told while it should be held and at the end, and the next fencing token is larger all the same."""
    held = turns.lock("acme", "books", ttl=0.6)

    def use() -> None:
        with held:
            flush(turns)
            eventually(lambda: not held.held, within=3)
            with pytest.raises(LockLost):
                held.check()

    with pytest.raises(LockLost) as caught:
        use()
    assert (caught.value.tenant, caught.value.name) == ("acme", "books")
    with turns.lock("acme", "books") as again:
        assert again.fence > held.fence


def test_the_bodys_own_error_says_more_than_that_the_lock_was_lost(turns: TakeTurns) -> None:
    """It is the one that comes through."""

    def fail() -> None:
        with turns.lock("acme", "books"):
            flush(turns)
            raise KeyError

    with pytest.raises(KeyError):
        fail()


def test_nobody_gets_a_lock_while_redis_is_away(settings: Settings, nowhere: str) -> None:
    """The error says so, and soon."""
    with closing(small_shop(without_redis(settings, nowhere))) as turns:
        began = monotonic()
        for wait in (0.0, 30.0, None):
            with pytest.raises(RegistryUnavailable, match="Redis"):
                turns.lock("acme", "books", wait=wait)
        assert monotonic() - began < 2


def test_a_lock_that_cant_be_renewed_is_not_taken_for_held(
    settings: Settings, eventually: Callable[..., None]
) -> None:
    """While Redis is silent it is held until its ttl has passed; a body that ends before has had it all along."""
    with running(settings.redis.redis_url) as proxy:
        redis = settings.redis.model_copy(update={"redis_url": proxy.url})
        with closing(small_shop(replace(settings, redis=redis))) as turns:
            held, short = turns.lock("acme", "books", ttl=1), turns.lock("acme", "mails", ttl=30)

            def outlast() -> None:
                with held:
                    proxy.silence()
                    with short:
                        assert held.held
                    eventually(lambda: not held.held, within=3)

            with pytest.raises(LockLost) as caught:
                outlast()
            assert caught.value.name == "books"


def test_a_lock_whose_answer_was_lost_is_free_again_for_who_asked(settings: Settings) -> None:
    """Redis may have granted it: it is given up when it is asked for again, long before it would expire."""
    with running(settings.redis.redis_url) as proxy:
        redis = settings.redis.model_copy(update={"redis_url": proxy.url, "redis_retry_after": 0.1})
        with closing(small_shop(replace(settings, redis=redis))) as turns:
            turns.store.ping()
            proxy.silence()
            with pytest.raises(RegistryUnavailable):
                turns.locks.take(BOOKS)
            proxy.drop()
            granted = threading.Event()
            while not granted.wait(0.1):
                with suppress(RegistryUnavailable):
                    assert turns.locks.take(BOOKS) is not None
                    granted.set()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        *(({"ttl": each}, "ttl") for each in (0, 0.01, -1, "1", True, float("nan"), float("inf"))),
        *(({"wait": each}, "wait") for each in (-1, "1", float("nan"))),
        *(({"longest": each}, "longest") for each in (0, None)),
        *(({"name": each}, "name") for each in ("", "x" * 256, "\ud800", None, 5)),
    ],
    ids=ascii,
)
def test_what_cant_be_meant_is_refused(options: dict[str, Any], field: str, turns: TakeTurns) -> None:
    """With the field's name."""
    with pytest.raises(InvalidInput) as caught:
        turns.lock("acme", **{"name": "books", **options})
    assert caught.value.field == field
    with pytest.raises(InvalidTenant):
        turns.lock("a b", "books")
