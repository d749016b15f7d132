"""A process stops at every store request of what it does for a subscription; another one misses nothing of it."""

import asyncio
from random import Random

import pytest

from storage.core.subscription import Kind
from storage.settings import LogSettings
from tests.log.stopping import Stop, Stopping
from tests.log.subscribers import Receiver, Scene, Station
from tests.log.verdicts import Violation
from tests.log.world import World

LATER_REQUESTS = 25  # of the other process, before a late write lands: some minutes
HINTS_SECONDS = 1_100.0  # by then the last hint of a minute has been looked at


def play(kind: Kind, what: str, at: int, stop: Stop, later: int) -> Stopping:
    """Let the first process stop at its `at`-th request. Raises Violation."""
    schedule = Stopping(at, stop, later)
    world = World(schedule)
    world.steps_limit = 100_000
    receiver = Receiver(world, Random(0), failing=0.0, slow=0.0, asynchronous=0.0)
    scene = Scene(world, Random(0), kind, receiver)

    async def subscribed(station: Station) -> None:
        await scene.make_wake_stream(station)
        await scene.subscribe(station)
        await scene.append_by(station, "events/b")
        await asyncio.sleep(HINTS_SECONDS)  # what was hinted at until now helps nobody any more

    async def main() -> None:
        for _ in range(2):
            scene.add(world.process(LogSettings()))
        victim, other = scene.stations
        if what != "subscribe":
            await subscribed(victim)
            if kind is Kind.PULL_WAKE and what != "work":
                await scene.work("w", honest=True)
        schedule.victim = victim.process
        if what == "subscribe":
            await victim.process.call(-1, scene.subscribe(victim))
        elif what == "work":
            scene.stations = [victim]
            await scene.work("w", honest=True)
        else:
            await scene.append_by(victim, "events/c" if what == "append to a new stream" else "events/b")
        await asyncio.sleep(3.0)
        schedule.victim = None
        if not victim.process.crashed:
            world.crash(victim.process)
        scene.stations = [other]
        if what == "subscribe":
            await scene.append_by(other, "events/b")
            await scene.make_wake_stream(other)
            await scene.subscribe(other)
        await asyncio.sleep(HINTS_SECONDS)
        schedule.arrive(world, whatever=True)
        await asyncio.sleep(HINTS_SECONDS)
        if kind is Kind.PULL_WAKE:
            for _ in range(5):
                await scene.work("other", honest=True)
                await asyncio.sleep(3.0)
        missing = await scene.missing()
        assert not missing, missing
        await scene.close()

    try:
        world.run(main())
        scene.verify()
    except AssertionError as error:
        raise Violation(f"{error}\n\nplay({kind}, {what!r}, {at}, {stop}, {later})\n{world.story()}") from error
    return schedule


@pytest.mark.parametrize("stop", Stop)
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        *((kind, what) for kind in Kind for what in ("append", "append to a new stream", "subscribe")),
        (Kind.PULL_WAKE, "work"),  # a webhook's work follows from the append
    ],
)
def test_another_process_misses_nothing_wherever_the_first_one_stops(kind: Kind, what: str, stop: Stop) -> None:
    at = 0
    while True:
        at += 1
        if not play(kind, what, at, stop, LATER_REQUESTS).struck:
            break
    assert at > 4
