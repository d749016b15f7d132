"""Clean up one generation: what is dead goes, what a superset holds too goes, groups nobody merged are merged.

Works in ascending order of positions and in small batches, so that what is left of a superset's intermediates is, but
for one batch, what lies last: a reader inside a superset finds it by one listing. Knows one generation at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from storage.bucket import Bucket, reading
from storage.cache import ChunkCache
from storage.compact import SETTLED_MS, Compactor
from storage.core import keys
from storage.core.chunk import Chunk, DamagedChunk, Kind, decode_chunk
from storage.core.compaction import Link, Trail, link_of
from storage.core.root import Root
from storage.core.sweeping import Covered, Layers, Named, Sweeping, is_dropped, is_reclaimable
from storage.objects import Entry

BATCH = 100  # deletions that may be under way together
FIRST_WIDTH = 64 * 1024  # positions that the first listing of a large generation covers

Do = Callable[[str, Callable[[], Awaitable[object]]], Awaitable[bool]]  # do it and count it, or only say it


class Generation:
    """A generation whose chunks are looked at."""

    def __init__(self, bucket: Bucket, sweeping: Sweeping, do: Do, path: str, root: Root, number: int) -> None:
        self.path = path
        self.root = root
        self.number = number
        self.prefix = keys.chunks_of_generation(path, number)
        self._bucket = bucket
        self._sweeping = sweeping
        self._do = do

    async def has_forks(self) -> bool:
        """Say whether forks depend on it."""
        return bool(await reading(self._bucket.objects.list(keys.markers_of(self.path, self.number), limit=1)))

    # -- a dead one

    async def purge(self, aged_before_ms: int) -> None:
        """Delete what a dead generation consists of, if all of it is old enough; the newest chunk, its end, last."""
        if await self.has_forks():
            return
        newest = await reading(self._bucket.objects.list(self.prefix, limit=1))
        if newest and newest[0].modified_ms >= aged_before_ms:
            return
        for prefix in (keys.states_of_generation(self.path, self.number), keys.touch_key(self.path, self.number)):
            if not await self._delete_below(prefix, "", aged_before_ms):
                return
        if newest and await self._delete_below(self.prefix, newest[0].key, aged_before_ms):
            await self._delete([newest[0].key], "of a generation that is gone")

    async def _delete_below(self, prefix: str, after: str, aged_before_ms: int) -> bool:
        """Delete everything after a key; False if something there is too young, which ends it."""
        while True:
            entries = await reading(self._bucket.objects.list(prefix, after=after, limit=self._sweeping.names))
            if any(entry.modified_ms >= aged_before_ms for entry in entries):
                return False
            await self._delete([entry.key for entry in entries], "of a generation that is gone")
            if len(entries) < self._sweeping.names:
                return True
            after = entries[-1].key

    # -- a live one

    async def tend(self, position: int, retained: int, aged_before_ms: int, spent: Callable[[], bool]) -> int | None:
        """Merge and reclaim from a position on; return where to go on another time, None at the end.

        What lies wholly before `retained` is not kept any more.
        """
        newest = await reading(self._bucket.objects.list(self.prefix, limit=1))
        if not newest:
            return None
        merger = Merger(self._bucket, self._sweeping, self._do, self.prefix)
        layers = Layers()
        at = max(position, self.root.own.low)
        async for named in self._ascending(at, newest[0], layers, aged_before_ms):
            await self._tend(named, newest[0].key, layers, merger, retained, aged_before_ms)
            if spent():
                return merger.resume_at(at if layers.top is None else layers.top.position)
        return None

    async def tend_listed(self, entries: Sequence[Entry], retained: int, aged_before_ms: int) -> None:
        """Do the same with a generation that was listed as a whole, the newest first."""
        merger = Merger(self._bucket, self._sweeping, self._do, self.prefix)
        named = [self._named(entry) for entry in reversed(entries)]
        await self._tend(named, entries[0].key, Layers(), merger, retained, aged_before_ms)

    async def _tend(
        self, named: list[Named], newest: str, layers: Layers, merger: "Merger", retained: int, aged_before_ms: int
    ) -> None:
        chain, covered = layers.sort(named)
        for chunk in chain:
            merger.add(chunk)
        await merger.work()
        gone = [chunk.key for chunk in chain if is_dropped(chunk, retained, newest, aged_before_ms)]
        gone += [each.chunk.key for each in covered if is_dropped(each.chunk, retained, newest, aged_before_ms)]
        await self._delete(gone, "before what is kept of")
        inside = [each for each in covered if is_reclaimable(each, newest, aged_before_ms)]
        await self._reclaim([each for each in inside if each.chunk.key not in set(gone)])

    async def _ascending(
        self, at: int, newest: Entry, layers: Layers, aged_before_ms: int
    ) -> AsyncIterator[list[Named]]:
        """Yield the chunks from a position on, a listing at a time; skip what lies inside a superset and is gone."""
        last = keys.parse_chunk_key(newest.key)[1]
        width = FIRST_WIDTH
        objects, names = self._bucket.objects, self._sweeping.names
        while at <= last:
            after = self.prefix + keys.complement(min(at + width, last + 1))
            entries = await reading(objects.list(self.prefix, after=after, limit=names))
            here = [entry for entry in entries if keys.parse_chunk_key(entry.key)[1] >= at]
            if len(here) == names and width > 1:
                width //= 4
                continue
            if here:
                yield [self._named(entry) for entry in reversed(here)]
            at = min(at + width, last + 1)
            if len(here) < max(1, names // 4):
                width *= 2
            top = layers.top
            if top is not None and top.end > at and top.modified_ms >= aged_before_ms:
                at = top.end  # too young for anything in it to go
            elif top is not None and top.end > at and not here:
                below = await reading(objects.list(self.prefix, after=self.prefix + keys.complement(top.end), limit=1))
                if below and below[0].key == top.key:
                    at = top.end

    def _named(self, entry: Entry) -> Named:
        position = keys.parse_chunk_key(entry.key)[1]
        size = max(0, entry.size - self.root.is_json) if entry.size else 0
        return Named(entry.key, position, position + size, entry.size, entry.modified_ms)

    async def _reclaim(self, inside: Sequence[Covered]) -> None:
        """Delete what lies inside supersets that say so themselves."""
        proven: dict[str, bool] = {}
        gone: list[str] = []
        for each in inside:
            if each.by.key not in proven:
                chunk = await self._read(each.by.key)
                proven[each.by.key] = (
                    chunk is not None and chunk.count > 1 and chunk.kind is Kind.DATA and chunk.next == each.by.end
                )
            if proven[each.by.key]:
                gone.append(each.chunk.key)
        await self._delete(gone, "inside a superset of")

    async def _read(self, key: str) -> Chunk | None:
        head = await reading(self._bucket.objects.head(key))
        try:
            return None if head is None else decode_chunk(keys.parse_chunk_key(key)[1], head.metadata)
        except DamagedChunk:
            return None

    async def _delete(self, gone: Sequence[str], why: str) -> None:
        for n in range(0, len(gone), BATCH):
            batch = gone[n : n + BATCH]

            async def delete(batch: Sequence[str] = batch) -> None:
                gate = asyncio.Semaphore(self._sweeping.parallel)

                async def one(key: str) -> None:
                    async with gate:
                        await self._bucket.remove(key)

                await asyncio.gather(*map(one, batch))

            await self._do(f"delete {len(batch)} {_plural(len(batch))} {why} /{self.path}: {batch[0]} …", delete)


class Merger:
    """Merges the groups of a chain that nobody has merged. Chunks are looked at only where a group may be complete."""

    def __init__(self, bucket: Bucket, sweeping: Sweeping, do: Do, prefix: str) -> None:
        self._bucket = bucket
        self._sweeping = sweeping
        self._do = do
        self._prefix = prefix
        self._grouping = bucket.settings.grouping
        self._compactor = Compactor(bucket, ChunkCache(0))
        self._run: list[Named] = []  # links that follow each other and are not looked at yet
        self._looking = False  # the run has become long enough to hold a group
        self._trail = Trail(self._grouping)

    def add(self, chunk: Named) -> None:
        """Go on to the next link of the chain."""
        if chunk.size >= self._grouping.superset_bytes or (self._run and self._run[-1].end != chunk.position):
            self._run.clear()
            self._trail.links.clear()
            self._looking = False
        if chunk.size < self._grouping.superset_bytes:
            self._run.append(chunk)

    def resume_at(self, reached: int) -> int:
        """Return the position at which to begin another time, so that nothing is missed."""
        if self._trail.links:
            return self._trail.links[0].position
        return self._run[0].position if self._run else reached

    async def work(self) -> None:
        """Merge what is complete."""
        if not self._looking and len(self._run) < self._grouping.chunks:
            return
        self._looking = True
        run, self._run = self._run, []
        gate = asyncio.Semaphore(self._sweeping.parallel)

        async def look(chunk: Named) -> Link | None:
            async with gate:
                head = await reading(self._bucket.objects.head(chunk.key))
            try:
                return (
                    None
                    if head is None
                    else link_of(decode_chunk(chunk.position, head.metadata), head.size, head.etag, head.content_type)
                )
            except DamagedChunk:
                return None

        settled = self._bucket.clock.now_ms() - SETTLED_MS
        for link in await asyncio.gather(*map(look, run)):
            if link is None:
                self._trail.links.clear()
                continue
            self._trail.add(link)
            while (due := self._trail.due()) and due[-1].at_ms < settled:
                superset: list[Link | None] = []

                async def merge(due: Sequence[Link] = due, superset: list[Link | None] = superset) -> None:
                    superset.append(await self._compactor.merge(self._prefix, due, len(due)))

                what = f"merge the {len(due)} objects from {due[0].first} to {due[-1].last} under {self._prefix}"
                if not await self._do(what, merge):
                    self._trail.replace(len(due), _imagined(due))
                elif superset[0] is None:
                    self._trail.links.clear()
                else:
                    self._trail.replace(len(due), superset[0])


def _imagined(group: Sequence[Link]) -> Link:
    """Return what a superset would be, for a run in which nothing is done."""
    head, last = group[0], group[-1]
    size = sum(link.size for link in group)
    return Link(head.position, last.next, head.first, last.last, last.at_ms, Kind.DATA, size, "", head.content_type)


def _plural(count: int) -> str:
    return "object" if count == 1 else "objects"
