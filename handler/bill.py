"""Run named workloads against a store that counts, and say what a million of each would cost. Nothing leaves memory.

Time is simulated: an hour of waiting readers takes as long as their requests do.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from handler.core.prices import Workload
from storage.clock import Clock
from storage.core import keys
from storage.core.admission import Append
from storage.core.offset import Offset, Sentinel
from storage.core.producers import Claim
from storage.core.root import Config
from storage.core.sweeping import Sweeping
from storage.creation import Created, Creation
from storage.log import Log, LogSettings, Page
from storage.objects import LIST_LIMIT, NO_METADATA, Arriving, Condition, Entry, Head, Object
from storage.sqlite import SqliteObjects
from storage.sweep import Sweeper

TYPE = "text/plain"
MESSAGE = b"m" * 100
APPENDS = 4096  # enough for groups of groups, and groups of those
BATCH = 10
OBJECTS = 1024  # appends of a history that is read
LARGE = MESSAGE * 400
READERS = 100
STREAMS = 200
# What a page takes of a function: 512 MB, and 60 ms where nothing is cached. An assumption, unlike the requests.
PAGE_GB_SECONDS = 0.5 * 0.06
HOUR_SECONDS = 3600.0
LONG_POLL_SECONDS = 30.0

Entries = list[Entry]


class Metered:
    """A store in memory that counts what is asked of it."""

    name = "memory:"

    def __init__(self, objects: SqliteObjects) -> None:
        self._objects = objects
        self.unmetered = objects
        self.count: Counter[str] = Counter()

    def took(self) -> dict[str, int]:
        """Return the requests since the last call."""
        count, self.count = self.count, Counter()
        return dict(count)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        self.count["get"] += 1
        return await self._objects.get(key, start=start, length=length)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        self.count["get"] += 1
        return await self._objects.get_parts(key, start=start, length=length)

    async def head(self, key: str) -> Head | None:
        self.count["head"] += 1
        return await self._objects.head(key)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition,
        *,
        content_type: str = "application/octet-stream",
        cache_control: str = "",
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> str | None:
        self.count["put"] += 1
        return await self._objects.put(
            key, body, condition, content_type=content_type, cache_control=cache_control, metadata=metadata
        )

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> Entries:
        self.count["list"] += 1
        return await self._objects.list(prefix, after=after, limit=limit)

    async def delete(self, key: str) -> None:
        self.count["delete"] += 1
        await self._objects.delete(key)

    async def aclose(self) -> None:
        await self._objects.aclose()


class Hurry(asyncio.BaseEventLoop):
    """An event loop that does not wait: where it would, its clock moves on. Good for what has no sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[object]:
        self._now += timeout or 0.0
        return []

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class LoopClock(Clock):
    """The time of the loop."""

    def now_ms(self) -> int:
        return 1_750_000_000_000 + int(self.steady() * 1000)

    def steady(self) -> float:
        return asyncio.get_running_loop().time()


def run_bill() -> list[Workload]:
    """Run every workload."""
    return [_run(work) for work in WORKLOADS]


def _run(work: Callable[[Metered, Log], Coroutine[Any, Any, Workload]]) -> Workload:
    loop = Hurry()

    async def main() -> Workload:
        clock = LoopClock()
        store = Metered(await SqliteObjects.open_memory(now_ms=clock.now_ms))
        log = Log(store, LogSettings(), clock)
        workload = await work(store, log)
        await log.aclose()
        await store.aclose()
        return workload

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def _history(log: Log, store: Metered, appends: int, payload: bytes = MESSAGE) -> int:
    """Make a stream with a history; return its generation."""
    created = await log.create("s", Creation(Config(TYPE)))
    assert isinstance(created, Created)
    for _ in range(appends):
        await log.append("s", Append(payload, media_type=TYPE))
    await log.aclose()
    store.took()
    return created.stream.root.generation


async def single_appends(store: Metered, log: Log) -> Workload:
    """One message per request, one after the other, by a process that knows the tail; compaction included."""
    await _history(log, store, 0)
    for _ in range(APPENDS):
        await log.append("s", Append(MESSAGE, media_type=TYPE))
    await log.aclose()
    return Workload("single appends", "message", APPENDS, store.took())


