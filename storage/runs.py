"""Large objects on their way: fetched ahead of whoever reads them, handed on in the parts in which they arrive.

One request fetches a long run of an object. A run that is far enough ahead of its readers reads no further, and the
store waits with it: so memory is bounded, and what arrives is neither put together nor copied. What a run cannot give
is asked for again by whoever needs it: a run fails silently. Knows objects and their bytes; nothing of chunks.
"""

import asyncio
from collections import deque
from contextlib import aclosing, suppress

import msgspec

from storage.objects import Head, Objects, StoreError, StoreUnavailable

MOST = 8  # runs at once, for all readers of a process; who comes when there are as many asks for pages instead
IDLE_SECONDS = 10.0  # after which a run that nobody takes from ends
ATTEMPTS = 3  # to go on where a connection broke


class RunSettings(msgspec.Struct, frozen=True):
    """How far ahead to be. Sizes in bytes."""

    run_bytes: int  # of an object, by one request
    ahead_bytes: int  # held of a run, before the first reader has come for them
    behind_bytes: int  # and after, for readers that are a little later


class Run:
    """Bytes of an object from `start` to `end`, those that are here and those that are to come.

    `opened`: what the store said of the object; None where nothing will come of the run.
    """

    def __init__(self, objects: Objects, key: str, start: int, end: int, settings: RunSettings) -> None:
        """Send the request. `end` may be beyond the object's."""
        self.key = key
        self.end = end
        self.is_missing = False  # there is no such object
        self.opened: asyncio.Future[Head | None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._live())
        self.task.add_done_callback(self._ended)
        self._objects = objects
        self._settings = settings
        self._parts: deque[bytes] = deque()
        self._etag = ""
        self._low = start  # what is here begins there
        self._high = start  # and ends here
        self._asked_to = start
        self._asked = asyncio.Event()
        self._takers: list[tuple[int, int, asyncio.Future[list[bytes] | None]]] = []

    def has(self, offset: int) -> bool:
        """Return whether a byte is here, or is to come soon."""
        soon = max(self._high, self._asked_to) + self._settings.ahead_bytes
        return self._low <= offset < min(self.end, soon) and not self.task.done()

    @property
    def is_spent(self) -> bool:
        """Whether all of it was taken."""
        return self._asked_to >= self.end and not self._takers

    async def take(self, low: int, high: int) -> list[bytes] | None:
        """Return the bytes from `low` to `high`, which is not beyond the end, when they are here.

        None if they will not be.
        """
        if not self.has(low):
            return None
        self._asked_to = max(self._asked_to, high)
        self._asked.set()
        self._drop(low - self._settings.behind_bytes)
        if high <= self._high:
            return self._between(low, high)
        taken: asyncio.Future[list[bytes] | None] = asyncio.get_running_loop().create_future()
        self._takers.append((low, high, taken))
        return await taken

    def _between(self, low: int, high: int) -> list[bytes]:
        between: list[bytes] = []
        at = self._low
        for part in self._parts:
            if at >= high:
                break
            end = at + len(part)
            if end > low:
                between.append(part[max(0, low - at) : high - at])  # a whole slice of bytes is no copy
            at = end
        return between

    def _drop(self, before: int) -> None:
        before = min([before, *(low for low, _, _ in self._takers)])
        while self._parts and self._low + len(self._parts[0]) <= before:
            self._low += len(self._parts.popleft())

    async def _live(self) -> None:
        try:
            for _ in range(ATTEMPTS):
                with suppress(StoreUnavailable):
                    await self._fetch()
                    break
        except (StoreError, TimeoutError):
            pass

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._parts.clear()
        if not self.opened.done():
            self.opened.set_result(None)
        for _, _, taken in self._takers:
            if not taken.done():
                taken.set_result(None)

    async def _fetch(self) -> None:
        """Read on from where the run is; return when there is no such object. Raises StoreError, and TimeoutError."""
        arriving = await self._objects.get_parts(self.key, start=self._high, length=self.end - self._high)
        if arriving is None:
            self.is_missing = True
            return
        if not self.opened.done():
            self._etag = arriving.head.etag
            self.end = min(self.end, arriving.head.size)
            self.opened.set_result(arriving.head)
        async with aclosing(arriving.parts) as parts:
            if arriving.head.etag != self._etag:
                return  # another version stands there now: what is here is not continued with it
            async for part in parts:
                self._parts.append(part)
                self._high += len(part)
                self._serve()
                await self._rest()
        await self._rest()

    def _serve(self) -> None:
        """Give what they wait for to those for whom it is complete."""
        waiting = self._takers
        self._takers = []
        for taker in waiting:
            low, high, taken = taker
            if high > self._high:
                self._takers.append(taker)
            elif not taken.done():
                taken.set_result(self._between(low, high))

    async def _rest(self) -> None:
        """Wait for a reader, while enough is here, or all. Raises TimeoutError where none comes."""
        while self._high >= self.end or self._high - self._asked_to >= self._settings.ahead_bytes:
            self._asked.clear()
            async with asyncio.timeout(IDLE_SECONDS):
                await self._asked.wait()


class Runs:
    """The runs of a process."""

    def __init__(self, objects: Objects, settings: RunSettings) -> None:
        self._objects = objects
        self._settings = settings
        self._runs: list[Run] = []  # the oldest first
        self._is_closed = False

    def at(self, key: str, offset: int) -> Run | None:
        """Return a run that has a byte of an object, or will have it."""
        for run in self._runs:
            if run.key == key and run.has(offset):
                return run
        return None

    def send(self, key: str, start: int, size: int | None = None) -> Run | None:
        """Begin a run of an object, whose size may be unknown; None where there are too many already."""
        if self._is_closed:
            return None
        if len(self._runs) >= MOST:
            spent = next((run for run in self._runs if run.is_spent), None)
            if spent is None:
                return None
            self._end(spent)
        end = start + self._settings.run_bytes
        run = Run(self._objects, key, start, end if size is None else min(end, size), self._settings)
        self._runs.append(run)
        run.task.add_done_callback(lambda _: self._remove(run))
        return run

    def forget(self, key: str) -> None:
        """End what is known of an object."""
        for run in [run for run in self._runs if run.key == key]:
            self._end(run)

    def _end(self, run: Run) -> None:
        self._remove(run)
        run.task.cancel()

    def _remove(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)

    async def aclose(self) -> None:
        """End all runs, and begin no more."""
        self._is_closed = True
        runs = list(self._runs)
        for run in runs:
            self._end(run)
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)
