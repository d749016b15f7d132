"""Fetch chunks, and of large ones only what is wanted, some of it before it is. Writes nothing.

A superset may be larger than a page, and larger than what a process should hold: only the beginning of its body is kept
like a chunk. Knows the chain, the cache and what is on its way; nothing of pages, tails or waiting.
"""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from contextlib import suppress
from functools import partial

import msgspec

from storage.bucket import Bucket, reading
from storage.cache import Cached, ChunkCache
from storage.core import keys
from storage.core.chunk import Chunk, DamagedChunk, decode_chunk
from storage.core.cuts import is_between_messages, last_comma
from storage.core.reading import NotABoundary, Piece
from storage.errors import DamageError
from storage.objects import LIST_LIMIT, Entry, Head
from storage.runs import Run, Runs, RunSettings

ENDS = 10_000  # places inside large chunks where pages ended: the next page neither looks for its chunk nor proves
# that a message begins there


class Bodies:
    """Gets bytes of chunks."""

    def __init__(self, bucket: Bucket, cache: ChunkCache) -> None:
        settings = bucket.settings
        self._bucket = bucket
        self._cache = cache
        self._runs = Runs(bucket.objects, RunSettings(settings.run_bytes, settings.ahead_bytes, settings.block_bytes))
        self._ends: OrderedDict[tuple[str, int], Cached] = OrderedDict()  # the chunk, without its body

    async def fetch(self, key: str) -> Cached | None:
        """Return the chunk under a key, with the beginning of its body or none of it; None if there is none."""
        found = self._cache.get(key)
        if found is not None:
            return found
        run = self._runs.at(key, 0)
        if run is not None:
            head = await asyncio.shield(run.opened)
            if run.is_missing:
                return None
            found = None if head is None else await self._land(run, head)
        return found or await self._get(key)

    async def _land(self, run: Run, head: Head) -> Cached | None:
        """Return a chunk that is on its way; None if it does not arrive."""
        found = self._cached(run.key, head, b"")
        if head.size > self._bucket.settings.block_bytes:
            return found
        parts = await run.take(0, head.size)
        if parts is None:
            return None
        found = msgspec.structs.replace(found, body=b"".join(parts))
        self._cache.put(run.key, found)
        return found

    async def covering(self, prefix: str, at: int, end: int, *, is_json: bool) -> Cached:
        """Return the chunk that holds a position before `end`, which is not beyond the tail: by its key, else by a
        floor LIST."""
        known = self._ends.get((prefix, at))
        if known is not None and known.chunk.next > at:
            return known
        settings = self._bucket.settings
        key = prefix + keys.complement(at)
        is_known = self._cache.get(key) is not None or self._runs.at(key, 0) is not None
        if settings.runs_ahead and end - at > settings.block_bytes and not is_known:
            self._runs.send(key, 0)  # history: what is there may be large
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
                        self._forget(entry.key)  # it may have become a superset since
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
        return None if head is None else self._cached(entry.key, head, b"")

    async def piece(
        self, prefix: str, found: Cached, at: int, high: int, room: int, *, is_json: bool, is_first: bool
    ) -> Piece | None:
        """Take from a large chunk what lies between `at` and `high`: at least a byte or a message, up to `room` bytes.

        Nothing, in an empty piece, where it is not told that a message ends within `room`, and it is not the page's
        first: the next page may have more room.
        None if the chunk is not there any more, because it is part of a superset. Raises NotABoundary.
        """
        chunk = found.chunk
        key = prefix + keys.complement(chunk.position)
        if is_json:
            if not await self._begins_a_message(prefix, key, found, at):
                raise NotABoundary(f"{at} is inside a message")
            told = self._told(chunk, at, high, room)
            if told is None and not is_first:
                return Piece((), at, at, True)
            parts, end = await self._messages(key, found, at, high, room, told)
        else:
            end = min(high, at + max(room, 1))
            parts = await self._parts(key, found, at - chunk.position, end - chunk.position)
        if parts is None:
            return None
        if end < chunk.next:
            self._remember(prefix, end, found)
        return Piece(tuple(parts), at, end, end < high)

    async def _begins_a_message(self, prefix: str, key: str, found: Cached, at: int) -> bool:
        chunk = found.chunk
        if at == chunk.position or at in chunk.cuts or (prefix, at) in self._ends:
            return True
        # Nobody has told: all that is before it does.
        before = await self._parts(key, found, 0, at - chunk.position + 1)
        return before is None or is_between_messages(b"".join(before))  # what is gone is looked for elsewhere

    @staticmethod
    def _told(chunk: Chunk, at: int, high: int, room: int) -> int | None:
        """Return where the last message ends that has room, if that is known."""
        if at + room >= high:
            return high
        n = bisect_right(chunk.cuts, at + room)
        return chunk.cuts[n - 1] if n and chunk.cuts[n - 1] > at else None

    async def _messages(
        self, key: str, found: Cached, at: int, high: int, room: int, end: int | None
    ) -> tuple[list[bytes] | None, int]:
        """Return the messages from `at` to `end`, or where that is not known those that have room, one at least."""
        start = found.chunk.position
        while end is None:
            messages = await self._parts(key, found, at - start + 1, min(high, at + max(room, 1)) - start)
            if messages is None:
                return None, at
            text = b"".join(messages)
            comma = last_comma(text)
            if comma > 0:
                return [text[:comma]], at + 1 + comma
            room *= 2  # it ends inside the first message
            end = high if at + room >= high else None
        return await self._parts(key, found, at - start + 1, end - start), end

    def _remember(self, prefix: str, end: int, found: Cached) -> None:
        self._ends[prefix, end] = msgspec.structs.replace(found, body=b"")
        if len(self._ends) > ENDS:
            self._ends.popitem(last=False)

    async def _parts(self, key: str, found: Cached, low: int, high: int) -> list[bytes] | None:
        """Return bytes of the chunk's body, as they arrived; None if it is not there any more."""
        parts = [found.body[low:high]] if low < len(found.body) else []
        at = low + sum(map(len, parts))
        while at < high:
            run = await self._run_at(key, at, found)
            end = high if run is None else min(high, run.end)
            taken = None if run is None else await run.take(at, end)
            if taken is None:
                # A run that failed was sent for nobody; this one is for somebody.
                object_ = await reading(self._bucket.objects.get(key, start=at, length=high - at))
                if object_ is None:
                    self._forget(key)
                    return None
                taken, end = [object_.body], high
            parts += taken
            at = end
        return parts

    async def _run_at(self, key: str, at: int, found: Cached) -> Run | None:
        run = self._runs.at(key, at)
        if run is None:
            return None
        head = await asyncio.shield(run.opened)
        if head is None:
            return None
        if head.size < found.size:
            self._runs.forget(key)  # it is of the chunk that became this superset, and ends with a bracket of its own
            return None
        return run

    def _forget(self, key: str) -> None:
        self._cache.drop(key)
        self._runs.forget(key)
        self._ends.clear()

    async def _get(self, key: str) -> Cached | None:
        object_ = await reading(self._bucket.objects.get(key, start=0, length=self._bucket.settings.block_bytes))
        if object_ is None:
            return None
        found = self._cached(key, object_.head, object_.body)
        self._cache.put(key, found)
        return found

    @staticmethod
    def _cached(key: str, head: Head, body: bytes) -> Cached:
        try:
            chunk = decode_chunk(keys.parse_chunk_key(key)[1], head.metadata)
        except DamagedChunk as error:
            raise DamageError(f"{key} is not a chunk: {error}") from error
        return Cached(chunk, body, head.etag, head.content_type, head.size)

    # -- ahead of the reader

    def read_ahead(self, prefix: str, found: Cached, reached: int, end: int) -> None:
        """Send for what is likely to be asked for after `reached`, in a large chunk or behind a superset."""
        settings, chunk = self._bucket.settings, found.chunk
        if settings.runs_ahead and (chunk.count > 1 or found.size > settings.block_bytes):
            # Whoever has read a single page may not read on: for him it is one request.
            reads_on = self._runs.at(prefix + keys.complement(chunk.position), reached - chunk.position - 1)
            self._go_ahead(prefix, found, reached, 1 + settings.runs_ahead if reads_on else 1, end)

    def _go_ahead(self, prefix: str, found: Cached, at: int, runs: int, end: int) -> None:
        """See to it that so many runs are under way from a position on: of the chunk, then of what follows it."""
        while runs > 0:
            chunk = found.chunk
            if at < chunk.next:
                key, offset, reached = prefix + keys.complement(chunk.position), at - chunk.position, len(found.body)
                if offset >= reached:
                    run = self._runs.at(key, offset) or self._runs.send(key, offset, found.size)
                    if run is None:
                        return
                    reached = run.end
                    runs -= 1
                at = chunk.next if reached >= found.size else chunk.position + reached
            elif chunk.next < end:
                following = self._following(prefix, chunk.next, runs, end)
                if following is None:
                    return
                found = following
            else:
                return

    def _following(self, prefix: str, position: int, runs: int, end: int) -> Cached | None:
        """Return the chunk at a position if it is known; else send for it, and go ahead from there when it is."""
        key = prefix + keys.complement(position)
        found = self._cache.get(key)
        if found is not None:
            return found
        run = self._runs.at(key, 0)
        if run is None:
            run = self._runs.send(key, 0)
            if run is not None:
                run.opened.add_done_callback(partial(self._opened, prefix, position, runs, end))
            return None
        return self._sound(key, run.opened.result()) if run.opened.done() else None

    def _opened(self, prefix: str, position: int, runs: int, end: int, opened: "asyncio.Future[Head | None]") -> None:
        found = self._sound(prefix + keys.complement(position), opened.result())
        if found is not None:
            self._go_ahead(prefix, found, position, runs, end)

    def _sound(self, key: str, head: Head | None) -> Cached | None:
        """Return the chunk of which this was said; None if it is damaged: whoever reads it is told, nobody before."""
        with suppress(DamageError):
            return None if head is None else self._cached(key, head, b"")
        return None

    async def aclose(self) -> None:
        """Let go of what was fetched for nobody yet."""
        await self._runs.aclose()
