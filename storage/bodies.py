"""Fetch chunks, and of large ones only the blocks that are wanted, some of them before they are. Writes nothing.

A superset may be larger than a page, and larger than what a process should hold: its body is read in blocks of
`block_bytes`, which are kept like chunks. Knows the chain and the cache; nothing of pages, tails or waiting.
"""

import asyncio
from collections import OrderedDict

import msgspec

from storage.bucket import Bucket, reading
from storage.cache import Cached, ChunkCache
from storage.core import keys
from storage.core.chunk import Chunk, DamagedChunk, decode_chunk
from storage.core.cuts import is_between_messages, last_comma
from storage.core.reading import NotABoundary, Piece
from storage.errors import DamageError, LogError
from storage.objects import LIST_LIMIT, Entry, Head

FLIGHTS = 8  # blocks fetched ahead at once, for all readers of the process
ENDS = 10_000  # places inside large chunks where pages ended: the next page neither looks for its chunk nor proves
# that a message begins there


class Bodies:
    """Gets bytes of chunks."""

    def __init__(self, bucket: Bucket, cache: ChunkCache) -> None:
        self._bucket = bucket
        self._cache = cache
        self._flights: dict[str, asyncio.Task[Cached | None]] = {}
        self._ends: OrderedDict[tuple[str, int], Cached] = OrderedDict()  # the chunk, without its body

    async def fetch(self, key: str) -> Cached | None:
        """Return the chunk under a key, with the first block of its body; None if there is none."""
        return self._cache.get(key) or await self._get(key, key, 0)

    async def covering(self, prefix: str, at: int, *, is_json: bool) -> Cached:
        """Return the chunk that holds a position before the tail: by its key, else by a floor LIST."""
        known = self._ends.get((prefix, at))
        if known is not None and known.chunk.next > at:
            return known
        key = prefix + keys.complement(at)
        found = await self.fetch(key)
        if found is not None and found.chunk.next > at:
            return found
        objects, limit = self._bucket.objects, 1
        while True:
            entries = await reading(objects.list(prefix, after=key, limit=limit))
            for entry in entries:
                # One at a time is nearly always right. Where chunks inside a superset are being reclaimed, some that
                # are left may stand between the position and the superset: their sizes tell.
                if limit == 1 or keys.parse_chunk_key(entry.key)[1] + entry.size - is_json > at:
                    found = await self._fetch_some(entry)
                    if found is not None and found.chunk.next <= at:
                        self._cache.drop(entry.key)  # it may have become a superset since
                        found = await self._fetch_some(entry)
                    if found is not None and found.chunk.next > at:
                        return found
            if len(entries) < limit:
                raise DamageError(f"no chunk under {prefix} holds position {at}, which is before the stream's end")
            key, limit = entries[-1].key, LIST_LIMIT

    async def _fetch_some(self, entry: Entry) -> Cached | None:
        """Return a chunk of which the middle is wanted: if it is large, without the beginning of its body."""
        if entry.size <= self._bucket.settings.block_bytes:
            return await self.fetch(entry.key)
        head = await reading(self._bucket.objects.head(entry.key))
        return None if head is None else Cached(self._decode(entry.key, head), b"", *_of(head))

    async def piece(self, prefix: str, found: Cached, at: int, high: int, room: int, *, is_json: bool) -> Piece | None:
        """Take from a large chunk what lies between `at` and `high`: at least a byte or a message, up to `room` bytes.

        None if the chunk is not there any more, because it is part of a superset. Raises NotABoundary.
        """
        chunk = found.chunk
        key, offset = prefix + keys.complement(chunk.position), at - chunk.position
        if is_json and at != chunk.position and (prefix, at) not in self._ends:
            # Nobody in this process has seen a message end here: all that is before it tells.
            before = await self._bytes(key, found, 0, offset + 1)
            if before is None:
                return None
            if not is_between_messages(before):
                raise NotABoundary(f"{at} is inside a message")
        room = max(room, 1)
        while True:
            end = min(high, at + room)
            # Of JSON one byte more: the comma or bracket before the first message, as every body begins with one.
            body = await self._bytes(key, found, offset, end - chunk.position + is_json)
            if body is None:
                return None
            if is_json and end < high:
                end = at + 1 + last_comma(body[1:])
            if end > at:
                break
            room *= 2  # it ends inside the first message
        if end < chunk.next:
            self._remember(prefix, end, found)
        if is_json:
            body = b"".join((b"[", memoryview(body)[1 : end - at], b"]"))
        return Piece(body, at, at, end, end < high)

    def _remember(self, prefix: str, end: int, found: Cached) -> None:
        self._ends[prefix, end] = msgspec.structs.replace(found, body=b"")
        if len(self._ends) > ENDS:
            self._ends.popitem(last=False)

    async def _bytes(self, key: str, found: Cached, low: int, high: int) -> bytes | None:
        """Return bytes of the chunk's body; None if it is not there any more."""
        if found.body and high <= len(found.body):
            return found.body if (low, high) == (0, len(found.body)) else found.body[low:high]
        size = self._bucket.settings.block_bytes
        parts: list[memoryview] = []
        for n in range(low // size, (high - 1) // size + 1):
            block = found if n == 0 and found.body else await self._block(key, found, n)
            if block is None:
                self._cache.drop(key)
                self._ends.clear()
                return None
            # The first may be there as a whole: it was merged here.
            parts.append(memoryview(block.body)[max(0, low - n * size) : min(size, high - n * size)])
        return b"".join(parts)

    async def _block(self, key: str, found: Cached, n: int) -> Cached | None:
        name = f"{key}#{n}" if n else key
        cached = self._cache.get(name)
        if cached is not None and cached.chunk.next == found.chunk.next:
            return cached  # an older version may have ended within this block
        return await self._get(name, key, n)

    async def _get(self, name: str, key: str, n: int) -> Cached | None:
        flight = self._flights.get(name)
        if flight is not None:
            try:
                return await asyncio.shield(flight)
            except LogError:
                pass  # that was sent for nobody; this one is for somebody
        return await self._get_now(name, key, n)

    async def _get_now(self, name: str, key: str, n: int) -> Cached | None:
        size = self._bucket.settings.block_bytes
        found = await reading(self._bucket.objects.get(key, start=n * size, length=size))
        if found is None:
            return None
        head = found.head
        entry = Cached(self._decode(key, head), found.body, *_of(head))
        self._cache.put(name, entry)
        return entry

    @staticmethod
    def _decode(key: str, head: Head) -> Chunk:
        try:
            return decode_chunk(keys.parse_chunk_key(key)[1], head.metadata)
        except DamagedChunk as error:
            raise DamageError(f"{key} is not a chunk: {error}") from error

    # -- ahead of the reader

    def read_ahead(self, prefix: str, found: Cached, reached: int, end: int) -> None:
        """Fetch what is likely to be asked for after `reached`, in a large chunk or behind a superset."""
        settings = self._bucket.settings
        if found.chunk.count > 1 or found.size > settings.block_bytes:
            n = (reached - found.chunk.position) // settings.block_bytes
            self._go_ahead(prefix, found, n, settings.blocks_ahead * settings.block_bytes, end)

    def _go_ahead(self, prefix: str, found: Cached, n: int, room: int, end: int) -> None:
        """Fetch from the n-th block on: the others of the chunk at once, what follows it when it is known."""
        size = self._bucket.settings.block_bytes
        key = prefix + keys.complement(found.chunk.position)
        while room > 0:
            if n * size >= found.size:
                if found.chunk.next >= end:
                    return
                key, n = prefix + keys.complement(found.chunk.next), 0
                following = self._cache.get(key)
                if following is None:
                    self._send_ahead(prefix, key, key, 0, room, end)
                    return
                found = following
            elif self._cache.get(f"{key}#{n}" if n else key) is None:
                self._send_ahead(prefix, f"{key}#{n}" if n else key, key, n, 0, end)
            room -= min(size, found.size - n * size)
            n += 1

    def _send_ahead(self, prefix: str, name: str, key: str, n: int, room: int, end: int) -> None:
        if name in self._flights or len(self._flights) >= FLIGHTS:
            return

        async def fly() -> Cached | None:
            found = await self._get_now(name, key, n)
            self._flights.pop(name, None)
            if found is not None and room > len(found.body):
                self._go_ahead(prefix, found, n + 1, room - len(found.body), end)
            return found

        flight = asyncio.create_task(fly())
        self._flights[name] = flight
        flight.add_done_callback(lambda task: self._landed(name, task))

    def _landed(self, name: str, task: "asyncio.Task[Cached | None]") -> None:
        if self._flights.get(name) is task:
            del self._flights[name]
        if not task.cancelled():
            task.exception()  # whoever waits for it has it; nobody waiting is no reason for a warning

    async def aclose(self) -> None:
        """Let go of what was fetched for nobody yet."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _of(head: Head) -> tuple[str, str, int]:
    return head.etag, head.content_type, head.size
