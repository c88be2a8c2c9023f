"""When the entries of an app's own ``beat_schedule`` ran last, for all beats of the app together."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from celery.utils.time import maybe_make_aware

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import tzinfo

    from celery.beat import ScheduleEntry

    from taketurns.store import Client, Store


class LastRuns:
    """Remembers last runs in Redis. Every method raises RegistryUnavailable while that is away.

    Args:
        store: keeps them.
        zone: the app's time zone.
    """

    def __init__(self, store: Store, zone: tzinfo) -> None:
        self._store = store
        self._zone = zone
        self._key = store.key("{.all}", "beat-entries")
        self._known: dict[str, str] = {}

    def load(self, entries: Collection[ScheduleEntry]) -> None:
        """Have the entries know when they ran last; one of which nobody knows begins now.

        If Redis has lost its data since, they go on with what they know, so that no run is left out.
        """

        def read(redis: Client) -> dict[str, str]:
            stored = redis.hgetall(self._key)
            names = {entry.name for entry in entries}
            new = {entry.name: self._begun(entry) for entry in entries if entry.name not in stored}
            if gone := stored.keys() - names:
                redis.hdel(self._key, *gone)
            if new:
                redis.hset(self._key, mapping=new)
            return {name: text for name, text in {**stored, **new}.items() if name in names}

        self._known = self._store.call(read)
        for entry in entries:
            fields = json.loads(self._known[entry.name])
            last = datetime.fromisoformat(fields["last_run_at"])
            entry.last_run_at = maybe_make_aware(last).astimezone(self._zone)
            entry.total_run_count = fields["total_run_count"]

    def advance(self, entry: ScheduleEntry) -> bool:
        """Note that an entry runs; tells whether it may: not if another beat has noted a run since [load][]."""
        before, after = self._known.get(entry.name), _written(entry, entry.last_run_at)

        def attempt(pipe: Client) -> bool:
            is_ours = pipe.hget(self._key, entry.name) == before
            pipe.multi()
            if is_ours:
                pipe.hset(self._key, entry.name, after)
            return is_ours

        is_ours: bool = self._store.call(
            lambda redis: redis.transaction(attempt, self._key, value_from_callable=True)
        )
        if is_ours:
            self._known[entry.name] = after
        return is_ours

    def forget(self) -> None:
        """Forget what was loaded: from now on another beat runs the entries."""
        self._known = {}

    def _begun(self, entry: ScheduleEntry) -> str:
        return self._known.get(entry.name) or _written(entry, entry.default_now())


def _written(entry: ScheduleEntry, last_run_at: datetime) -> str:
    return json.dumps({"last_run_at": last_run_at.isoformat(), "total_run_count": entry.total_run_count})
