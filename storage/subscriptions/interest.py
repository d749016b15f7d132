"""Know which streams subscriptions listen to, at one LIST per second at most. Knows configurations; nothing of wakes.

What a process knows is at most STALE_SECONDS old whenever it appends. A subscription that is newer than that finds
what it missed by itself: it looks at its streams once more SCAN_MS after it was made.
"""

import asyncio

import msgspec

from storage.bucket import Bucket, reading
from storage.core.subscription import PREFIX, Config, Subscription, is_matched, relative_path
from storage.objects import LIST_LIMIT, Entry
from storage.subscriptions.records import Records

REFRESH_SECONDS = 1.0  # between the beginnings of two LISTs
STALE_SECONDS = 1.5  # above REFRESH_SECONDS by what a LIST takes, so that a busy appender never waits for one
SCAN_MS = (1_750, 60_000)  # above STALE_SECONDS; the second for an append that was under way for long, and crashed
MATCHES_KEPT = 50_000  # paths whose subscriptions are remembered


class _Known(msgspec.Struct, frozen=True):
    etag: str
    root: str
    config: Config
    explicit: frozenset[str]
    deleted: bool


class Interest:
    """The subscriptions of a store, as one process knows them."""

    def __init__(self, bucket: Bucket, records: Records) -> None:
        self._bucket = bucket
        self._records = records
        self._known: dict[str, _Known] = {}
        self._matches: dict[str, tuple[str, ...]] = {}
        self._began = float("-inf")  # steady seconds at which the last LIST began that has been taken over
        self._asked = float("-inf")
        self._listing: asyncio.Task[None] | None = None

    def is_fresh(self) -> bool:
        """Say whether what is known is young enough to append by; if it is getting old, begin to renew it."""
        now = self._bucket.clock.steady()
        if now - self._began <= REFRESH_SECONDS:
            return True
        if now - self._asked > REFRESH_SECONDS:
            self._begin()
        return now - self._began <= STALE_SECONDS

    async def fresh(self) -> None:
        """Wait until what is known is young enough. Raises LogError."""
        while self._bucket.clock.steady() - self._began > STALE_SECONDS:
            await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._listing is None:
            self._listing = asyncio.create_task(self._renew())
            self._listing.add_done_callback(_retrieve)
        return self._listing

    async def _renew(self) -> None:
        try:
            await self._list()
        finally:
            self._listing = None

    def matching(self, path: str) -> tuple[str, ...]:
        """Return the keys of the subscriptions that listen to a stream."""
        keys = self._matches.get(path)
        if keys is None:
            if len(self._matches) >= MATCHES_KEPT:
                self._matches.clear()
            keys = self._matches[path] = tuple(key for key, known in self._known.items() if _listens(known, path))
        return keys

    def learn(self, subscription: Subscription, etag: str) -> None:
        """Take over a version that this process has read or written."""
        self._enter(subscription.key, subscription, etag)

    def _enter(self, key: str, subscription: Subscription, etag: str) -> None:
        explicit = frozenset(path for path, link in subscription.links.items() if link.explicit)
        new = _Known(etag, subscription.root, subscription.config, explicit, subscription.deleted)
        old = self._known.get(key)
        self._known[key] = new
        if old is None or (old.config, old.explicit, old.deleted) != (new.config, new.explicit, new.deleted):
            self._matches.clear()

    async def _list(self) -> None:
        self._asked = began = self._bucket.clock.steady()
        before = dict(self._known)
        there: dict[str, Entry] = {}
        after = ""
        while True:
            entries = await reading(self._bucket.objects.list(PREFIX, after=after))
            there.update((entry.key, entry) for entry in entries)
            if len(entries) < LIST_LIMIT:
                break
            after = entries[-1].key
        changed = [key for key, entry in there.items() if key not in before or before[key].etag != entry.etag]
        gate = asyncio.Semaphore(self._bucket.settings.parallel_gets)

        async def read(key: str) -> None:
            async with gate:
                found = await self._records.read(key)
            # What this process itself has written meanwhile may be newer than what was read.
            if found is not None and self._known.get(key) is before.get(key):
                self._enter(key, found.subscription, found.etag)

        await asyncio.gather(*map(read, changed))
        self._began = began

    async def aclose(self) -> None:
        """Let go of the renewal under way."""
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.gather(self._listing, return_exceptions=True)


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # those who need the list hear of it; the next one begins another


def _listens(known: _Known, path: str) -> bool:
    if known.deleted:
        return False
    relative = relative_path(known.root, path)
    return relative is not None and (relative in known.explicit or is_matched(known.config, relative))
