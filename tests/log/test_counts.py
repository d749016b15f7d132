"""What each operation costs in requests and round trips. Without spill, TTL or races, unless said otherwise."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from storage.core import keys
from storage.core.admission import Append, Appended, Repeated, StreamClosed
from storage.core.chunk import Chunk, Kind, encode_chunk
from storage.core.offset import Offset, Sentinel
from storage.core.producers import Claim
from storage.core.root import Config
from storage.creation import Created, Creation, Description, Existed
from storage.log import Deleted, Log, NotFound, Page
from storage.objects import IfAbsent
from tests.log.schedules import InOrder
from tests.log.world import World

TEXT = "text/plain"
PUT = "put-IfAbsent"
APPEND = Append(b"x", TEXT)


def play(main: Callable[[World, InOrder], Awaitable[None]]) -> None:
    schedule = InOrder()
    world = World(schedule)

    async def run() -> None:
        await main(world, schedule)

    world.run(run())


def fill(world: World, path: str, generation: int, chunks: int) -> None:
    """Write so many chunks of a stream behind everybody's back."""
    prefix = keys.chunks_of_generation(path, generation)
    for at in range(chunks):
        chunk = Chunk(at, at + 1, Kind.DATA, f"w{at}", at, world.now_ms(), False, None, None, {}, "")
        world.bucket.put(prefix + keys.complement(at), b"x", IfAbsent(), TEXT, encode_chunk(chunk, generation))


async def new_stream(log: Log, path: str = "s") -> int:
    created = await log.create(path, Creation(Config(TEXT)))
    assert isinstance(created, Created)
    return created.stream.root.generation


@pytest.mark.parametrize("chunks", [10, 100_000])
def test_a_cold_append_costs_four_requests_in_three_round_trips_however_long_the_stream(chunks: int) -> None:
    async def main(world: World, schedule: InOrder) -> None:
        fill(world, "s", await new_stream(world.process().log), chunks)
        cold = world.process().log
        schedule.took()
        answer = await cold.append("s", APPEND)
        assert answer == Appended(chunks + 1, False, None)
        verbs, round_trips = schedule.took()
        assert sorted(verbs) == ["get", "head", "list", PUT]
        assert round_trips == 3

    play(main)


def test_a_cold_append_to_an_empty_stream_lists_again_under_the_roots_generation() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        await new_stream(world.process().log)
        cold = world.process().log
        schedule.took()
        await cold.append("s", APPEND)
        verbs, round_trips = schedule.took()
        assert (sorted(verbs), round_trips) == (["get", "list", "list", PUT], 3)

    play(main)


def test_a_warm_append_is_one_conditional_put_and_nothing_else() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        for seq, append in enumerate([APPEND, APPEND, Append(b"x", TEXT, claim=Claim("p", 0, 0))]):
            schedule.took()
            assert isinstance(await log.append("s", append), Appended), seq
            assert schedule.took() == ([PUT], 1)
        await log.append("s", Append(b"x", TEXT, close=True))
        assert schedule.took() == ([PUT], 1)

    play(main)


