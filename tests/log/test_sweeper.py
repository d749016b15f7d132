"""The sweeper, case by case, with a clock that the test moves: what goes, when, and what never does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from storage.core import keys
from storage.core.compaction import Grouping
from storage.core.producers import Claim
from storage.core.root import Config, Root, State, decode_root, encode_root
from storage.core.sweeping import Sweeping
from storage.creation import Created, Creation
from storage.errors import UnavailableError
from storage.forks import Fork
from storage.log import Append, Gone, Log, LogSettings, NotFound, Offset, Page, Sentinel
from storage.objects import Always, IfAbsent
from storage.sweep import CURSOR_KEY, Sweeper, Swept
from tests.log.schedules import InOrder
from tests.log.world import Port, Process, SimulatedChance, SimulatedClock, World

TEXT = "text/plain"
HOUR = 3600.0
DAY = 24 * HOUR
SETTINGS = LogSettings(grouping=Grouping(chunks=4, groups=2, superset_bytes=1000))


class Yard:
    """One world with a log and as many sweepers as are asked for."""

    def __init__(self) -> None:
        self.world = World(InOrder())
        self.world.steps_limit = 10**9
        self.told: list[str] = []

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.world.run(main())

    def log(self) -> Log:
        return self.world.process(SETTINGS).log

    async def sweep(self, *, dry: bool = False, process: Process | None = None, **settings: Any) -> Swept:
        process = process or self.world.process(SETTINGS)
        sweeper = Sweeper(
            Port(process),
            process.log.settings,
            Sweeping(**{"cycle_seconds": 0.0, "requests_per_second": 0.0, **settings}),
            SimulatedClock(process),
            SimulatedChance(process),
            tell=self.told.append,
            dry=dry,
        )
        return await sweeper.sweep()

    def names(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.world.bucket.objects if key.startswith(prefix) and key != CURSOR_KEY)

    def positions(self, path: str = "s") -> list[int]:
        return sorted(keys.parse_chunk_key(key)[1] for key in self.names(keys.chunks_of_path(path)))

    def state(self, path: str = "s") -> State:
        return decode_root(self.world.bucket.objects[keys.root_key(path)].body).state


async def append_many(log: Log, count: int, path: str = "s") -> None:
    for _ in range(count):
        await log.append(path, Append(b"0123456789", media_type=TEXT))


async def make(log: Log, path: str = "s", body: bytes = b"", **more: Any) -> int:
    created = await log.create(path, Creation(Config(TEXT), body, **more))
    assert isinstance(created, Created)
    return created.stream.root.generation


def test_what_lies_inside_a_superset_goes_after_a_day_and_not_a_minute_before() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log)
        await append_many(log, 9)
        await log.aclose()
        everything = yard.positions()
        for hours in (0.0, 12.0, 11.98):  # after 23 h 59 min
            await asyncio.sleep(hours * HOUR)
            assert (await yard.sweep()).done == {}
            assert yard.positions() == everything
        await asyncio.sleep(0.1 * HOUR)
        swept = await yard.sweep()
        assert swept.done == {"delete": 1}
        assert yard.positions() == [0, 80]
        page = await yard.log().read("s", Sentinel.START)
        assert isinstance(page, Page)
        assert page.body == b"0123456789" * 9
        for start in range(0, 91, 7):  # also from where a chunk has gone
            page = await yard.log().read("s", Offset(page.root.generation, start))
            assert isinstance(page, Page)
            assert page.body == (b"0123456789" * 9)[start:]

    yard.run(main)


def test_the_newest_chunk_stays_although_a_superset_holds_it() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log)
        await append_many(log, 8)
        await log.aclose()
        await asyncio.sleep(2 * DAY)
        await yard.sweep()
        assert yard.positions() == [0, 70]
        cold = yard.log()
        await append_many(cold, 1)
        page = await yard.log().read("s", Sentinel.START)
        assert isinstance(page, Page)
        assert page.body == b"0123456789" * 9

    yard.run(main)


def test_groups_that_nobody_merged_are_merged_and_their_parts_go_a_day_later() -> None:
    yard = Yard()

    async def main() -> None:
        await make(yard.log())
        for _ in range(18):
            await append_many(yard.log(), 1)  # each by a process that holds nothing else
        await asyncio.sleep(2 * DAY)
        assert (await yard.sweep()).done == {"merge": 4 + 2 + 1}
        assert (await yard.sweep()).done == {}
        await asyncio.sleep(2 * DAY)
        assert (await yard.sweep()).done == {"delete": 1}
        assert yard.positions() == [0, 160, 170]

    yard.run(main)


def test_a_deleted_generation_goes_after_a_day_and_its_root_never() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await log.create("s", Creation(Config(TEXT, ttl_seconds=1000), b"first"))
        for n in range(30):  # producers enough for a table of their own
            await log.append("s", Append(b"x", media_type=TEXT, claim=Claim(f"{n:0300d}", 0, 0)))
        await asyncio.sleep(150)
        await log.read("s", Sentinel.START)  # leaves a touch
        await log.delete("s")
        await log.aclose()
        assert {key.split("/")[0] for key in yard.names()} == {"root", "chunk", "state", "touch"}
        await asyncio.sleep(DAY - 1)
        assert (await yard.sweep()).done == {}
        await asyncio.sleep(3)
        await yard.sweep()
        assert yard.names() == ["root/s"]
        assert yard.state() is State.DELETED
        assert isinstance(await yard.log().read("s", Sentinel.START), NotFound)

    yard.run(main)


def test_the_orphan_of_a_lost_creation_goes_and_the_stream_that_won_stays() -> None:
    yard = Yard()

    async def main() -> None:
        generation = await make(yard.log(), body=b"winner")
        orphan = keys.chunks_of_generation("s", generation - 1) + keys.complement(0)
        found = yard.world.bucket.objects[keys.chunks_of_generation("s", generation) + keys.complement(0)]
        yard.world.bucket.put(orphan, b"loser", IfAbsent(), TEXT, found.head.metadata)
        await yard.sweep()
        assert orphan in yard.names()
        await asyncio.sleep(DAY + 2)
        await yard.sweep()
        assert yard.positions() == [0]
        page = await yard.log().read("s", Sentinel.START)
        assert isinstance(page, Page)
        assert page.body == b"winner"

    yard.run(main)


def test_a_creation_that_nobody_finishes_is_fenced_and_lets_go_of_its_source() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        generation = await make(log, body=b"source")
        await make(log, "f", fork=Fork("s"))
        root = decode_root(yard.world.bucket.objects["root/f"].body)
        half = encode_root(_as(root, State.CREATING))
        yard.world.bucket.put("root/f", half, Always(), "application/json", {})
        await asyncio.sleep(800)
        assert (await yard.sweep()).done == {}
        await asyncio.sleep(200)
        await yard.sweep()
        assert yard.state("f") is State.DELETED
        assert yard.names(keys.markers_of("s", generation)) == []
        assert yard.state("s") is State.LIVE

    yard.run(main)


def _as(root: Root, state: State) -> Root:
    return msgspec.structs.replace(root, state=state, born=state is not State.CREATING, write_id="other")


def test_a_source_that_is_kept_for_a_fork_goes_when_the_fork_has_gone() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log, body=b"source")
        await make(log, "f", fork=Fork("s"))
        await log.delete("s")
        assert isinstance(await log.read("s", Sentinel.START), Gone)
        await asyncio.sleep(3 * DAY)
        assert (await yard.sweep()).done == {}
        page = await yard.log().read("f", Sentinel.START)
        assert isinstance(page, Page)
        assert page.body == b"source"
        # The fork's deletion ends right after its root was written: the marker is left behind.
        root = decode_root(yard.world.bucket.objects["root/f"].body)
        yard.world.bucket.put("root/f", encode_root(_as(root, State.DELETED)), Always(), "application/json", {})
        await yard.sweep()
        assert yard.names("fork/") == []
        assert yard.state("s") is State.DELETED
        await asyncio.sleep(2 * DAY)
        await yard.sweep()
        assert yard.names() == ["root/f", "root/s"]

    yard.run(main)


def test_streams_whose_time_is_over_end_and_those_that_are_used_do_not() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        for path in ("idle", "busy"):
            await log.create(path, Creation(Config(TEXT, ttl_seconds=3600)))
        await log.create("dated", Creation(Config(TEXT, expires_at_ms=yard.world.now_ms() + 1000)))
        await asyncio.sleep(3500)
        await log.read("busy", Sentinel.START)
        await asyncio.sleep(1000)
        assert (await yard.sweep()).done == {"expire": 2}
        assert [yard.state(path) for path in ("idle", "busy", "dated")] == [State.DELETED, State.LIVE, State.DELETED]

    yard.run(main)


def test_a_deletion_that_ended_after_its_tombstone_is_finished() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log, body=b"x")
        live = yard.world.bucket.objects["root/s"]
        await log.delete("s")
        yard.world.bucket.put("root/s", live.body, Always(), "application/json", {})
        await yard.sweep()
        assert yard.state() is State.DELETED

    yard.run(main)


@pytest.mark.parametrize("forked", [False, True])
def test_what_retention_has_dropped_goes_after_a_day_unless_a_fork_inherited_it(forked: bool) -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        generation = await make(log)
        await append_many(log, 3)
        if forked:
            await make(log, "f", fork=Fork("s"))
        await log.retain("s", Offset(generation, 20))
        await asyncio.sleep(DAY - 1)
        await yard.sweep()
        assert yard.positions() == [0, 10, 20]
        await asyncio.sleep(3)
        await yard.sweep()
        assert yard.positions() == ([0, 10, 20] if forked else [20])
        page = await yard.log().read("f" if forked else "s", Sentinel.START)
        assert isinstance(page, Page)
        assert len(page.body) == (30 if forked else 10)

    yard.run(main)


def test_a_dry_run_says_what_a_pass_would_do_and_does_nothing() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log)
        await append_many(log, 9)
        await make(log, "dead", b"x")
        await log.delete("dead")
        await make(log, "many")
        for _ in range(8):
            await append_many(yard.log(), 1, "many")
        await log.aclose()
        await asyncio.sleep(2 * DAY)
        before = dict(yard.world.bucket.objects)
        dry = await yard.sweep(dry=True)
        assert yard.world.bucket.objects == before
        said, yard.told = yard.told, []
        assert (await yard.sweep()).done == dry.done
        assert yard.told == said
        assert {line.split()[0] for line in said} == {"delete", "merge"}

    yard.run(main)


def test_passes_of_few_requests_come_to_the_same_end_as_one_of_many() -> None:
    def lives(requests: int) -> tuple[list[str], list[int]]:
        yard = Yard()
        sizes: list[int] = []

        async def main() -> None:
            log = yard.log()
            for n in range(12):
                await make(log, f"s{n}", b"0123456789")
                await append_many(log, 10, f"s{n}")
                if n % 3 == 0:
                    await log.delete(f"s{n}")
            await log.aclose()
            await asyncio.sleep(2 * DAY)
            while True:
                swept = await yard.sweep(requests=requests)
                sizes.append(swept.requests)
                if swept.finished:
                    return

        yard.run(main)
        return yard.names(), sizes

    (all_at_once, [most]), (bit_by_bit, sizes) = lives(10**6), lives(30)
    assert bit_by_bit == all_at_once
    assert len(sizes) > 5
    assert max(sizes) < 70 < most  # a step that has begun is ended


def test_several_sweepers_at_once_come_to_the_same_end() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log)
        await append_many(log, 40)
        await make(log, "dead", b"x")
        await log.delete("dead")
        await log.aclose()
        await asyncio.sleep(2 * DAY)
        for swept in await asyncio.gather(*(yard.sweep() for _ in range(4))):
            assert swept.failed == []
        assert yard.names("chunk/dead") == []
        assert yard.positions() == [0, 320, 390]
        page = await yard.log().read("s", Sentinel.START)
        assert isinstance(page, Page)
        assert len(page.body) == 400

    yard.run(main)


def test_a_pass_keeps_to_its_rate_and_begins_no_cycle_before_it_is_due() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await append_many(log, 1)
        for n in range(20):
            await make(log, f"s{n}", b"x")
        began = yard.world.now
        swept = await yard.sweep(requests_per_second=2.0, cycle_seconds=DAY)
        assert yard.world.now - began >= (swept.requests - 1) / 2
        assert swept.finished
        again = await yard.sweep(cycle_seconds=DAY)
        assert again.finished
        assert again.requests == 1  # it reads where the last pass ended
        await asyncio.sleep(DAY)
        assert (await yard.sweep(cycle_seconds=DAY)).requests > 20

    yard.run(main)


def test_what_fails_is_told_and_left_for_another_pass() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        for path in ("a", "b"):
            await make(log, path, b"x")
            await log.delete(path)
        await asyncio.sleep(2 * DAY)
        damaged = yard.world.bucket.objects["root/a"]
        yard.world.bucket.put("root/a", b"{", Always(), "application/json", {})
        swept = await yard.sweep()
        assert any("root/a" in failure for failure in swept.failed)
        assert yard.names("chunk/b") == []
        assert yard.names("chunk/a")
        yard.world.bucket.put("root/a", damaged.body, Always(), "application/json", {})
        await asyncio.sleep(2 * DAY)
        assert (await yard.sweep()).failed == []
        assert yard.names("chunk/") == []

    yard.run(main)


def test_a_machine_whose_clock_is_a_day_ahead_deletes_nothing_too_early() -> None:
    yard = Yard()

    async def main() -> None:
        log = yard.log()
        await make(log)
        await append_many(log, 9)
        await log.aclose()
        before = yard.positions()
        ahead = yard.world.process(SETTINGS, skew_ms=int(2 * DAY * 1000))
        await asyncio.sleep(HOUR)
        assert (await yard.sweep(process=ahead)).done == {}
        assert yard.positions() == before

    yard.run(main)


def test_work_that_is_due_is_looked_after_in_each_pass_and_its_failure_ends_none() -> None:
    yard = Yard()
    looked: list[int] = []

    async def due() -> None:
        looked.append(1)
        if len(looked) == 2:
            raise UnavailableError("it rains")

    async def main() -> None:
        process = yard.world.process(SETTINGS)
        sweeper = Sweeper(
            Port(process), SETTINGS, Sweeping(), SimulatedClock(process), SimulatedChance(process), due=due
        )
        assert (await sweeper.sweep()).failed == []
        assert (await sweeper.sweep()).failed == ["work that is due: it rains"]
        assert len(looked) == 2

    yard.run(main)
