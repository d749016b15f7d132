"""Read pages, and wait for more. Section 5.6 and 5.7. Writes nothing but a touch.

A page that ends at the tail says so only after the successor key was seen to be empty during the call, or by a commit
of this very process; one that does not reach the tail may lag a deletion made elsewhere by `root_cache_seconds`.
"""

import asyncio

import msgspec

from storage.bodies import Bodies
from storage.bucket import reading
from storage.cache import Cached, ChunkCache
from storage.core import keys
from storage.core.lineage import position_of, segment_at
from storage.core.offset import Offset, Sentinel
from storage.core.reading import Named, NotABoundary, Piece, cut, join, plan_page
from storage.core.root import Root
from storage.errors import ContentionError, LogError
from storage.objects import LIST_LIMIT
from storage.streams import Gone, NotFound, Stream
from storage.tail import Tails

CHAIN_BEFORE_LIST = 4  # chunks near the tail that are cheaper to follow one by one than to list
LISTED = 500  # chunks a page's listing aims at


class Page(msgspec.Struct, frozen=True):
    """What one read answers. Positions count payload bytes; `root.lineage` turns them into offsets."""

    root: Root
    parts: tuple[bytes, ...]  # of the body, as they are best sent
    start: int
    end: int
    up_to_date: bool  # nothing was beyond `end` when this was read
    closed: bool  # and nothing ever will be

    @property
    def body(self) -> bytes:
        """The body in one, which may be a copy."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.parts))


class OffsetGone(msgspec.Struct, frozen=True):
    """The offset is of another generation, or of data that is not kept any more."""


class OffsetInvalid(msgspec.Struct, frozen=True):
    """The offset is none that this stream has handed out."""

    why: str


Outcome = Page | NotFound | Gone | OffsetGone | OffsetInvalid


class Reader:
    """Reads streams."""

    def __init__(self, tails: Tails, cache: ChunkCache) -> None:
        self._tails = tails
        self._cache = cache
        self._bodies = Bodies(tails.bucket, cache)

    async def read(self, stream: Stream, offset: Offset | Sentinel, limit: int, wait_seconds: float) -> Outcome:
        """Return what follows the offset, at most about `limit` bytes; at the tail, wait for more. Raises LogError."""
        outcome = await self._read(stream, offset, limit, confirmed=False)
        if not isinstance(outcome, Page):
            return outcome
        await self._tails.touched(stream)
        deadline = self._tails.clock.steady() + wait_seconds
        while isinstance(outcome, Page) and outcome.start == outcome.end and not outcome.closed:
            left = deadline - self._tails.clock.steady()
            if left <= 0 or not await self._changed(stream, outcome, left):
                break
            # A commit in this process, or the probe that woke us, has just seen the end: nothing is asked again.
            after = Offset(outcome.root.generation, outcome.end)
            outcome = await self._read(stream, after, limit, confirmed=stream.is_end)
        return outcome

    async def _read(self, stream: Stream, offset: Offset | Sentinel, limit: int, *, confirmed: bool) -> Outcome:
        tails = self._tails
        looked = False
        for _ in range(tails.settings.tries):
            ended = await tails.live(stream)
            if ended is not None:
                return ended
            if offset is Sentinel.NOW and not confirmed:
                await tails.confirm(stream)
            root, tail = stream.root, stream.tail
            if root is None or tail is None or tail.deleted:
                continue
            if offset is Sentinel.NOW:
                return Page(root, join((), is_json=root.is_json), tail.position, tail.position, True, tail.closed)
            position = 0 if isinstance(offset, Sentinel) else position_of(root.lineage, offset)
            if position is None:
                if looked:
                    return self._misplaced(root, offset)
                # It may be of a generation that came after the one known here.
                looked = True
                await tails.confirm(stream)
                continue
            if position < root.retained:
                if not isinstance(offset, Sentinel):
                    return OffsetGone()
                position = root.retained
            outcome = await self._page(stream, root, position, limit, confirmed=confirmed)
            if outcome is not None:
                return outcome
        raise ContentionError(f"{stream.path} was deleted and created again faster than it could be read")

    @staticmethod
    def _misplaced(root: Root, offset: Offset | Sentinel) -> Outcome:
        held = isinstance(offset, Offset) and any(s.generation == offset.generation for s in root.lineage)
        return OffsetInvalid("it is not within the stream") if held else OffsetGone()

    async def _page(self, stream: Stream, root: Root, start: int, limit: int, *, confirmed: bool) -> Outcome | None:
        """Fill a page; None if the stream was deleted meanwhile."""
        tails = self._tails
        pieces: list[Piece] = []
        at, woken = start, confirmed
        try:
            while True:
                tail = stream.tail
                if stream.root is None or stream.root.generation != root.generation or tail is None or tail.deleted:
                    return None
                if at >= tail.position:
                    if not confirmed:
                        confirmed = True
                        await tails.confirm(stream)
                        continue
                    if at > tail.position:
                        return OffsetInvalid("it is beyond the end of the stream")
                    if pieces and not woken and not await self._is_fresh(stream, root):
                        return None  # what it begins with may have been dropped elsewhere
                    return Page(root, join(pieces, is_json=root.is_json), start, at, True, tail.closed)
                if pieces and (at - start >= limit or pieces[-1].is_cut):
                    break
                more = await self._pieces(stream, root, at, limit - (at - start), is_first=not pieces)
                if more[0].high == at:
                    break
                pieces += more
                at = more[-1].high
        except NotABoundary as error:
            return OffsetInvalid(str(error))
        if not await self._is_fresh(stream, root):
            return None
        if tails.settings.whole_chunks and len(pieces) > 1 and pieces[-1].is_cut:
            at = pieces.pop().low
        return Page(root, join(pieces, is_json=root.is_json), start, at, False, False)

    async def _is_fresh(self, stream: Stream, root: Root) -> bool:
        """See to it that the root was read lately: a page that ends before the tail says nothing of a deletion."""
        tails = self._tails
        at = tails.clock.steady()
        if at - stream.root_at > tails.settings.root_cache_seconds:
            found = await tails.bucket.read_root(stream.root_key)
            stream.set_root(None if found is None else found.root, at)
        now = stream.root
        same = (root.generation, root.state, root.retained)
        return now is not None and (now.generation, now.state, now.retained) == same

    # -- chunks

    async def _pieces(self, stream: Stream, root: Root, at: int, room: int, *, is_first: bool) -> list[Piece]:
        """Return what lies at a position that is before the tail: one chunk, or, where many follow, as many as fit.

        An empty piece where nothing fits, but if it is the page's first.
        """
        segment = segment_at(root.lineage, at)
        prefix = keys.chunks_of_generation(segment.path, segment.generation)
        tail = stream.tail
        if tail is None:
            raise ContentionError(f"{stream.path} was deleted while it was read")
        # A superset may reach beyond a fork point, and beyond the tail that this page has seen to be the tail.
        end = tail.position if segment.high is None else segment.high
        first = await self._bodies.covering(prefix, at, end, is_json=root.is_json)
        self._tails.compactor.passed(prefix, first)
        if first.chunk.count > 1 or first.size > len(first.body):
            return [await self._piece_of_many(prefix, first, at, end, room, is_json=root.is_json, is_first=is_first)]
        pieces = [_cut(root, first, at, end, room)]
        reached = pieces[0].high
        if reached < first.chunk.next or reached - at >= room or reached >= end:
            return pieces
        if segment.high is None and tail.index - first.chunk.index <= CHAIN_BEFORE_LIST:
            return pieces
        if self._cache.get(prefix + keys.complement(reached)) is not None:
            return pieces
        room -= reached - at
        average = max(1, first.chunk.next // (first.chunk.index + 1))
        named = await self._named(prefix, reached, min(reached + room, end, reached + LISTED * average), average)
        plan = plan_page(named, reached, room, is_json=root.is_json)
        gate = asyncio.Semaphore(self._tails.settings.parallel_gets)

        async def fetch(position: int) -> Cached | None:
            async with gate:
                return await self._bodies.fetch(prefix + keys.complement(position))

        for found in await asyncio.gather(*map(fetch, plan)):
            if found is None or found.chunk.position > reached or room <= 0:
                break  # what follows is not contiguous, or is the next page's
            if found.chunk.next <= reached:
                continue  # a superset was written since the listing, and holds it
            self._tails.compactor.passed(prefix, found)
            if found.size > len(found.body):
                break  # it is read in parts
            piece = _cut(root, found, reached, end, room)
            pieces.append(piece)
            room -= piece.high - reached
            reached = piece.high
            if reached < found.chunk.next:
                break
        return pieces

    async def _piece_of_many(
        self, prefix: str, found: Cached, at: int, end: int, room: int, *, is_json: bool, is_first: bool
    ) -> Piece:
        """Take a piece of a chunk that is large, or of a superset, after which others are likely to follow."""
        while True:
            high = min(found.chunk.next, end)
            piece = await self._bodies.piece(prefix, found, at, high, room, is_json=is_json, is_first=is_first)
            if piece is not None:
                self._bodies.read_ahead(prefix, found, piece.high, end)
                return piece
            found = await self._bodies.covering(prefix, at, end, is_json=is_json)

    async def _named(self, prefix: str, low: int, high: int, average: int) -> list[Named]:
        """List the chunks whose positions are in [low, high), ascending, where `average` is their likely size."""
        while True:
            # A listing cannot be told where to end, only how long to be.
            limit = min(LIST_LIMIT, 2 * (high - low) // average + 8)
            entries = await reading(self._tails.objects.list(prefix, after=prefix + keys.complement(high), limit=limit))
            named = [Named(keys.parse_chunk_key(entry.key)[1], entry.size) for entry in reversed(entries)]
            if len(entries) < limit or named[0].position <= low:
                return [chunk for chunk in named if chunk.position >= low]
            high = low + (high - low) // 4  # the chunks here are smaller than the average

    async def aclose(self) -> None:
        """Let go of what was fetched for nobody yet."""
        await self._bodies.aclose()

    # -- waiting

    async def _changed(self, stream: Stream, page: Page, seconds: float) -> bool:
        """Wait until the tail is no longer where the page ended; False after `seconds`."""
        tail = stream.tail
        if tail is None or tail.deleted or tail.position != page.end or tail.closed:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stream.readers[future] = None
        if stream.watcher is None:
            stream.watcher = asyncio.create_task(self._watch(stream))
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            stream.readers.pop(future, None)
        return True

    async def _watch(self, stream: Stream) -> None:
        """Probe for all who wait for a stream, one probe at a time, more and more seldom while nothing comes."""
        settings, clock = self._tails.settings, self._tails.clock
        pause = settings.probe_seconds
        try:
            while stream.readers:
                await clock.sleep(pause)
                if not stream.readers:
                    return
                before = stream.tail
                try:
                    if await self._tails.live(stream) is not None:
                        stream.wake()
                        return
                    await self._tails.confirm(stream)
                    await self._tails.touched(stream)
                except LogError:
                    pass  # whoever waits has a deadline of his own, and the store may be back before it
                if stream.tail is not before:
                    stream.wake()
                    pause = settings.probe_seconds
                else:
                    pause = min(pause * 1.5, settings.probe_limit_seconds)
        finally:
            stream.watcher = None


def _cut(root: Root, found: Cached, at: int, end: int, room: int) -> Piece:
    return cut(found.body, found.chunk.position, at, min(found.chunk.next, end), room, is_json=root.is_json)
