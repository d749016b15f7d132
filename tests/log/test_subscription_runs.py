"""Subscriptions under seeds: several processes, faults and crashes, and nothing is missed or done twice."""

import asyncio
from random import Random

import msgspec
import pytest

from storage.core.subscription import Kind
from storage.settings import LogSettings
from tests.log.schedules import Faults, Seeded
from tests.log.subscribers import NAMES, Receiver, Scene
from tests.log.verdicts import Violation
from tests.log.world import World


def play(kind: Kind, seed: int, *, faults: bool = True) -> Scene:
    """Play one run to its end and judge it. Raises Violation, with the story."""
    rng = Random(f"{kind.value} {seed}")
    drawn = Faults()
    if faults:
        drawn = Faults(
            answer_lost=rng.choice([0, 1, 3]),
            dropped=rng.choice([0, 1]),
            late=rng.choice([0, 1, 2]),
            down=rng.choice([0, 0, 2, 6]),
            crashes=rng.choice([0, 1, 1, 2]),
        )
    schedule = Seeded(rng, drawn, fault_rate=rng.choice([0.05, 0.2]))
    world = World(schedule)
    world.steps_limit = 60_000
    trouble = 0.3 if faults else 0.0
    receiver = Receiver(world, rng, failing=trouble, slow=trouble / 2, asynchronous=trouble)
    scene = Scene(world, rng, kind, receiver)

    async def main() -> None:
        for _ in range(3):
            scene.add(world.process(LogSettings()))
        await scene.insist("make_wake_stream")
        if rng.random() < 0.5:
            await scene.append("r/events/b")
        await scene.insist("subscribe")

        async def appender() -> None:
            for _ in range(rng.choice([1, 2, 4])):
                await scene.append(f"r/{rng.choice(NAMES)}")
                if faults and rng.random() < 0.05:
                    await scene.delete(f"r/{rng.choice(NAMES)}")
                await asyncio.sleep(rng.choice([0.0, 0.05, 1.0, 3.0]))

        async def worker(name: str) -> None:
            for _ in range(4):
                await scene.work(name, honest=not faults)
                await asyncio.sleep(rng.choice([0.1, 1.0]))

        lives = [asyncio.create_task(appender()) for _ in range(3)]
        if kind is Kind.PULL_WAKE:
            lives += [asyncio.create_task(worker(name)) for name in ("w1", "w2")]
        for life in lives:
            await life
        scene.quiet(schedule)
        scene.add(world.process(LogSettings()))  # somebody starts anew, whoever else is left
        for _ in range(60):
            if not await scene.missing():
                break
            if kind is Kind.PULL_WAKE:
                await scene.work("last", honest=True)
            await asyncio.sleep(5.0)
        assert not await scene.missing(), await scene.missing()
        if kind is Kind.PULL_WAKE:
            told = [event["generation"] for event in msgspec.json.decode(await scene.wake_events())]
            assert told == sorted(set(told)), told
        await scene.close()

    try:
        world.run(main())
        scene.verify()
    except AssertionError as error:
        raise Violation(f"{error}\n\nplay({kind}, {seed}, faults={faults})\n{world.story()}") from error
    return scene


@pytest.mark.parametrize("kind", Kind)
def test_nothing_is_missed_and_no_lease_is_shared_whatever_fails(kind: Kind) -> None:
    generations = [play(kind, seed).watch.last for seed in range(40)]
    assert sum(last.generation for last in generations if last is not None) > 80


def test_without_failures_every_generation_is_delivered_exactly_once() -> None:
    for seed in range(25):
        scene = play(Kind.WEBHOOK, seed, faults=False)
        delivered = scene.receiver.generations
        last = scene.watch.last
        assert last is not None
        assert delivered == dict.fromkeys(range(1, last.generation + 1), 1)


def test_a_run_is_the_same_every_time() -> None:
    once = [play(Kind.WEBHOOK, seed).world.story() for seed in range(3)]
    assert once == [play(Kind.WEBHOOK, seed).world.story() for seed in range(3)]
