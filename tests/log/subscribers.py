"""Subscriptions in the simulated world: appenders, workers and a receiver of webhooks, and what must hold of them.

Everything that is written to a subscription is looked at as it is written; at the end nothing may have been missed.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any

from storage.core.admission import Append
from storage.core.lease import Credential
from storage.core.offset import Sentinel
from storage.core.root import Config as StreamConfig
from storage.core.subscription import (
    PREFIX,
    Config,
    Kind,
    Phase,
    Subscription,
    decode_subscription,
    subscription_key,
)
from storage.creation import Creation, Description
from storage.objects import Object
from storage.reader import Page
from storage.subscriptions.courier import Arrived, Delivery, Refused
from storage.subscriptions.leases import Ack, Acknowledged
from storage.subscriptions.registry import Made
from storage.subscriptions.service import Subscriptions
from tests.log.schedules import Seeded
from tests.log.world import Process, SimulatedChance, SimulatedClock, World

ROOT, ID = "r", "s"
KEY = subscription_key(ROOT, ID)
LEASE_MS = 2_000
SCAN_SECONDS = 30.0
NAMES = ("events/a", "events/b", "events/c")


class Receiver:
    """Receives webhooks; what it answers is drawn."""

    def __init__(self, world: World, rng: Random, *, failing: float, slow: float, asynchronous: float) -> None:
        self.world = world
        self.rng = rng
        self.failing = failing
        self.slow = slow
        self.asynchronous = asynchronous
        self.hold_seconds = 0.0  # of every delivery
        self.attempts: Counter[str] = Counter()
        self.generations: Counter[int] = Counter()
        self.refused = 0
        self.callbacks: list[asyncio.Task[None]] = []
        self.stations: list[Station] = []

    async def receive(self, delivery: Delivery) -> Arrived | Refused:
        subscription, wake = delivery.subscription, delivery.subscription.wake
        assert wake is not None
        self.attempts[wake.attempt] += 1
        self.generations[subscription.generation] += 1
        self.world.note(f"webhook {subscription.generation} {[line.path for line in delivery.streams]}")
        assert any(line.has_pending for line in delivery.streams), "a wake without pending work"
        await asyncio.sleep(self.hold_seconds)
        if self.rng.random() < self.failing:
            self.refused += 1
            return Refused("drawn")
        if self.rng.random() < self.slow:
            await asyncio.sleep(self.rng.uniform(0, 2 * delivery.seconds))
        if self.rng.random() < self.asynchronous:
            self.callbacks.append(asyncio.create_task(self.call_back(subscription)))
            return Arrived(done=False)
        return Arrived(done=True)

    async def call_back(self, subscription: Subscription) -> None:
        wake = subscription.wake
        assert wake is not None
        await asyncio.sleep(self.rng.uniform(0, 1.5 * LEASE_MS / 1000))
        station = self.rng.choice([station for station in self.stations if not station.process.crashed])
        acks = tuple((path, cursor.token) for path, cursor in wake.snapshot.items())
        credential = credential_of(subscription)
        ack = Ack(wake.id, subscription.generation, acks, done=True)
        await station.process.call(
            -1, station.subscriptions.leases.acknowledge(ROOT, ID, Kind.WEBHOOK, credential, ack)
        )


class Courier:
    """A process's way to the receiver: it ends with the process, and at the deadline."""

    def __init__(self, process: Process, receiver: Receiver) -> None:
        self._process = process
        self._receiver = receiver

    async def deliver(self, delivery: Delivery) -> Arrived | Refused:
        if self._process.crashed:
            await asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(delivery.seconds):
                answer = await self._receiver.receive(delivery)
        except TimeoutError:
            answer = Refused("too slow")
        if self._process.crashed:
            await asyncio.get_running_loop().create_future()
        return answer


class Station:
    """A process with subscriptions."""

    def __init__(self, process: Process, receiver: Receiver) -> None:
        self.process = process
        self.subscriptions = Subscriptions(
            process.log,
            Courier(process, receiver),
            SimulatedClock(process),
            SimulatedChance(process),
            scan_seconds=SCAN_SECONDS,
        )
        process.log.observer = self.subscriptions
        self.subscriptions.start()


