"""Append: per stream and process, what arrives while a PUT is in flight becomes the next chunk.

Every append of a group is answered from one draft, and only after the store has decided the draft's fate: a chunk that
stands at the tail's key, or, for a group that writes nothing, a successor key that is empty.
"""

import asyncio

import msgspec

from storage.cache import Cached, ChunkCache
from storage.core import keys
from storage.core.admission import Append, Draft, Judged, Tail, tail_after
from storage.core.chunk import Chunk, Kind, encode_chunk, fits
from storage.core.producers import Record, encode_table, without_idle
from storage.core.root import Root
from storage.errors import ContentionError
from storage.objects import Head
from storage.observer import Observer
from storage.streams import Gone, NotFound, Stream, Waiting
from storage.tail import Tails

LOSSES_BEFORE_JUMP = 3  # races lost one chunk at a time before a LIST finds the tail


class Writer:
    """Forms groups and commits them."""

    def __init__(self, tails: Tails, cache: ChunkCache) -> None:
        self._tails = tails
        self._cache = cache
        self.observer: Observer | None = None

    async def append(self, stream: Stream, append: Append) -> Judged | NotFound | Gone:
        """Append through the stream's next group. Raises LogError."""
        future: asyncio.Future[Judged | NotFound | Gone] = asyncio.get_running_loop().create_future()
        stream.queue.append(Waiting(append, future))
        if stream.writer is None:
            stream.writer = asyncio.create_task(self._write(stream))
        return await future

    async def _write(self, stream: Stream) -> None:
        try:
            while stream.queue:
                group = self._take(stream)
                if group:
                    await self._commit_and_answer(stream, group)
        finally:
            stream.writer = None

    def _take(self, stream: Stream) -> list[Waiting]:
        """Take what waits, up to the size of a chunk; those who went away before anything was sent are left out."""
        room = self._tails.settings.group_bytes
        for count, waiting in enumerate(stream.queue):
            room -= len(waiting.append.payload)
            if room < 0 and count:
                break
        else:
            count = len(stream.queue)
        taken, stream.queue = stream.queue[:count], stream.queue[count:]
        return [waiting for waiting in taken if not waiting.future.done()]

    async def _commit_and_answer(self, stream: Stream, group: list[Waiting]) -> None:
        observer = self.observer
        try:
            if observer is not None and (ready := observer.before(stream.path)) is not None:
                await ready
            verdicts = await self._commit(stream, [waiting.append for waiting in group])
        except Exception as error:
            if observer is not None:
                observer.after(stream.path)  # it may have been written
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
        except asyncio.CancelledError:
            for waiting in group + stream.queue:
                waiting.future.cancel()
            raise
        else:
            if observer is not None:
                observer.after(stream.path)
            for waiting, verdict in zip(group, verdicts, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(verdict)

    async def _commit(self, stream: Stream, group: list[Append]) -> list[Judged] | list[NotFound | Gone]:
        tails = self._tails
        for losses in range(tails.settings.tries):
            ended = await tails.live(stream)
            root, tail = stream.root, stream.tail
            if ended is not None:
                return [ended] * len(group)
            if root is None or tail is None:
                continue
            now = tails.clock.now_ms()
            draft = Draft(tail, stream.media_type, now, root.lineage)
            verdicts = [Judged(draft.admit(append), root.lineage) for append in group]
            if draft.writes:
                if await self._put(stream, root, tail, draft):
                    return verdicts
                if losses >= LOSSES_BEFORE_JUMP:
                    await tails.bucket.pause(losses)
                    await tails.jump(stream)
            else:
                # Nothing will be written that could fail on a stale cache, so the cache is checked by a read.
                await tails.confirm(stream)
                if stream.tail is tail and not tail.deleted:
                    await tails.touched(stream)
                    return verdicts
        raise ContentionError(f"other writers of {stream.path} were faster {tails.settings.tries} times in a row")

    async def _put(self, stream: Stream, root: Root, tail: Tail, draft: Draft) -> bool:
        """Write the draft as the next chunk; False if another chunk stands there, which is adopted."""
        tails = self._tails
        prefix = stream.chunks  # taken before anything is awaited: the stream may be another one by and by
        at = tails.clock.steady()
        chunk = draft.chunk(tails.bucket.chance.new_id())
        metadata = encode_chunk(chunk, tail.generation)
        producers = {**tail.producers, **draft.changed} if chunk.table else {}
        if not fits(metadata):
            chunk, producers = await self._spill(prefix, tail, chunk)
            metadata = encode_chunk(chunk, tail.generation)
        body = draft.body()
        key = prefix + keys.complement(tail.key)
        settled = await tails.bucket.settle(key, body, metadata, root.config.content_type, at)
        if isinstance(settled, Head):
            await tails.adopt(stream, key, settled)
            return False
        if chunk.kind is Kind.DATA:
            entry = Cached(chunk, body, settled, root.config.content_type, len(body))
            self._cache.put(key, entry)
            tails.compactor.committed(prefix, entry)
        stream.set_tail(tail_after(tail.generation, chunk, producers), at, is_end=True)
        stream.wake()
        return True

    async def _spill(self, prefix: str, tail: Tail, chunk: Chunk) -> tuple[Chunk, dict[str, Record]]:
        """Write the whole producer table under the write id of the chunk that will name it, and confirm it."""
        tails = self._tails
        idle_ms = int(tails.settings.producer_idle_seconds * 1000)
        table = without_idle({**tail.producers, **chunk.producers}, chunk.at_ms, idle_ms)
        name = f"{keys.complement(tail.key)}/{chunk.write_id}"
        key = prefix.replace("chunk/", "state/", 1) + name
        await tails.bucket.write_once(key, encode_table(chunk.write_id, table))
        return msgspec.structs.replace(chunk, producers={}, table=name), table
