"""Read every chain of a store and say whether it is what it must be. Writes nothing, repairs nothing.

Meant for a store at rest; one that is written to meanwhile may be told to have a gap at a tail that was moving.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from storage.bucket import Bucket, reading
from storage.clock import Chance, Clock
from storage.core import keys
from storage.core.checking import Chain
from storage.core.chunk import DamagedChunk, decode_chunk
from storage.core.lineage import Segment
from storage.core.marker import DamagedMarker, decode_marker
from storage.core.producers import DamagedTable, decode_table
from storage.core.root import DamagedRoot, Root, State, decode_root
from storage.core.sweeping import is_dead
from storage.objects import LIST_LIMIT, Entry, Object, Objects
from storage.settings import LogSettings

HELD_BYTES = 64 * 1024 * 1024  # of bodies fetched ahead of their judgement; one that is larger is fetched alone
FIRST_WIDTH = 64 * 1024  # positions that a generation's first listing covers


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it must be."""

    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


class Checked(msgspec.Struct, frozen=True):
    """What a check came to."""

    streams: int
    objects: int
    bytes: int
    findings: list[Finding]


class Checker:
    """Checks one store."""

    def __init__(
        self,
        objects: Objects,
        found: Callable[[Finding], None] = lambda finding: None,
        progress: Callable[[int, int, int], None] = lambda done, total, objects: None,
    ) -> None:
        """`found` hears of each finding as it is made; `progress` of streams done, of how many, and objects read."""
        self._objects = objects
        self._bucket = Bucket(objects, LogSettings(), Clock(), Chance())
        self._hear = found
        self._progress = progress
        self._findings: list[Finding] = []
        self._read_objects = 0
        self._read_bytes = 0
        self._streams = 0
        self._total = 0

    async def check(self, path: str | None = None) -> Checked:
        """Check one stream, or all of them. Raises UnavailableError."""
        names = [keys.root_key(path)] if path is not None else [e.key async for e in self._list("root/")]
        self._total = len(names)
        for name in names:
            await self._check_stream(name)
            self._streams += 1
            self._progress(self._streams, self._total, self._read_objects)
        if path is None:
            await self._check_orphans({name.removeprefix("root/") for name in names})
        return Checked(self._streams, self._read_objects, self._read_bytes, self._findings)

    def _report(self, key: str, what: str) -> None:
        finding = Finding(key, what)
        self._findings.append(finding)
        self._hear(finding)

    async def _list(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        while True:
            entries = await reading(self._objects.list(prefix, after=after))
            for entry in entries:
                yield entry
            if len(entries) < LIST_LIMIT:
                return
            after = entries[-1].key

    # -- one stream

    async def _check_stream(self, name: str) -> None:
        found = await reading(self._objects.get(name))
        if found is None:
            self._report(name, "there is no such stream, and there never was")
            return
        try:
            root = decode_root(found.body)
        except DamagedRoot as error:
            self._report(name, f"it is not a root: {error}")
            return
        path = keys.decode_path(name.removeprefix("root/"))
        if (root.own.path, root.own.generation) != (path, root.generation):
            self._report(name, f"its own chunks are said to be of {root.own.path} in generation {root.own.generation}")
            return
        if root.state in (State.LIVE, State.SOFT):
            tail = await self._check_generation(path, root)
            await self._check_lineage(name, root, tail)
        async for number in self._generations(path):
            if number > root.generation:
                self._report(keys.chunks_of_generation(path, number), "it is of a generation that no root has named")
            elif is_dead(root, number):
                await self._check_dead(path, number)

    async def _generations(self, path: str) -> AsyncIterator[int]:
        after = ""
        while True:
            entries = await reading(self._objects.list(keys.chunks_of_path(path), after=after, limit=1))
            if not entries:
                return
            number, _ = keys.parse_chunk_key(entries[0].key)
            yield number
            after = keys.chunks_of_generation(path, number) + "~"

    async def _check_dead(self, path: str, number: int) -> None:
        """See to it that nothing depends on a generation that may be reclaimed at any time."""
        async for entry in self._list(keys.markers_of(path, number)):
            fork_path = await self._marker_path(entry.key)
            if fork_path is None:
                continue
            fork = await reading(self._objects.get(keys.root_key(fork_path)))
            if fork is not None and decode_root(fork.body).state in (State.LIVE, State.SOFT):
                self._report(entry.key, f"/{fork_path} depends on a generation that is gone")

    async def _marker_path(self, key: str) -> str | None:
        found = await reading(self._objects.get(key))
        if found is None:
            return None
        try:
            return decode_marker(found.body).path
        except DamagedMarker as error:
            self._report(key, f"it is not a marker: {error}")
            return None

    async def _check_generation(self, path: str, root: Root) -> int:
        """Read a generation's chunks in ascending order; return where its chain ends."""
        number = root.generation
        prefix = keys.chunks_of_generation(path, number)
        chain = Chain(root)
        async for entry, found in self._bodies(prefix, root.own.low):
            if found is None:
                self._report(entry.key, "it was listed, and is not there")
                continue
            position = keys.parse_chunk_key(entry.key)[1]
            try:
                chunk = decode_chunk(position, found.head.metadata)
            except DamagedChunk as error:
                self._report(entry.key, f"its metadata cannot be read: {error}")
                continue
            for what in chain.judge(position, chunk, found.body, dict(found.head.metadata), found.head.content_type):
                self._report(entry.key, what)
            if chunk.table:
                await self._check_table(path, number, entry.key, chunk.table)
        if root.first and chain.reached is None:
            self._report(prefix, "the stream was created together with a first chunk, and has none")
        return chain.tail

    async def _check_table(self, path: str, number: int, chunk_key: str, table: str) -> None:
        key = keys.states_of_generation(path, number) + table
        found = await reading(self._objects.get(key))
        if found is None:
            self._report(chunk_key, f"the producer table that it names is missing: {key}")
            return
        try:
            decode_table(found.body)
        except DamagedTable as error:
            self._report(key, f"it is not a producer table: {error}")

    async def _bodies(self, prefix: str, low: int) -> AsyncIterator[tuple[Entry, Object | None]]:
        """Yield a generation's objects in ascending order of positions, a bounded number of bytes fetched ahead."""
        batch: list[Entry] = []
        held = 0
        async for entry in self._ascending(prefix, low):
            if batch and (held + entry.size > HELD_BYTES or len(batch) == LIST_LIMIT):
                for pair in await self._fetch(batch):
                    yield pair
                batch, held = [], 0
            batch.append(entry)
            held += entry.size
        for pair in await self._fetch(batch):
            yield pair

    async def _fetch(self, batch: list[Entry]) -> list[tuple[Entry, Object | None]]:
        gate = asyncio.Semaphore(self._bucket.settings.parallel_gets)

        async def fetch(entry: Entry) -> tuple[Entry, Object | None]:
            async with gate:
                found = await reading(self._objects.get(entry.key))
            self._read_objects += 1
            self._read_bytes += entry.size
            return entry, found

        pairs = await asyncio.gather(*map(fetch, batch))
        self._progress(self._streams, self._total, self._read_objects)
        return pairs

    async def _ascending(self, prefix: str, low: int) -> AsyncIterator[Entry]:
        """List a generation from its beginning, though a store lists the newest first."""
        newest = await reading(self._objects.list(prefix, limit=1))
        if not newest:
            return
        last, width, at = keys.parse_chunk_key(newest[0].key)[1], FIRST_WIDTH, low
        while at <= last:
            high = min(at + width, last + 1)
            entries = await reading(self._objects.list(prefix, after=prefix + keys.complement(high)))
            here = [entry for entry in entries if keys.parse_chunk_key(entry.key)[1] >= at]
            if len(here) == LIST_LIMIT and width > 1:
                width //= 4
                continue
            for entry in reversed(here):
                yield entry
            at = high
            if len(here) < LIST_LIMIT // 4:
                width *= 2

    # -- what it was forked from

    async def _check_lineage(self, name: str, root: Root, tail: int) -> None:
        at = 0
        for segment in root.lineage:
            if segment.low != at or (segment.high is None) is not (segment is root.own):
                self._report(
                    name, f"its lineage has a gap at {at}: {segment.path} from {segment.low} to {segment.high}"
                )
                return
            at = at if segment.high is None else segment.high
        if root.retained > tail:
            self._report(name, f"it keeps what follows {root.retained}, and ends at {tail}")
        for segment in root.lineage[:-1]:
            await self._check_inherited(name, root, segment)
        origin = root.origin
        if origin is not None:
            marker = keys.marker_key(origin.path, origin.generation, root.own.path, root.generation)
            if await reading(self._objects.head(marker)) is None:
                self._report(marker, f"/{root.own.path} depends on its source, and the marker that says so is missing")

    async def _check_inherited(self, name: str, root: Root, segment: Segment) -> None:
        """Follow the chain of a source from where a fork's share begins to where it ends."""
        prefix = keys.chunks_of_generation(segment.path, segment.generation)
        at = max(segment.low, root.retained)
        high = segment.high or 0
        while at < high:
            key = prefix + keys.complement(at)
            head = await reading(self._objects.head(key))
            if head is None:
                below = await reading(self._objects.list(prefix, after=key, limit=1))
                key = below[0].key if below else key
                head = await reading(self._objects.head(key)) if below else None
            try:
                end = at if head is None else decode_chunk(keys.parse_chunk_key(key)[1], head.metadata).next
            except DamagedChunk:
                end = at
            if end <= at:
                self._report(name, f"what it inherited at {at} is missing: {prefix}{keys.complement(at)}")
                return
            at = end

    async def _check_orphans(self, segments: set[str]) -> None:
        """Find what belongs to a path that no root speaks of."""
        for prefix in ("chunk/", "state/", "touch/", "fork/"):
            after = ""
            while entries := await reading(self._objects.list(prefix, after=after, limit=1)):
                segment = entries[0].key.split("/")[1]
                if segment not in segments:
                    self._report(f"{prefix}{segment}/", "no root speaks of this path")
                after = f"{prefix}{segment}/~"
