"""Know the end of a stream: load it cold, confirm it warm, see what ended it. Knows nothing of what is appended.

Cold: GET of the root together with LIST of the newest chunk, HEAD of that chunk. Warm: nothing, or a GET of the
successor key where an answer stands on nothing else. Every reading of the store on the way to an append is here.
"""

import asyncio

import msgspec

from storage.bucket import Bucket, reading
from storage.cache import Cached, ChunkCache
from storage.compact import Compactor
from storage.core import keys, lifetime
from storage.core.admission import Tail, first_tail, tail_after, tombstone
from storage.core.chunk import Chunk, DamagedChunk, Kind, decode_chunk, encode_chunk
from storage.core.producers import DamagedTable, Record, decode_table
from storage.core.root import Root, State
from storage.errors import AmbiguousWriteError, ContentionError, DamageError, UnavailableError
from storage.objects import Always, Entry, Head, StoreError
from storage.streams import Batched, Gone, NotFound, Stream

STEPS_BEFORE_JUMP = 16  # GETs along the chain that cost less than a LIST, and are one round trip each


class Tails:
    """Loads, confirms and ends streams."""

    def __init__(self, bucket: Bucket, cache: ChunkCache) -> None:
        self.bucket = bucket
        self.objects = bucket.objects
        self.settings = bucket.settings
        self.clock = bucket.clock
        self.cache = cache
        self.compactor = Compactor(bucket, cache)

    # -- reading what is there

    async def load(self, stream: Stream) -> None:
        """Read the root and the tail of a stream nothing is known of: two round trips, three requests."""
        if stream.load is None:
            stream.load = Batched(lambda: self._load(stream))
        await stream.load()

    async def _load(self, stream: Stream) -> None:
        at = self.clock.steady()
        newest, found = await asyncio.gather(
            reading(self.objects.list(keys.chunks_of_path(stream.path), limit=1)),
            self.bucket.read_root(stream.root_key),
        )
        root = None if found is None else found.root
        stream.set_root(root, at)
        if root is None or root.state is not State.LIVE:
            return
        if not newest or keys.parse_chunk_key(newest[0].key)[0] != root.generation:
            # The two were not read at one instant: only under the root's own generation does the list say anything.
            newest = await reading(self.objects.list(stream.chunks, limit=1))
        tail = await self._tail_at(root, newest)
        await self._load_touch(stream, root)
        stream.set_tail(tail, at, is_end=True)

    async def _tail_at(self, root: Root, newest: list[Entry]) -> Tail:
        chunks = keys.chunks_of_generation(root.own.path, root.generation)  # the stream may be another one by and by
        beginning = first_tail(root.generation, root.own.low)
        if not newest:
            return beginning
        for _ in range(self.settings.tries):
            key = newest[0].key
            head = await reading(self.objects.head(key))
            if head is not None:
                chunk = self.decode(key, head)
                return tail_after(root.generation, chunk, await self._table(key, chunk))
            # What lies inside a superset is reclaimed one day, once there is something newer than it; the newest goes
            # only with its generation.
            newest = await reading(self.objects.list(chunks, limit=1))
            if not newest:
                return msgspec.structs.replace(beginning, deleted=True)
        raise ContentionError(f"the newest chunks under {chunks} went away as often as they were looked at")

    def decode(self, key: str, head: Head) -> Chunk:
        """Return the chunk that an object's metadata tells of. Raises DamageError."""
        try:
            return decode_chunk(keys.parse_chunk_key(key)[1], head.metadata)
        except DamagedChunk as error:
            raise DamageError(f"{key} is not a chunk: {error}") from error

    async def _table(self, chunk_key: str, chunk: Chunk) -> dict[str, Record]:
        if not chunk.table:
            return {}
        key = _prefix(chunk_key).replace("chunk/", "state/", 1) + chunk.table
        found = await reading(self.objects.get(key))
        try:
            if found is not None:
                return decode_table(found.body)
        except DamagedTable as error:
            raise DamageError(f"{key} is not a producer table: {error}") from error
        raise DamageError(f"{key} is missing: it holds the producers of a chunk")

    async def _load_touch(self, stream: Stream, root: Root) -> None:
        if root.config.ttl_seconds is None:
            return
        key = keys.touch_key(stream.path, root.generation)
        found = await reading(self.objects.get(key))
        if found is None:
            return
        try:
            at_ms = lifetime.decode_touch(found.body).at_ms
        except lifetime.DamagedTouch as error:
            raise DamageError(f"{key} is not a touch: {error}") from error
        # A late PUT can bring an old body back; the store's own time tells that it came late.
        stream.touched_ms = max(stream.touched_ms, at_ms, found.head.modified_ms)

    # -- is it so still

    async def confirm(self, stream: Stream) -> None:
        """Read the successor key of the tail until there is nothing: then the tail was the tail during this call.

        Returns without that if the stream turned out to be deleted, or nothing is known of it.
        """
        if stream.confirm is None:
            stream.confirm = Batched(lambda: self._confirm(stream))
        await stream.confirm()

    async def _confirm(self, stream: Stream) -> None:
        began, before = self.clock.steady(), stream.tail
        try:
            await self._follow(stream, began)
        finally:
            if stream.tail is not before:
                stream.wake()

    async def _follow(self, stream: Stream, began: float) -> None:
        for step in range(1, self.settings.tries * STEPS_BEFORE_JUMP):
            tail = stream.tail
            if tail is None or tail.deleted:
                return
            if step % STEPS_BEFORE_JUMP == 0:
                await self.jump(stream)
                continue
            at = self.clock.steady()
            key = stream.chunks + keys.complement(tail.key)
            found = await reading(self.objects.get(key))
            if stream.tail is not tail:
                if stream.is_end and stream.tail_at >= began:
                    return  # this process itself appended meanwhile, and so knows
                continue
            if found is None:
                stream.tail_at = at
                stream.is_end = True
                return
            await self.adopt(stream, key, found.head, found.body)
        raise ContentionError(f"the tail of {stream.path} moved faster than it could be read")

    async def adopt(self, stream: Stream, key: str, head: Head, body: bytes | None = None) -> None:
        """Take over the chunk that somebody wrote at the tail's key, its spilled table too."""
        generation = keys.parse_chunk_key(key)[0]
        chunk = self.decode(key, head)
        if body is not None and chunk.kind is Kind.DATA:
            entry = Cached(chunk, body, head.etag, head.content_type, head.size)
            self.cache.put(key, entry)
            self.compactor.passed(_prefix(key), entry)
        tail = tail_after(generation, chunk, await self._table(key, chunk))
        stream.set_tail(tail, stream.tail_at, is_end=False)

    async def jump(self, stream: Stream) -> None:
        """Go to the newest chunk by a LIST: the tail has moved on by more than a few chunks."""
        root, tail = stream.root, stream.tail
        if root is None or tail is None:
            return
        at = self.clock.steady()
        newest = await reading(self.objects.list(stream.chunks, limit=1))
        if newest and keys.parse_chunk_key(newest[0].key)[1] >= tail.key:
            stream.set_tail(await self._tail_at(root, newest), at, is_end=False)

    # -- is there a stream

    async def live(self, stream: Stream) -> NotFound | Gone | None:
        """See to it that root and tail are known; None where the stream lives, as far as this process knows.

        What is unknown of somebody's deletion is not unknown of what the caller wants to do: that was not begun.
        """
        try:
            return await self._live(stream)
        except AmbiguousWriteError as error:
            raise UnavailableError(str(error)) from error

    async def _live(self, stream: Stream) -> NotFound | Gone | None:
        for _ in range(self.settings.tries):
            root, tail = stream.root, stream.tail
            at = self.clock.steady()
            known = root is not None and root.state is State.LIVE and tail is not None
            # A root too: one whose stream is appended to all the time would never be read again, and the beginning that
            # it tells of may be gone by then.
            if not known or at - min(stream.tail_at, stream.root_at) > self.settings.tail_seconds:
                # Nothing is forgotten first: others may be on their way with what is known.
                await self.load(stream)
                if stream.root_at < at:
                    continue  # somebody forgot it meanwhile: that is not the same as there being no stream
                root, tail = stream.root, stream.tail
            if root is None or root.state in (State.CREATING, State.DELETED):
                return NotFound()
            if root.state is State.SOFT:
                return Gone()
            if tail is None:
                continue
            if tail.deleted:
                await self.finish(stream.path, root.generation)
                if stream.root is root:
                    stream.forget()
                continue
            if not await self._expire(stream, root, tail):
                return None
        raise ContentionError(f"{stream.path} was deleted and created again faster than it could be read")

    def accessed_ms(self, stream: Stream, root: Root, tail: Tail) -> int:
        """Return the last access on record."""
        return max(root.created_ms, tail.at_ms, stream.touched_ms)

    async def touched(self, stream: Stream) -> None:
        """Put an access on record before it is answered, if the last one there is old enough."""
        root, tail = stream.root, stream.tail
        if root is None or tail is None or root.config.ttl_seconds is None:
            return
        now = self.clock.now_ms()
        if lifetime.is_touch_due(root.config, self.accessed_ms(stream, root, tail), now):
            if stream.touch is None:
                stream.touch = Batched(lambda: self._touch(stream))
            await stream.touch()

    async def _touch(self, stream: Stream) -> None:
        root, tail = stream.root, stream.tail
        now = self.clock.now_ms()
        if root is None or tail is None:
            return
        if not lifetime.is_touch_due(root.config, self.accessed_ms(stream, root, tail), now):
            return
        key = keys.touch_key(stream.path, root.generation)
        body = lifetime.encode_touch(lifetime.Touch(now))
        try:
            await self.objects.put(key, body, Always(), content_type="application/json")
        except StoreError as error:
            raise UnavailableError(str(error)) from error
        stream.touched_ms = max(stream.touched_ms, now)

    # -- the end of a generation

    async def _expire(self, stream: Stream, root: Root, tail: Tail) -> bool:
        """Delete the stream if its time is over; say whether anything changed that the caller must look at again."""
        now = self.clock.now_ms()
        expiry = lifetime.expiry_ms(root.config, self.accessed_ms(stream, root, tail))
        if expiry is None or now < expiry:
            return False
        await self._load_touch(stream, root)
        if stream.tail is not tail:
            return True  # an append meanwhile, or the end: the touch says nothing of either
        expiry = lifetime.expiry_ms(root.config, self.accessed_ms(stream, root, tail))
        if expiry is None or now < expiry:
            return False
        await self.bury(stream, self.bucket.chance.new_id())
        return True

    async def bury(self, stream: Stream, write_id: str) -> bool:
        """Write a tombstone at the tail's key: that is the moment a generation ends.

        Return whether it is this call's own. Where a chunk stands there instead it is adopted, and nothing is
        buried: the caller looks again. Raises AmbiguousWriteError, UnavailableError.
        """
        tail = stream.tail
        assert tail is not None
        at = self.clock.steady()
        chunk = tombstone(tail, write_id, self.clock.now_ms())
        key = stream.chunks + keys.complement(tail.key)
        settled = await self.bucket.settle(
            key, b"", encode_chunk(chunk, tail.generation), "application/octet-stream", stream.tail_at
        )
        if isinstance(settled, Head):
            await self.adopt(stream, key, settled)
            return False
        stream.set_tail(tail_after(tail.generation, chunk, {}), at, is_end=True)
        stream.wake()
        return True

    async def finish(self, path: str, generation: int) -> None:
        """Let the root say what the tombstone did: deleted, or soft-deleted while forks depend on the generation.

        A fork that is deleted lets go of its source, which may then be deleted in its turn. Raises LogError.
        """
        key = keys.root_key(path)
        for attempt in range(self.settings.tries):
            found = await self.bucket.read_root(key)
            if found is None or found.root.generation != generation:
                return None
            if found.root.state in (State.DELETED, State.CREATING):
                return None
            markers = await reading(self.objects.list(keys.markers_of(path, generation), limit=1))
            state = State.SOFT if markers else State.DELETED
            if found.root.state is state:
                return None
            root = msgspec.structs.replace(found.root, state=state, write_id=self.bucket.chance.new_id())
            written = (await self.bucket.swap(key, found, root)).present
            if written is None or written.root.write_id != root.write_id:
                await self.bucket.pause(attempt)
            elif state is State.DELETED:
                return await self.release(path, root)
            # After `soft` the markers are listed once more: the last fork may have left in between.
        raise AmbiguousWriteError(f"the deletion of {path} is certain, but its root could not be written")

    async def release(self, path: str, root: Root) -> None:
        """Remove the marker of a fork that is deleted, or fenced, and see what becomes of its source."""
        origin = root.origin
        if origin is None:
            return
        await self.bucket.remove(keys.marker_key(origin.path, origin.generation, path, root.generation))
        found = await self.bucket.read_root(keys.root_key(origin.path))
        if found is not None and found.root.generation == origin.generation and found.root.state is State.SOFT:
            await self.finish(origin.path, origin.generation)


def _prefix(chunk_key: str) -> str:
    """Return the prefix of the chunk's generation. The stream's own may be another one's by the time of an answer."""
    return chunk_key[: chunk_key.rindex("/") + 1]
