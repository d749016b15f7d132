"""Write supersets: whoever holds the bytes of a complete group puts them in one object, over the group's first chunk.

Never in anybody's way: a merge runs beside the append or the read that brought the last of its bytes, and one that
fails, loses a race or meets a store that refuses costs its request and nothing else; the group is then left to others.
Nothing is deleted here. Knows chunks, their cache and the store; nothing of who appends or reads.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence

from storage.bucket import IMMUTABLE, Bucket
from storage.cache import Cached, ChunkCache
from storage.core import keys
from storage.core.checking import checksum
from storage.core.chunk import Chunk, DamagedChunk, decode_chunk, encode_chunk
from storage.core.compaction import Link, Trail, link_of, merge
from storage.core.root import media_type
from storage.objects import IfMatch, StoreError, StoreRefused

RUNS = 1000  # places in chains at which somebody appends or reads, and of which the links are remembered
MOST_MISSING = 8  # GETs that a merge may take besides its PUT: no more than that costs, and all of a group of groups
SETTLED_MS = 60_000  # a group so old is not being merged by its writer any more: whoever reads it may do it
MERGES_AT_ONCE = 2  # bounds the memory: a superset and its parts are held together
REFUSED_SECONDS = 60.0  # a store that refuses one superset refuses the next one too


class _Run:
    """Somebody's way along a chain."""

    def __init__(self, trail: Trail) -> None:
        self.fresh: list[Link] = []  # of the group that is not complete yet
        self.groups: deque[list[Link]] = deque()  # complete; empty: what was before it is not known to be merged
        self.trail = trail
        self.busy = False


class Compactor:
    """Follows appends and reads, and merges the groups that they complete."""

    def __init__(self, bucket: Bucket, cache: ChunkCache) -> None:
        self._bucket = bucket
        self._cache = cache
        self._grouping = bucket.settings.grouping
        self._runs: OrderedDict[tuple[str, int], _Run] = OrderedDict()
        self._gate = asyncio.Semaphore(MERGES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused_until = float("-inf")

    def committed(self, prefix: str, entry: Cached) -> None:
        """Take note of a chunk that this process wrote; at the end of a group, merge it. Never waits, never fails."""
        self._follow(prefix, entry, merges=True)

    def passed(self, prefix: str, entry: Cached) -> None:
        """Take note of a chunk that this process read; merge old groups that nobody has merged. Never waits."""
        settled = self._bucket.clock.now_ms() - entry.chunk.at_ms > SETTLED_MS
        self._follow(prefix, entry, merges=settled)

    def _follow(self, prefix: str, entry: Cached, *, merges: bool) -> None:
        if not entry.etag:
            return
        link = link_of(entry.chunk, entry.size, entry.etag, entry.content_type)
        run = self._runs.pop((prefix, link.position), None)
        if run is None:
            if link.first % self._grouping.chunks or (prefix, link.next) in self._runs:
                return
            run = _Run(Trail(self._grouping))
        self._runs[prefix, link.next] = run
        if len(self._runs) > RUNS:
            self._runs.popitem(last=False)
        run.fresh.append(link)
        if (link.last + 1) % self._grouping.chunks:
            return
        group, run.fresh = run.fresh, []
        # Another process that completed the group merges it too; its first chunk has another ETag then.
        run.groups.append(group if merges else [])
        self._advance(prefix, run)

    def _advance(self, prefix: str, run: _Run) -> None:
        if run.busy:
            return
        while run.groups:
            if self._add_group(run):
                run.busy = True
                task = asyncio.create_task(self._work(prefix, run))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return

    def _add_group(self, run: _Run) -> bool:
        """Go on by one group; say whether there is something to merge."""
        group = run.groups.popleft()
        if not group:
            run.trail.links.clear()
        for link in group:
            run.trail.add(link)
        return bool(run.trail.due())

    async def _work(self, prefix: str, run: _Run) -> None:
        try:
            while True:
                while due := run.trail.due():
                    superset = await self.merge(prefix, due, MOST_MISSING)
                    if superset is None:
                        run.trail.links.clear()
                    else:
                        run.trail.replace(len(due), superset)
                if not run.groups:
                    return
                self._add_group(run)
        finally:
            run.busy = False

    async def merge(self, prefix: str, group: Sequence[Link], most_missing: int) -> Link | None:
        """Write the superset of a complete group; None if that failed, which does no harm.

        `most_missing`: how many of the group's bodies may have to be fetched.
        """
        clock = self._bucket.clock
        async with self._gate:
            if clock.steady() < self._refused_until:
                return None
            try:
                return await self._merge(prefix, group, most_missing)
            except StoreRefused:
                self._refused_until = clock.steady() + REFUSED_SECONDS
            except (StoreError, DamagedChunk, ValueError):
                pass  # a store that fails, or somebody who was faster
            return None

    async def _merge(self, prefix: str, group: Sequence[Link], most_missing: int) -> Link | None:
        members: list[tuple[Chunk, bytes] | None] = [self._held(prefix, link) for link in group]
        missing = [n for n, member in enumerate(members) if member is None]
        if len(missing) > most_missing:
            return None
        fetching = asyncio.Semaphore(self._bucket.settings.parallel_gets)

        async def fetch(n: int) -> None:
            async with fetching:
                members[n] = await self._fetch(prefix, group[n])

        await asyncio.gather(*map(fetch, missing))
        held = [member for member in members if member is not None]
        if len(held) < len(members):
            return None
        head = group[0]
        is_json = media_type(head.content_type) == "application/json"
        chunk, body = merge(held, is_json=is_json, cut_bytes=self._grouping.cut_bytes)
        key = prefix + keys.complement(head.position)
        etag = await self._bucket.objects.put(
            key,
            body,
            # Whatever is there has this ETag only if it is the very version that the group begins with.
            IfMatch(head.etag),
            content_type=head.content_type,
            cache_control=IMMUTABLE,
            metadata={**encode_chunk(chunk, keys.parse_chunk_key(key)[0]), "crc": checksum(body)},
        )
        if etag is None:
            return None
        self._cache.put(key, Cached(chunk, body, etag, head.content_type, len(body)))
        return link_of(chunk, len(body), etag, head.content_type)

    def _held(self, prefix: str, link: Link) -> tuple[Chunk, bytes] | None:
        cached = self._cache.get(prefix + keys.complement(link.position))
        if cached is None or cached.chunk.index != link.last or len(cached.body) != link.size:
            return None
        return cached.chunk, cached.body

    async def _fetch(self, prefix: str, link: Link) -> tuple[Chunk, bytes] | None:
        found = await self._bucket.objects.get(prefix + keys.complement(link.position))
        if found is None:
            return None
        chunk = decode_chunk(link.position, found.head.metadata)
        return (chunk, found.body) if chunk.index == link.last else None

    async def settle(self) -> None:
        """Wait for the merges under way: before the process is frozen."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Let the merges that are under way come to an end."""
        while self._tasks:
            await asyncio.wait(self._tasks)
