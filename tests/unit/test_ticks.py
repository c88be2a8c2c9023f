"""The order of what the loop calls in each pass."""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace

from taketurns.worker.ticks import put_first


def test_one_comes_first_whatever_else_is_added_and_others_go_on_without_it() -> None:
    called: list[str] = []
    callbacks = {name: (lambda name=name: called.append(name)) for name in "abcdefgh"}
    hub = SimpleNamespace(on_tick={callbacks[name] for name in "abc"})
    put_first(hub, callbacks["d"])
    hub.on_tick.update(callbacks[name] for name in "efgh")
    for callback in copy(hub.on_tick):
        callback()
    assert called[0] == "d"
    assert sorted(called) == list("abcdefgh")
    hub.on_tick.discard(callbacks["d"])
    assert set(copy(hub.on_tick)) == set(callbacks.values()) - {callbacks["d"]}