class Watch:
    """Looks at every version of the subscription as it is written."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.last: Subscription | None = None
        self.wakes: dict[int, str] = {}
        self.versions = 0
        world.bucket.observe = self.written

    def written(self, key: str, found: Object | None) -> None:
        if not key.startswith(PREFIX):
            return
        assert found is not None, "a subscription's object was removed"
        new, old = decode_subscription(found.body), self.last
        self.last = new
        self.versions += 1
        if new.wake is not None:
            assert self.wakes.setdefault(new.generation, new.wake.id) == new.wake.id, "two wakes of one generation"
        if old is None:
            return
        assert new.generation in (old.generation, old.generation + 1)
        if old.wake is not None and new.wake is not None and old.generation == new.generation:
            assert not (old.wake.phase is Phase.CLAIMED and new.wake.holder != old.wake.holder), "a lease changed hands"
        for path, link in old.links.items():
            now = new.links.get(path)
            if now is not None and now.cursor.incarnation == link.cursor.incarnation:
                assert now.cursor.position >= link.cursor.position, "a cursor went back"


def credential_of(subscription: Subscription) -> Credential:
    return Credential(subscription.key, subscription.incarnation, subscription.generation, 2**60)


class Scene:
    """A subscription, and all who have to do with it."""

    def __init__(self, world: World, rng: Random, kind: Kind, receiver: Receiver) -> None:
        self.world = world
        self.rng = rng
        self.kind = kind
        self.receiver = receiver
        self.watch = Watch(world)
        self.stations = receiver.stations
        self.held_since: list[tuple[int, int]] = []  # (generation, step) of claims that were answered
        self.acked_late: list[str] = []

    def station(self) -> Station:
        return self.rng.choice([station for station in self.stations if not station.process.crashed])

    def add(self, process: Process) -> None:
        self.stations.append(Station(process, self.receiver))

    async def insist(self, what: str, number: int = -1) -> object:
        """Do something until somebody has done it."""
        while True:
            station = self.station()
            ended = await station.process.call(number, getattr(self, what)(station))
            if ended is not None and ended.error is None:
                return ended.answer
            await asyncio.sleep(0.05)

    async def make_wake_stream(self, station: Station) -> object:
        return await station.process.log.create(f"{ROOT}/wake", Creation(StreamConfig("application/json")))

    async def subscribe(self, station: Station) -> None:
        is_webhook = self.kind is Kind.WEBHOOK
        url, wake = ("https://x.example/", None) if is_webhook else (None, "wake")
        config = Config(self.kind, "events/*", ("events/a",), url, wake, LEASE_MS, None)
        made = await station.subscriptions.registry.create(ROOT, ID, config, "http://h")
        assert isinstance(made, Made)

    async def append(self, path: str) -> None:
        """Append once, or not; create the stream where there is none."""
        station = self.station()
        log = station.process.log
        if self.rng.random() < 0.3:
            body = b"first" if self.rng.random() < 0.5 else b""
            await station.process.call(-1, log.create(path, Creation(StreamConfig("text/plain"), body)))
        await station.process.call(-1, log.append(path, Append(b"more", "text/plain")))

    async def append_by(self, station: Station, name: str) -> None:
        """Append, by one process, to a stream that is created if it is not there."""
        path, log = f"{ROOT}/{name}", station.process.log
        await station.process.call(-1, log.create(path, Creation(StreamConfig("text/plain"))))
        await station.process.call(-1, log.append(path, Append(b"more", "text/plain")))

    async def delete(self, path: str) -> None:
        station = self.station()
        await station.process.call(-1, station.process.log.delete(path))

    async def work(self, worker: str, *, honest: bool) -> bool:
        """Claim and acknowledge once; say whether there was something to claim."""
        station = self.station()
        leases = station.subscriptions.leases
        claimed = await station.process.call(-1, leases.claim(ROOT, ID, worker))
        if claimed is None or not isinstance(claimed.answer, Subscription):
            return claimed is not None and claimed.error is not None
        there = claimed.answer
        wake = there.wake
        assert wake is not None
        self.held_since.append((there.generation, self.world.step))
        if not honest and self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.uniform(0, 2 * LEASE_MS / 1000))
        if not honest and self.rng.random() < 0.15:
            return True  # gone for good
        acks = tuple((path, cursor.token) for path, cursor in wake.snapshot.items())
        if not honest and self.rng.random() < 0.3:
            acks = acks[:1]
        station = self.station()
        began = self.world.step
        leases = station.subscriptions.leases
        call: Coroutine[Any, Any, object]
        if not honest and self.rng.random() < 0.2:
            call = leases.release(ROOT, ID, credential_of(there), Ack(wake.id, there.generation))
        else:
            ack = Ack(wake.id, there.generation, acks, done=honest or self.rng.random() < 0.7)
            call = leases.acknowledge(ROOT, ID, Kind.PULL_WAKE, credential_of(there), ack)
        outcome = await station.process.call(-1, call)
        if outcome is not None and isinstance(outcome.answer, Acknowledged):
            later = [g for g, step in self.held_since if g > there.generation and step < began]
            if later:
                self.acked_late.append(f"generation {there.generation} was acknowledged after {later} were claimed")
        return True

    async def ends(self) -> dict[str, int]:
        """Return where the streams end, as a process sees them that has just begun."""
        log = self.world.process().log
        found = {name: await log.head(f"{ROOT}/{name}") for name in NAMES}
        return {name: stream.tail.position for name, stream in found.items() if isinstance(stream, Description)}

    async def missing(self) -> list[str]:
        """Return the streams with work that nobody has acknowledged."""
        there = self.watch.last
        assert there is not None
        ends = await self.ends()
        return [
            name
            for name, end in ends.items()
            if end and (name not in there.links or there.links[name].cursor.position < end)
        ]

    async def wake_events(self) -> bytes:
        page = await self.world.process().log.read(f"{ROOT}/wake", Sentinel.START)
        assert isinstance(page, Page)
        return page.body

    def quiet(self, schedule: Seeded) -> None:
        """Let nothing fail any more."""
        schedule.faults = type(schedule.faults)()
        schedule.settle(self.world)
        self.receiver.failing = self.receiver.slow = self.receiver.asynchronous = 0.0

    async def close(self) -> None:
        """Let those who are left finish what they have begun."""
        for station in self.stations:
            if not station.process.crashed:
                await station.subscriptions.settle()
                await station.subscriptions.aclose()

    def verify(self) -> None:
        assert not self.acked_late, self.acked_late
        assert all(count == 1 for count in self.receiver.attempts.values()), "one attempt was delivered twice"
