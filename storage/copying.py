"""Move a deployment: copy every object of a store to another one, and compare them all at the end. Knows no streams.

The layout is the same everywhere, so a copy is a copy of objects. Roots go last: until then nothing of it is visible.
What is there already is not sent again, so a copy that was interrupted goes on where it was. Nobody may write to the
source meanwhile; what differs at the end is told.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from storage.bucket import IMMUTABLE, reading
from storage.errors import UnavailableError
from storage.objects import LIST_LIMIT, Always, Entry, Objects, OutcomeUnknown, StoreError, StoreUnavailable

AT_ONCE = 16
HELD_BYTES = 64 * 1024 * 1024  # of bodies on their way
TRIES = 6
NOT_COPIED = ("sweep/", "probe/")  # what a store says of itself
LAST = "root/"


class Copied(msgspec.Struct, frozen=True):
    """What a copy came to."""

    copied: int
    present: int  # objects that were there already
    bytes: int
    differences: list[str]  # at the end: keys that are not in both stores, or not the same


class Copier:
    """Copies one store to another."""

    def __init__(
        self,
        source: Objects,
        target: Objects,
        progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
    ) -> None:
        """`progress` hears of the phase (count, copy, compare), objects done, and of how many."""
        self._source = source
        self._target = target
        self._progress = progress
        self._copied = 0
        self._present = 0
        self._bytes = 0

    async def copy(self) -> Copied:
        """Copy what is missing, then compare everything. Raises UnavailableError."""
        total = 0
        async for _ in _pairs(self._source, self._target):
            total += 1
            self._progress("count", total, 0)
        done = 0
        for last in (False, True):
            async for batch in self._batches():
                wanted = [pair for pair in batch if pair[0].startswith(LAST) is last]
                await self._each(wanted, self._move)
                done += len(wanted)
                self._progress("copy", done, total)
        differences: list[str] = []
        done = 0
        async for batch in self._batches():
            differences += [what for what in await self._each(batch, self._compare) if what]
            done += len(batch)
            self._progress("compare", done, total)
        return Copied(self._copied, self._present, self._bytes, differences)

    async def _batches(self) -> AsyncIterator[list["Pair"]]:
        batch: list[Pair] = []
        held = 0
        async for pair in _pairs(self._source, self._target):
            size = max(0 if entry is None else entry.size for entry in pair[1:])
            if batch and (held + size > HELD_BYTES or len(batch) >= LIST_LIMIT):
                yield batch
                batch, held = [], 0
            batch.append(pair)
            held += size
        if batch:
            yield batch

    @staticmethod
    async def _each(batch: list["Pair"], act: Callable[["Pair"], Awaitable[str]]) -> list[str]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(pair: "Pair") -> str:
            async with gate:
                return await act(pair)

        return list(await asyncio.gather(*map(one, batch)))

    async def _move(self, pair: "Pair") -> str:
        key, source, target = pair
        if source is None:
            return ""
        # Chunks never change without growing; everything else is small, and sent again.
        if target is not None and target.size == source.size and key.startswith(("chunk/", "state/")):
            self._present += 1
            return ""
        found = await reading(self._source.get(key))
        if found is None:
            return ""
        head = found.head
        failure: Exception | None = None
        for attempt in range(TRIES):
            try:
                await self._target.put(
                    key,
                    found.body,
                    Always(),
                    content_type=head.content_type,
                    cache_control=IMMUTABLE if key.startswith("chunk/") else "",
                    metadata=head.metadata,
                )
            except (StoreUnavailable, OutcomeUnknown) as error:
                failure = error
                await asyncio.sleep(0.05 * 2**attempt)
            except StoreError as error:
                raise UnavailableError(str(error)) from error
            else:
                self._copied += 1
                self._bytes += len(found.body)
                return ""
        raise UnavailableError(str(failure))

    async def _compare(self, pair: "Pair") -> str:
        key, source, target = pair
        if source is None:
            return f"{key}: it is in the target only"
        if target is None:
            return f"{key}: it is missing in the target"
        here, there = await asyncio.gather(reading(self._source.get(key)), reading(self._target.get(key)))
        if here is None or there is None:
            return f"{key}: it went away while it was compared"
        if here.body != there.body:
            return f"{key}: its bytes differ"
        if dict(here.head.metadata) != dict(there.head.metadata) or here.head.content_type != there.head.content_type:
            return f"{key}: its metadata differ"
        return ""


Pair = tuple[str, Entry | None, Entry | None]


async def _pairs(source: Objects, target: Objects) -> AsyncIterator[Pair]:
    """Yield every key of either store, in byte order, with what each store has under it."""
    left, right = aiter(_entries(source)), aiter(_entries(target))
    here, there = await anext(left, None), await anext(right, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here.key < there.key):
            assert here is not None
            yield here.key, here, None
            here = await anext(left, None)
        elif here is None or there.key < here.key:
            yield there.key, None, there
            there = await anext(right, None)
        else:
            yield here.key, here, there
            here, there = await anext(left, None), await anext(right, None)


async def _entries(objects: Objects) -> AsyncIterator[Entry]:
    after = ""
    while True:
        entries = await reading(objects.list("", after=after))
        for entry in entries:
            if not entry.key.startswith(NOT_COPIED):
                yield entry
        if len(entries) < LIST_LIMIT:
            return
        after = entries[-1].key
