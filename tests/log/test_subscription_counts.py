"""What subscriptions cost in store requests: nothing for those who do not use them but one LIST a second."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any

from storage.core.admission import Append
from storage.core.root import Config as StreamConfig
from storage.core.subscription import Config, Kind
from storage.creation import Creation
from storage.log import LogSettings
from storage.subscriptions.interest import REFRESH_SECONDS
from tests.log.schedules import InOrder
from tests.log.subscribers import ID, ROOT, Receiver, Scene, Station
from tests.log.world import World

APPEND = Append(b"x", "text/plain")


class Bench:
    """One process with subscriptions in a world without failures."""

    def __init__(self) -> None:
        self.schedule = InOrder()
        self.world = World(self.schedule)
        self.receiver = Receiver(self.world, Random(0), failing=0.0, slow=0.0, asynchronous=0.0)
        self.scene = Scene(self.world, Random(0), Kind.WEBHOOK, self.receiver)

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        async def closed() -> None:
            await main
            await self.scene.close()

        self.world.run(closed())

    def add(self) -> Station:
        self.scene.add(self.world.process(LogSettings()))
        return self.scene.stations[-1]

    def took(self, prefixes: tuple[str, ...] = ("",)) -> Counter[str]:
        """Return the requests since the last call, by verb and by the first part of their key."""
        made = Counter(
            f"{request.verb} {request.key.split('/')[0]}"
            for request in self.schedule.requests
            if request.key.startswith(prefixes)
        )
        self.schedule.took()
        return made


async def opened(station: Station, *paths: str) -> None:
    for path in paths:
        await station.process.log.create(path, Creation(StreamConfig("text/plain")))


def test_appends_that_nobody_listens_to_cost_one_list_a_second_and_no_more() -> None:
    bench = Bench()

    async def main() -> None:
        station = bench.add()
        await bench.scene.subscribe(station)
        await opened(station, "other/a")
        await asyncio.sleep(62.0)  # the subscription has looked for what it missed
        bench.took()
        began, count = bench.world.now, 0
        while bench.world.now - began < 20.0:
            await station.process.log.append("other/a", APPEND)
            count += 1
        made = bench.took(("chunk/", "root/", "subscription/", "state/"))
        assert made.pop("put-IfAbsent chunk") == count > 1_000
        lists = made.pop("list subscription")
        assert 10 <= lists <= 20 / REFRESH_SECONDS + 1
        assert made.keys() <= {"put-IfMatch chunk"}  # compaction

    bench.run(main())


def test_a_warm_append_beside_a_fresh_listing_is_one_request() -> None:
    bench = Bench()

    async def main() -> None:
        station = bench.add()
        await opened(station, "other/a")
        await station.process.log.append("other/a", APPEND)
        bench.took()
        await station.process.log.append("other/a", APPEND)
        assert bench.took() == {"put-IfAbsent chunk": 1}

    bench.run(main())


def test_a_stream_with_a_listener_costs_one_hint_a_minute_before_its_appends() -> None:
    bench = Bench()

    async def main() -> None:
        station = bench.add()
        await bench.scene.subscribe(station)
        await opened(station, "r/events/b")
        await station.process.log.append("r/events/b", APPEND)
        await asyncio.sleep(30.0)
        bench.took()
        for _ in range(20):
            await station.process.log.append("r/events/b", APPEND)
        hints = [request.key for request in bench.schedule.requests if "/append/" in request.key]
        assert len(hints) <= 1

    bench.run(main())


def test_a_process_that_does_not_know_of_a_subscription_yet_delays_its_wake_by_less_than_three_seconds() -> None:
    bench = Bench()

    async def main() -> None:
        other, station = bench.add(), bench.add()
        await opened(other, "other/a")
        await other.process.log.append("other/a", APPEND)  # its knowledge is fresh from here on
        await bench.scene.subscribe(station)
        await opened(other, "r/events/b")
        await other.process.log.append("r/events/b", APPEND)
        began = bench.world.now
        for _ in range(100):
            if bench.receiver.generations:
                break
            await asyncio.sleep(0.05)
        assert bench.receiver.generations == {1: 1}
        assert bench.world.now - began < 2.5

    bench.run(main())


def test_work_that_came_during_a_wake_is_delivered_at_once_when_it_ends() -> None:
    bench = Bench()

    async def main() -> None:
        station = bench.add()
        await bench.scene.subscribe(station)
        await opened(station, "r/events/b")
        await asyncio.sleep(5.0)
        bench.receiver.hold_seconds = 0.5
        for _ in range(5):
            await station.process.log.append("r/events/b", APPEND)
        began = bench.world.now
        while await bench.scene.missing():
            await asyncio.sleep(0.05)
            assert bench.world.now - began < 2.0
        assert bench.receiver.generations == {1: 1, 2: 1}

    bench.run(main())


def test_a_claim_reads_each_stream_once_and_writes_twice() -> None:
    bench = Bench()

    async def main() -> None:
        station = bench.add()
        config = Config(Kind.PULL_WAKE, "events/*", (), None, "wake", 30_000, None)
        await opened(station, "r/events/a", "r/events/b", "r/wake")
        await station.subscriptions.registry.create(ROOT, ID, config, "http://h")
        await asyncio.sleep(62.0)
        await station.process.log.append("r/events/a", APPEND)
        await asyncio.sleep(1.0)
        bench.took()
        await station.subscriptions.leases.claim(ROOT, ID, "w")
        made = bench.took()
        assert made.pop("put-IfAbsent due", 0) <= 1
        assert made == {"get subscription": 1, "get chunk": 2, "put-IfMatch subscription": 1}

    bench.run(main())
