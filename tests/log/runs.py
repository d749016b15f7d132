"""Play random runs: a seed draws the circumstances, the clients' calls, the interleaving and the faults.

python -m tests.log.runs lifecycle 139         the story of one run
python -m tests.log.runs lifecycle 0 5000      as many as you like
"""

import asyncio
import sys
from random import Random

from storage.core.root import Config
from storage.creation import Creation
from storage.log import LogSettings
from tests.log.clients import Client, Station
from tests.log.mixes import MIXES, Mix
from tests.log.schedules import Faults, Seeded
from tests.log.verdicts import Violation
from tests.log.world import World


def draw_faults(rng: Random, mix: Mix) -> Faults:
    """Return what may go wrong in a run."""
    if rng.random() >= mix.faults:
        return Faults()
    return Faults(
        answer_lost=rng.choice([0, 1, 2]),
        dropped=rng.choice([0, 1]),
        late=rng.choice([0, 1, 2, 3]),
        down=rng.choice([0, 0, 1, 4]),
        crashes=rng.choice([0, 0, 1]),
    )


def play(name: str, seed: int) -> Station:
    """Play one run to its end and judge it. Raises Violation, with the seed and the story."""
    mix = MIXES[name]
    rng = Random(f"{name} {seed}")
    schedule = Seeded(rng, draw_faults(rng, mix), fault_rate=rng.choice([0.05, 0.3]))
    world = World(schedule)
    station = Station(world)
    tries = rng.choice(mix.tries)
    for _ in range(rng.choice(mix.processes)):
        settings = LogSettings(tries=tries, root_cache_seconds=rng.choice([0.0, 0.0, 2.0]))
        world.process(settings, rng.choice(mix.skew_ms))
    media_type = "application/json" if rng.random() < mix.json else "text/plain"
    config = Config(media_type, ttl_seconds=mix.ttl_seconds)
    long = 300 if rng.random() < mix.long_ids else 0
    names = [f"p{n}".ljust(long, "z") for n in range(10 if long else 2)]

    async def main() -> None:
        if rng.random() < mix.exists:
            faults, schedule.faults = schedule.faults, Faults()
            body = station.payload(media_type) if rng.random() < 0.5 else b""
            await station.call(world.processes[0], Creation(config, body))
            schedule.faults = faults
        clients = [Client(station, mix, rng, names, config) for _ in range(rng.choice(mix.clients))]
        lives = [asyncio.create_task(client.live(rng.choice(mix.calls))) for client in clients]
        for life in lives:
            await life
        schedule.faults = Faults()
        schedule.settle(world)
        await station.read_back()

    try:
        world.run(main())
        station.verify()
    except AssertionError as error:
        again = f"python -m tests.log.runs {name} {seed}"
        raise Violation(f"{error}\n\n{again}\n{world.story()}") from error
    return station


def main(name: str, first: str, end: str | None = None) -> None:
    """Play one run and tell its story, or many and tell how it went."""
    for seed in range(int(first), int(end or first) + (end is None)):
        station = play(name, seed)
        if end is None:
            print(station.world.story())
    print("every answer was right")


if __name__ == "__main__":
    main(*sys.argv[1:])
