"""Keep subscriptions going: timers, work that was noticed, and the hints that other processes left. Decides nothing.

Everything that a timer here stands for stands in the store too (core/due.py): this process may end at any moment, and
any other, or the next run of this one, carries on from the hints.
"""

import asyncio
import logging

from storage.core.due import MINUTE_MS, Due, Kind, encode_due, is_over
from storage.core.keys import decode_path
from storage.core.subscription import PREFIX
from storage.errors import LogError
from storage.subscriptions.wakes import Wakes

SETTLED_MS = 5_000  # after its minute, a hint at appends is looked at by those who did not write it
SHORTEST_SECONDS = 0.005  # between two looks at the timers
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.2, 5.0  # before work that failed for want of the store is tried again

log_ = logging.getLogger(__name__)


class Runner:
    """The background of one process. Without `start` it does what it is told of, and `sweep` once over the rest."""

    def __init__(self, scan_seconds: float) -> None:
        self._scan_seconds = scan_seconds
        self._wakes: Wakes
        self._timers: dict[str, int] = {}  # by subscription, in milliseconds since the epoch
        self._noticed: dict[str, set[str]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._looked_at: dict[str, Due] = {}
        self._changed = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._scan: asyncio.Task[None] | None = None
        self._has_swept = False

    def serve(self, wakes: Wakes) -> None:
        """Learn whose work this is."""
        self._wakes = wakes

    def start(self) -> None:
        """Begin to run timers and to look for hints."""
        if self._main is None:
            self._main = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop; what was not done is in the store."""
        tasks = [task for task in (self._main, self._scan, *self._working.values()) if task is not None]
        self._main = self._scan = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is noticed

    def set_timer(self, key: str, at_ms: int | None) -> None:
        """Look at a subscription at a moment; None: not before something happens."""
        if at_ms is None:
            self._timers.pop(key, None)
        elif self._timers.get(key) != at_ms:
            self._timers[key] = at_ms
            self._changed.set()

    def notice(self, key: str, path: str | None = None) -> None:
        """Look at a subscription now; `path`: a stream was appended to."""
        paths = self._noticed.setdefault(key, set())
        if path is not None:
            paths.add(path)
        if key not in self._working:
            self._working[key] = asyncio.create_task(self._work(key))

    async def _work(self, key: str) -> None:
        pause = FIRST_PAUSE_SECONDS
        try:
            while key in self._noticed:
                paths = self._noticed.pop(key)
                try:
                    await self._wakes.look(key, sorted(paths))
                    pause = FIRST_PAUSE_SECONDS
                except LogError as error:
                    log_.warning("%s is looked at again in %.1f s: %s", key, pause, error)
                    self._noticed.setdefault(key, set()).update(paths)
                    await self._wakes.bucket.clock.sleep(pause)
                    pause = min(2 * pause, LAST_PAUSE_SECONDS)
        finally:
            del self._working[key]

    async def finish(self, key: str) -> bool:
        """Wait until what was noticed of a subscription is done; say whether there was anything."""
        working = self._working.get(key)
        if working is not None:
            await asyncio.wait([working])
        return working is not None

    async def settle(self) -> None:
        """Wait until nothing that was noticed is left."""
        while self._working:
            await asyncio.wait(list(self._working.values()))

    # -- time

    async def _run(self) -> None:
        clock = self._wakes.bucket.clock
        next_scan = clock.steady()
        while True:
            self._changed.clear()
            now = clock.now_ms()
            self._fire(now)
            if self._scan is None and clock.steady() >= next_scan:
                next_scan = clock.steady() + self._scan_seconds
                self._scan = asyncio.create_task(self._scan_once())
            waits = [(min(self._timers.values()) - now) / 1000] if self._timers else []
            if self._scan is None:
                waits.append(next_scan - clock.steady())
            try:
                async with asyncio.timeout(max(SHORTEST_SECONDS, min(waits)) if waits else None):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _fire(self, now_ms: int) -> None:
        for key in [key for key, at in self._timers.items() if at <= now_ms]:
            del self._timers[key]
            self.notice(key)

    async def _scan_once(self) -> None:
        try:
            await self.sweep()
        except LogError as error:
            log_.warning("looking for due work failed, and is tried again: %s", error)
        finally:
            self._scan = None
            self._changed.set()

    # -- what others left

    async def sweep(self) -> None:
        """Look at every hint whose time has come, and remove those that are over. Raises LogError."""
        now = self._wakes.bucket.clock.now_ms()
        self._fire(now)  # those that no background is there to run
        dues = [due for due in await self._wakes.dues.every() if is_over(due, now) or self._is_ours(due, now)]
        if any(due.kind is Kind.APPEND for due in dues):
            await self._wakes.interest.fresh()
        self._looked_at = {key: due for key, due in self._looked_at.items() if not is_over(due, now)}
        for due in dues:
            if is_over(due, now):
                await self._look_at(due)
                await self._wakes.dues.remove(due)
                continue
            self._looked_at[encode_due(due)] = due
            if due.kind is Kind.APPEND:
                self._notice_append(due)
            else:
                self.notice(PREFIX + due.what)
        self._has_swept = True

    def _is_ours(self, due: Due, now_ms: int) -> bool:
        """Say whether to look at a hint now. One that this process wrote needs no look: it does the work itself."""
        if due.minute_ms > now_ms or encode_due(due) in self._looked_at:
            return False
        if not self._has_swept:
            return True  # this process has just begun: there may be nobody left of those who wrote it
        if self._wakes.dues.is_written(due):
            return False
        return due.kind is Kind.SUBSCRIPTION or now_ms >= due.minute_ms + MINUTE_MS + SETTLED_MS

    def _notice_append(self, due: Due) -> None:
        path = decode_path(due.what)
        for key in self._wakes.interest.matching(path):
            self.notice(key, path)

    async def _look_at(self, due: Due) -> None:
        if due.kind is Kind.SUBSCRIPTION:
            await self._wakes.look(PREFIX + due.what)
            return
        path = decode_path(due.what)
        for key in self._wakes.interest.matching(path):
            await self._wakes.look(key, [path])
