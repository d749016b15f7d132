"""All of a store's subscriptions, as one process sees them: what listens to the log, and runs in the background.

    subscriptions = Subscriptions(log, courier)
    log.observer = subscriptions
    subscriptions.start()

`registry` is what clients configure, `leases` what workers ask for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from storage.bucket import Bucket
from storage.clock import Chance, Clock
from storage.core.due import Kind, due_at
from storage.core.keys import encode_path
from storage.errors import LogError
from storage.log import Log
from storage.subscriptions.courier import Courier
from storage.subscriptions.leases import Leases
from storage.subscriptions.registry import Registry
from storage.subscriptions.runner import Runner
from storage.subscriptions.wakes import Wakes

SCAN_SECONDS = 10.0  # between two looks for hints that other processes left
DRAIN_SECONDS = 5.0  # for deliveries under way when a process ends


# Takes a stream that was appended to, and the subscriptions that listen to it; none where that is not known by now.
Delegate = Callable[[str, tuple[str, ...]], None]


class Subscriptions:
    """An observer of the log, and the background that carries on what is in the store."""

    def __init__(
        self,
        log: Log,
        courier: Courier,
        clock: Clock | None = None,
        chance: Chance | None = None,
        *,
        scan_seconds: float = SCAN_SECONDS,
        delegate: Delegate | None = None,
    ) -> None:
        """Observe a log. `delegate`: takes what appends ask for, in place of this process, which is not there long
        enough to deliver; what it is told stands in the store as well.
        """
        self._bucket = Bucket(log.objects, log.settings, clock or Clock(), chance or Chance())
        self._delegate = delegate
        self._runner = Runner(scan_seconds)
        self._wakes = Wakes(log, self._bucket, courier, self._runner.set_timer)
        self._runner.serve(self._wakes)
        self.registry = Registry(self._bucket, self._wakes)
        self.leases = Leases(self._bucket, self._wakes, self._runner)
        self._late: set[str] = set()  # paths appended to while what is known of subscriptions was old
        self._catching_up: asyncio.Task[None] | None = None

    # -- in the background

    def start(self) -> None:
        """Begin to carry on what is in the store, this process's work and others'."""
        self._runner.start()

    async def sweep(self) -> None:
        """Do once what is due, for a process that does not stay. Raises LogError."""
        await self._runner.sweep()
        await self.settle()

    async def look(self, appended: Mapping[str, Iterable[str]]) -> None:
        """Do what appends ask for that another process made and delegated."""
        for path, listeners in appended.items():
            if not listeners:
                self.after(path)
            for key in listeners:
                self._runner.notice(key, path)
        await self.settle()

    async def settle(self) -> None:
        """Wait until all that was noticed has been looked at, and what was sent has arrived or failed."""
        if self._catching_up is not None:
            await asyncio.wait([self._catching_up])
        await self._runner.settle()
        await self._wakes.settle()

    async def aclose(self) -> None:
        """Stop. What was not done is in the store."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        await self._runner.aclose()
        await self._wakes.aclose(DRAIN_SECONDS)

    # -- as an observer of the log

    def before(self, path: str) -> Awaitable[None] | None:
        """Know the subscriptions well enough to append, and leave a hint where one listens."""
        interest = self._wakes.interest
        if interest.is_fresh():
            if not interest.matching(path):
                return None
            if self._wakes.dues.is_written(due_at(self._bucket.clock.now_ms(), Kind.APPEND, encode_path(path))):
                return None
        return self._prepare(path)

    async def _prepare(self, path: str) -> None:
        await self._wakes.interest.fresh()
        if self._wakes.interest.matching(path):
            await self._wakes.dues.ensure(self._bucket.clock.now_ms(), Kind.APPEND, encode_path(path))

    def after(self, path: str) -> None:
        """Let those who listen look at once."""
        is_fresh = self._wakes.interest.is_fresh()
        listeners = self._wakes.interest.matching(path) if is_fresh else ()
        if self._delegate is not None:
            if listeners or not is_fresh:
                self._delegate(path, listeners)
            return
        for key in listeners:
            self._runner.notice(key, path)
        if is_fresh:
            return
        self._late.add(path)
        if self._catching_up is None:
            self._catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        attempt = 0
        try:
            while self._late:
                try:
                    await self._wakes.interest.fresh()
                except LogError:
                    await self._bucket.pause(attempt)
                    attempt += 1
                    continue
                late, self._late = self._late, set()
                for path in late:
                    for key in self._wakes.interest.matching(path):
                        self._runner.notice(key, path)
        finally:
            self._catching_up = None