def test_what_arrives_while_a_put_is_in_flight_is_the_next_put() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        schedule.took()
        writers = [asyncio.create_task(log.append("s", Append(b"%02d" % n, TEXT))) for n in range(64)]
        answers = await asyncio.gather(*writers)
        assert schedule.took() == ([PUT], 1)  # all of them arrived before the first could be sent
        assert answers == [Appended(2 * n + 2, False, None) for n in range(64)]

        first = asyncio.create_task(log.append("s", Append(b"first", TEXT)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert world.pending
        writers = [asyncio.create_task(log.append("s", Append(b"%02d" % n, TEXT))) for n in range(64)]
        await asyncio.gather(first, *writers)
        assert [request.verb for request in schedule.requests] == [PUT, PUT]
        assert schedule.round_trips == 2  # one in flight at a time
        page = await log.read("s", Sentinel.START)
        assert isinstance(page, Page)
        alone = b"".join(b"%02d" % n for n in range(64))
        assert page.body == alone + b"first" + alone

    play(main)


def test_appends_to_different_streams_do_not_wait_for_each_other() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        for n in range(16):
            await new_stream(log, f"s{n}")
        schedule.took()
        await asyncio.gather(*(log.append(f"s{n}", APPEND) for n in range(16)))
        assert schedule.took() == ([PUT] * 16, 1)

    play(main)


def test_a_warm_read_at_the_tail_is_one_get() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        generation = await new_stream(log)
        await log.append("s", APPEND)
        for offset in (Offset(generation, 1), Sentinel.NOW, Sentinel.START):
            schedule.took()
            page = await log.read("s", offset)
            assert isinstance(page, Page)
            assert page.up_to_date
            assert schedule.took() == (["get"], 1)

    play(main)


def test_a_chunk_once_read_is_not_read_again() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        generation = await new_stream(world.process().log)
        fill(world, "s", generation, 3)
        log = world.process().log
        await log.read("s", Sentinel.START)
        schedule.took()
        page = await log.read("s", Sentinel.START, limit=2)
        assert isinstance(page, Page)
        assert (page.body, page.up_to_date) == (b"xx", False)
        assert schedule.took() == ([], 0)

    play(main)


def test_a_cold_read_of_a_short_stream_is_its_chunks_and_four_requests_more() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        fill(world, "s", await new_stream(world.process().log), 3)
        schedule.took()
        page = await world.process().log.read("s", Sentinel.START)
        assert isinstance(page, Page)
        assert page.body == b"xxx"
        verbs, _ = schedule.took()
        assert sorted(verbs) == ["get"] * 5 + ["head", "list"]  # root, newest and its head, 3 chunks, successor key

    play(main)


def test_a_page_far_from_the_tail_is_fetched_in_parallel_from_one_list() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        fill(world, "s", await new_stream(world.process().log), 2000)
        log = world.process().log
        await log.head("s")
        schedule.took()
        page = await log.read("s", Sentinel.START, limit=200)
        assert isinstance(page, Page)
        assert (page.end, page.up_to_date) == (200, False)
        verbs, round_trips = schedule.took()
        assert verbs.count("list") == 1
        assert verbs.count("get") == 200
        assert round_trips <= 2 + 200 / 16 + 1

    play(main)


def test_a_warm_head_is_at_most_one_request() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        await log.append("s", APPEND)
        schedule.took()
        description = await log.head("s")
        assert isinstance(description, Description)
        assert description.tail.position == 1
        assert schedule.took() == (["get"], 1)

    play(main)


def test_an_answer_that_writes_nothing_costs_one_get() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        append = Append(b"x", TEXT, claim=Claim("p", 0, 0))
        await log.append("s", append)
        schedule.took()
        assert await log.append("s", append) == Repeated(1, False, 0, 0)
        assert schedule.took() == (["get"], 1)
        await log.append("s", Append(b"", close=True))
        schedule.took()
        assert await log.append("s", APPEND) == StreamClosed(1)
        assert schedule.took() == (["get"], 1)

    play(main)


def test_64_duplicates_at_once_cost_one_get() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        append = Append(b"x", TEXT, claim=Claim("p", 0, 0))
        await log.append("s", append)
        schedule.took()
        answers = await asyncio.gather(*(log.append("s", append) for _ in range(64)))
        assert answers == [Repeated(1, False, 0, 0)] * 64
        assert schedule.took() == (["get"], 1)

    play(main)


def test_64_pollers_share_one_probe_at_a_time() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        generation = await new_stream(log)
        await log.append("s", APPEND)
        schedule.took()
        pollers = [asyncio.create_task(log.read("s", Offset(generation, 1), wait_seconds=20.0)) for _ in range(64)]
        await asyncio.sleep(10.0)
        verbs, round_trips = schedule.took()
        assert set(verbs) == {"get"}
        assert len(verbs) == round_trips  # never two at once
        assert 9 < len(verbs) < 20  # the pauses grow to a second
        await world.process().log.append("s", APPEND)
        for page in await asyncio.gather(*pollers):
            assert isinstance(page, Page)
            assert (page.body, page.up_to_date) == (b"x", True)
        assert world.now < 12.0

    play(main)


def test_a_poller_woken_by_an_append_in_its_process_asks_the_store_nothing() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        generation = await new_stream(log)
        schedule.took()
        pollers = [asyncio.create_task(log.read("s", Offset(generation, 0), wait_seconds=20.0)) for _ in range(64)]
        await asyncio.sleep(0.05)
        assert schedule.took() == (["get"], 1)  # before they wait they look once, together
        await log.append("s", APPEND)
        for page in await asyncio.gather(*pollers):
            assert isinstance(page, Page)
            assert page.body == b"x"
        assert schedule.took() == ([PUT], 1)

    play(main)


def test_nobody_is_probed_for_when_nobody_waits() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        generation = await new_stream(log)
        await log.read("s", Offset(generation, 0), wait_seconds=1.0)
        schedule.took()
        await asyncio.sleep(60.0)
        assert schedule.took() == ([], 0)

    play(main)


def test_creating_costs_a_get_and_one_put_or_three_with_a_body() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        assert isinstance(await log.create("s", Creation(Config(TEXT))), Created)
        assert schedule.took() == (["get", PUT], 2)
        assert isinstance(await log.create("t", Creation(Config(TEXT), b"x")), Created)
        assert schedule.took() == (["get", PUT, PUT, "put-IfMatch"], 4)
        assert isinstance(await log.create("t", Creation(Config(TEXT), b"x")), Existed)
        assert schedule.took() == (["get", "get"], 2)

    play(main)


def test_deleting_costs_a_tombstone_and_the_roots_change() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        schedule.took()
        assert isinstance(await log.delete("s"), Deleted)
        assert schedule.took() == ([PUT, "get", "list", "put-IfMatch"], 4)

    play(main)


def test_a_stream_that_is_not_there_costs_one_round_trip() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        assert await log.append("s", APPEND) == NotFound()
        verbs, round_trips = schedule.took()
        assert (sorted(verbs), round_trips) == (["get", "list"], 1)

    play(main)


def test_a_busy_reader_of_a_sliding_stream_costs_at_most_ten_touches_per_window() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await log.create("s", Creation(Config(TEXT, ttl_seconds=100)))
        schedule.took()
        while world.now < 100.0:
            await log.read("s", Sentinel.START)
            await asyncio.sleep(0.5)
        verbs, _ = schedule.took()
        assert 8 <= verbs.count("put-Always") <= 10

    play(main)


def test_a_spilled_table_is_written_once_per_some_thirty_producers() -> None:
    async def main(world: World, schedule: InOrder) -> None:
        log = world.process().log
        await new_stream(log)
        for n in range(200):
            await log.append("s", Append(b"x", TEXT, claim=Claim(f"producer-number-{n:04d}", 0, 0)))
        tables = [key for key in world.bucket.objects if key.startswith("state/")]
        assert 3 <= len(tables) <= 200 / 25
        schedule.took()
        cold = world.process().log
        assert await cold.append("s", Append(b"x", TEXT, claim=Claim("producer-number-0000", 0, 1))) == Appended(
            201, False, Claim("producer-number-0000", 0, 1)
        )
        verbs, round_trips = schedule.took()
        assert (sorted(verbs), round_trips) == (["get", "get", "head", "list", PUT], 4)

    play(main)
