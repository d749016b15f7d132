"""Signing keys in the store: however many processes want one at once, there is one."""

import asyncio
from random import Random

import pytest

from storage.core.signing_key import PUBLISH_MS, RETIRE_MS, SigningKey, encode_signing_key
from storage.errors import DamageError, LogError
from storage.keyring import RELOAD_SECONDS, Keyring
from storage.objects import Always
from tests.log.schedules import Faults, InOrder, Seeded
from tests.log.world import Port, Process, SimulatedClock, World

DAY = 86_400.0


def keyring(process: Process, rotate_seconds: float = 0.0) -> Keyring:
    number = iter(range(1, 256))
    name = process.world.processes.index(process)
    return Keyring(
        Port(process),
        SimulatedClock(process),
        rotate_seconds=rotate_seconds,
        new_seed=lambda: bytes([name, next(number)]) * 16,
    )


def test_processes_that_race_for_the_first_key_sign_with_the_same_one_whatever_fails() -> None:
    for seed in range(150):
        rng = Random(seed)
        faults = Faults(answer_lost=rng.choice([0, 1]), dropped=rng.choice([0, 1]), late=rng.choice([0, 1]), down=1)
        world = World(Seeded(rng, faults, fault_rate=0.3))
        rings = [keyring(world.process()) for _ in range(3)]

        async def insist(ring: Keyring) -> SigningKey:
            while True:
                try:
                    return await ring.active()
                except LogError:
                    await asyncio.sleep(0.1)

        async def main(rings: list[Keyring] = rings) -> None:
            keys = await asyncio.gather(*map(insist, rings))
            assert len({key.seed for key in keys}) == 1, keys

        world.run(main())


def test_a_key_that_grew_old_is_followed_by_one_that_is_published_before_it_signs() -> None:
    world = World(InOrder())
    one, other = (keyring(world.process(), 90 * DAY) for _ in range(2))

    async def main() -> None:
        first = await one.active()
        assert await other.active() == first
        await asyncio.sleep(91 * DAY)
        assert await one.active() == first
        await asyncio.sleep(RELOAD_SECONDS + 1)
        published = await other.published()
        assert [key.number for key in published] == [1, 2]
        assert await other.active() == first
        await asyncio.sleep(PUBLISH_MS / 1000)
        assert [(await ring.active()).number for ring in (one, other)] == [2, 2]
        assert len(await one.published()) == 2
        await asyncio.sleep(RETIRE_MS / 1000)
        assert [key.number for key in await one.published()] == [2]

    world.run(main())


def test_keys_cost_no_request_while_they_are_fresh() -> None:
    schedule = InOrder()
    world = World(schedule)
    ring = keyring(world.process())

    async def main() -> None:
        await ring.active()
        schedule.took()
        for _ in range(10):
            await ring.active()
            await ring.published()
        assert schedule.took()[0] == []

    world.run(main())


def test_a_damaged_key_is_named() -> None:
    world = World(InOrder())
    process = world.process()

    async def main() -> None:
        body = encode_signing_key(SigningKey(1, b"short", 0))
        await Port(process).put("key/signing-00000001", body, Always())
        with pytest.raises(DamageError, match="key/signing-00000001"):
            await keyring(process).active()

    world.run(main())