async def batched_appends(store: Metered, log: Log) -> Workload:
    """A producer that sends ten messages at a time."""
    await _history(log, store, 0)
    for n in range(APPENDS // BATCH):
        await log.append("s", Append(MESSAGE * BATCH, media_type=TYPE, claim=Claim("p", 0, n)))
    await log.aclose()
    return Workload(f"appends by a producer, {BATCH} at a time", "message", APPENDS // BATCH * BATCH, store.took())


async def function_pages(store: Metered, log: Log) -> Workload:
    """A long compacted history read from its start by a process that knows nothing, page by page."""
    await _history(log, store, OBJECTS, LARGE)
    reader = Log(store, LogSettings(), LoopClock())
    pages = 0
    at: Offset | Sentinel = Sentinel.START
    while True:
        page = await reader.read("s", at)
        assert isinstance(page, Page)
        pages += 1
        if page.up_to_date:
            break
        at = Offset(page.root.generation, page.end)
    await reader.aclose()
    return Workload("catch-up through the function", "page of 4 MiB", pages, store.took(), 1, PAGE_GB_SECONDS)


async def cdn_pages(store: Metered, log: Log) -> Workload:
    """The same history from caches: each object is fetched once, and handed to a thousand readers."""
    generation = await _history(log, store, OBJECTS, LARGE)
    objects = await _follow(store, generation)
    viewers = 1000
    return Workload("catch-up through a CDN", "object", objects * viewers, store.took(), cdn_requests=1)


async def store_objects(store: Metered, log: Log) -> Workload:
    """The same history by whoever may read the bucket: one GET per object."""
    generation = await _history(log, store, OBJECTS, LARGE)
    objects = await _follow(store, generation)
    return Workload("catch-up straight from the store", "object", objects, store.took())


async def _follow(store: Metered, generation: int) -> int:
    """Read a chain by what each object says of the next; return how many objects it has."""
    count, at = 0, 0
    while True:
        found = await store.get(keys.chunks_of_generation("s", generation) + keys.complement(at))
        if found is None:
            return count
        count += 1
        at = int(found.head.metadata["next"].split("_")[1])


async def live_readers(store: Metered, log: Log) -> Workload:
    """A hundred readers who wait an hour in one process for a stream to which another one appends once a minute."""
    await _history(log, store, 1)
    reader = Log(store, LogSettings(), LoopClock())
    writer = Log(store.unmetered, LogSettings(), LoopClock())

    async def write() -> None:
        for _ in range(int(HOUR_SECONDS / 60)):
            await asyncio.sleep(60)
            await writer.append("s", Append(MESSAGE, media_type=TYPE))

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + HOUR_SECONDS
        at: Offset | Sentinel = Sentinel.NOW
        while loop.time() < until:
            page = await reader.read("s", at, wait_seconds=LONG_POLL_SECONDS)
            assert isinstance(page, Page)
            at = Offset(page.root.generation, page.end)

    await asyncio.gather(write(), *(wait() for _ in range(READERS)))
    await reader.aclose()
    await writer.aclose()
    return Workload(f"live readers, {READERS} of a stream", "reader-hour", READERS, store.took())


async def idle_streams(store: Metered, log: Log) -> Workload:
    """Streams that nobody uses: what the sweeper's daily round costs in a month."""
    for n in range(STREAMS):
        await log.create(f"s{n}", Creation(Config(TYPE), MESSAGE))
    store.took()
    days = 30
    sweeping = Sweeping(requests=10**9, requests_per_second=0.0)
    for _ in range(days):
        await asyncio.sleep(86_400)
        await Sweeper(store, LogSettings(), sweeping, LoopClock()).sweep()
    return Workload("idle streams, with a sweeper", "stream-month", STREAMS, store.took())


WORKLOADS: list[Callable[[Metered, Log], Coroutine[Any, Any, Workload]]] = [
    single_appends,
    batched_appends,
    function_pages,
    cdn_pages,
    store_objects,
    live_readers,
    idle_streams,
]
