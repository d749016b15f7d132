"""What compaction costs, what it leaves, and that nobody waits for it. Requests are counted exactly."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from storage.core import keys
from storage.core.checking import checksum
from storage.core.chunk import Chunk, Kind, encode_chunk
from storage.core.compaction import Grouping, Link, Trail, link_of, merge
from storage.core.producers import Claim
from storage.core.root import Config
from storage.creation import Created, Creation
from storage.errors import DamageError
from storage.forks import Fork
from storage.log import Append, Log, LogSettings, Offset, Page, Sentinel
from storage.objects import Always, IfAbsent, IfMatch, Object, StoreRefused
from storage.sqlite import SqliteObjects
from tests.log.schedules import InOrder
from tests.log.world import Process, World

TEXT = "text/plain"
MILLION = 1_000_000


class Bench:
    """One world, in which requests are counted."""

    def __init__(self) -> None:
        self.schedule = InOrder()
        self.world = World(self.schedule)
        self.world.steps_limit = 10**9

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.world.run(main())

    def process(self, settings: LogSettings | None = None) -> Process:
        return self.world.process(settings)

    def took(self) -> Counter[str]:
        """Return the requests made since the last call, by verb."""
        return Counter(self.schedule.took()[0])

    def supersets(self) -> list[tuple[int, int]]:
        """Return position and count of every superset, ascending."""
        return sorted(
            (keys.parse_chunk_key(key)[1], int(found.head.metadata["count"]))
            for key, found in self.world.bucket.objects.items()
            if key.startswith("chunk/") and "count" in found.head.metadata
        )


@pytest.fixture
async def memory() -> AsyncIterator[SqliteObjects]:
    objects = await SqliteObjects.open_memory()
    yield objects
    await objects.aclose()


async def append_many(log: Log, count: int, path: str = "s", size: int = 10) -> None:
    for _ in range(count):
        await log.append(path, Append(b"x" * size, media_type=TEXT))


async def read_all(log: Log, path: str = "s", limit: int | None = None) -> bytes:
    body = b""
    offset: Offset | Sentinel = Sentinel.START
    while True:
        page = await log.read(path, offset, limit=limit)
        assert isinstance(page, Page)
        body += page.body
        if page.up_to_date:
            return body
        holder = next(s for s in page.root.lineage if s.high is None or page.end <= s.high)
        offset = Offset(holder.generation, page.end)


def test_sixty_four_appends_cost_one_put_more() -> None:
    bench = Bench()

    async def main() -> None:
        process = bench.process()
        await process.log.create("s", Creation(Config(TEXT)))
        bench.took()
        await append_many(process.log, 4096)
        await process.log.aclose()
        # 64 groups of 64, eight groups of eight, one of those: no listing, no read, no HEAD.
        assert bench.took() == {"put-IfAbsent": 4096, "put-IfMatch": 64 + 8 + 1}

    bench.run(main)
    assert bench.supersets()[0] == (0, 4096)
    assert Counter(count for _, count in bench.supersets()) == {64: 56, 512: 7, 4096: 1}


def test_an_append_at_a_boundary_takes_one_round_trip_as_any_other() -> None:
    bench = Bench()

    async def main() -> None:
        process = bench.process()
        await process.log.create("s", Creation(Config(TEXT)))
        await append_many(process.log, 63)
        bench.took()
        await append_many(process.log, 1)
        assert bench.schedule.round_trips == 1
        assert bench.took() == {"put-IfAbsent": 1}
        await process.log.aclose()
        assert bench.took() == {"put-IfMatch": 1}

    bench.run(main)


def test_a_store_that_refuses_supersets_is_asked_once_and_appends_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    put = bench.world.bucket.put

    def refuse(key: str, body: bytes, condition: object, *rest: Any) -> str | None:
        if isinstance(condition, IfMatch) and key.startswith("chunk/"):
            raise StoreRefused(f"put of {key}: no")
        return put(key, body, condition, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.world.bucket, "put", refuse)

    async def main() -> None:
        process = bench.process()
        await process.log.create("s", Creation(Config(TEXT)))
        bench.took()
        await append_many(process.log, 256)
        await process.log.aclose()
        assert bench.took() == {"put-IfAbsent": 256, "put-IfMatch": 1}
        assert await read_all(bench.process().log) == b"x" * 2560

    bench.run(main)
    assert bench.supersets() == []


def test_a_group_that_its_writer_did_not_merge_is_merged_by_a_reader_once_it_is_old() -> None:
    bench = Bench()

    async def main() -> None:
        first = bench.process()
        await first.log.create("s", Creation(Config(TEXT)))
        for _ in range(16):
            process = bench.process()  # nobody holds more than nine chunks of a group
            await append_many(process.log, 8)
        assert bench.supersets() == []
        await read_all(bench.process().log)
        await first.log.aclose()
        assert bench.supersets() == []  # it may be that its writer is about to
        await asyncio.sleep(120)
        bench.took()
        reader = bench.process()
        assert await read_all(reader.log) == b"x" * 1280
        await reader.log.aclose()
        assert bench.took()["put-IfMatch"] == 2

    bench.run(main)
    assert bench.supersets() == [(0, 64), (640, 64)]


def test_a_superset_says_what_the_last_of_its_chunks_says() -> None:
    bench = Bench()

    async def main() -> None:
        log = bench.process().log
        await log.create("s", Creation(Config("application/json"), b'{"n":0}'))
        for n in range(1, 64):
            await log.append(
                "s",
                Append(
                    b'{"n":%d}' % n,
                    media_type="application/json",
                    sequence=f"{n:03d}",
                    claim=Claim("p", 0, n - 1),
                    close=n == 63,
                ),
            )
        await log.aclose()
        fresh = bench.process()
        found = bench.world.bucket.objects
        prefix = keys.chunks_of_generation("s", _generation(found))
        superset, last = found[prefix + keys.complement(0)], found[min(k for k in found if k.startswith(prefix))]
        assert superset.head.metadata == {
            **last.head.metadata,
            "write-id": superset.head.metadata["write-id"],
            "count": "64",
            "crc": checksum(superset.body),
        }
        assert superset.body == b"[" + b",".join(b'{"n":%d}' % n for n in range(64)) + b"]"
        # A stale writer that finds the superset at its tail's key adopts all of it.
        assert (await fresh.log.read("s", Sentinel.START)).closed  # type: ignore[union-attr]

    bench.run(main)


def _generation(found: dict[str, Object]) -> int:
    return next(keys.parse_chunk_key(key)[0] for key in found if key.startswith("chunk/"))


def test_a_fork_inside_a_superset_is_clipped_and_has_groups_of_its_own() -> None:
    bench = Bench()

    async def main() -> None:
        log = bench.process().log
        created = await log.create("s", Creation(Config(TEXT)))
        assert isinstance(created, Created)
        await append_many(log, 70)
        place = Offset(created.stream.root.generation, 123)
        await log.create("f", Creation(Config(TEXT), fork=Fork("s", place)))
        await append_many(log, 64, "f", size=5)
        await log.aclose()
        for limit in (7, 1000, None):
            assert await read_all(bench.process().log, "f", limit) == b"x" * (123 + 320)

    bench.run(main)
    assert bench.supersets() == [(0, 64), (123, 64)]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_first_append_and_the_first_tail_read_of_a_cold_process_cost_what_they_cost_on_an_empty_stream(
    compacted: bool,
) -> None:
    bench = Bench()
    grouping = Grouping() if compacted else Grouping(chunks=10**6)

    async def costs(path: str) -> list[tuple[Counter[str], int]]:
        results = []
        for reads in (False, True):
            log = bench.process(LogSettings(grouping=grouping)).log
            bench.took()
            if reads:
                await log.read(path, Sentinel.NOW)
            else:
                await log.append(path, Append(b"y", media_type=TEXT))
            verbs, round_trips = bench.schedule.took()
            results.append((Counter(verbs), round_trips))
        return results

    async def main() -> None:
        log = bench.process(LogSettings(grouping=grouping)).log
        await log.create("long", Creation(Config(TEXT)))
        await log.create("short", Creation(Config(TEXT), b"x"))
        await append_many(log, 700, "long")
        await log.aclose()
        assert bool(bench.supersets()) is compacted
        long, short = await costs("long"), await costs("short")
        assert long == short
        assert long[0] == ({"get": 1, "list": 1, "head": 1, "put-IfAbsent": 1}, 3)
        assert long[1] == ({"get": 2, "list": 1, "head": 1}, 3)

    bench.run(main)


def test_a_million_messages_of_a_hundred_bytes_are_fifteen_objects_and_thirty_gets_at_most() -> None:
    """One message a chunk. The objects are made by the compactor's own functions, chunk by chunk, without a store."""
    bench = Bench()

    async def main() -> None:
        log = bench.process().log
        created = await log.create("s", Creation(Config(TEXT)))
        assert isinstance(created, Created)
        generation = created.stream.root.generation
        prefix = keys.chunks_of_generation("s", generation)
        message = b"m" * 99 + b"\n"
        held: dict[int, tuple[Chunk, bytes]] = {}
        trail = Trail(Grouping())
        for n in range(MILLION):
            chunk = Chunk(n * 100, n * 100 + 100, Kind.DATA, "w", n, 0, False, None, None, {}, "")
            held[chunk.position] = chunk, message
            trail.add(link_of(chunk, 100, "e", TEXT))
            while due := trail.due():
                superset, body = merge([held.pop(link.position) for link in due], is_json=False)
                held[superset.position] = superset, body
                trail.replace(len(due), link_of(superset, len(body), "e", TEXT))
        assert len(held) == 15
        for position, (superset, body) in held.items():
            key = prefix + keys.complement(position)
            bench.world.bucket.put(key, body, IfAbsent(), TEXT, encode_chunk(superset, generation))
        cold = bench.process()
        bench.took()
        size = 0
        offset: Offset | Sentinel = Sentinel.START
        while True:
            page = await cold.log.read("s", offset)
            assert isinstance(page, Page)
            into = page.start % 100
            assert page.body == (message * (len(page.body) // 100 + 2))[into : into + len(page.body)]
            size += len(page.body)
            if page.up_to_date:
                break
            offset = Offset(generation, page.end)
        await cold.log.aclose()
        took = bench.took()
        assert size == MILLION * 100
        # The root, the 15 objects, and the look at what may follow the tail.
        assert took == {"get": 17, "list": 1, "head": 1}

    bench.run(main)


def test_any_process_reads_a_page_of_a_long_json_history_without_what_is_before_it() -> None:
    """The metadata of a superset tells where messages begin, so a page is neither searched nor its offset proven."""
    bench = Bench()
    messages = [b'{"n":%d,"text":"%s"}' % (n, b"x" * 80_000) for n in range(128)]

    async def main() -> None:
        log = bench.process().log
        created = await log.create("s", Creation(Config("application/json")))
        assert isinstance(created, Created)
        for message in messages:
            await log.append("s", Append(message, media_type="application/json"))
        await log.aclose()
        assert [count for _, count in bench.supersets()] == [64, 64]
        for key, found in list(bench.world.bucket.objects.items()):
            if key.startswith("chunk/") and "count" not in found.head.metadata:
                bench.world.bucket.delete(key)  # as the sweeper does
        offset: Offset | Sentinel = Sentinel.START
        pages: list[bytes] = []
        while True:
            # Each page is read by a process that has seen nothing, as functions are.
            cold = bench.process(LogSettings(runs_ahead=0, block_bytes=LogSettings().page_bytes))
            bench.took()
            page = await cold.log.read("s", offset)
            assert isinstance(page, Page)
            took = bench.took()
            pages.append(page.body)
            await cold.log.aclose()
            if page.up_to_date:
                break
            if offset is not Sentinel.START:
                # The root, the tail, the position itself and its floor, the page, and what follows the chunk that it
                # is in. Nothing of what is before the page.
                assert took == {"get": 4, "list": 2, "head": 2}
            assert 3_000_000 < len(page.body) <= 4 * 1024 * 1024
            offset = Offset(created.stream.root.generation, page.end)
        assert b",".join(page[1:-1] for page in pages) == b",".join(messages)
        assert len(pages) <= 4

    bench.run(main)


async def test_a_chunk_on_its_way_is_not_taken_for_the_superset_that_it_became(memory: SqliteObjects) -> None:
    """It ends with a bracket where the superset goes on."""
    settings = LogSettings(
        page_bytes=4000, block_bytes=2000, ahead_bytes=10**6, grouping=Grouping(chunks=4, groups=2), probe_seconds=10
    )
    writer, reader, other = (Log(memory, settings) for _ in range(3))
    await writer.create("s", Creation(Config("application/json")))

    async def append(count: int) -> None:
        batch = b",".join(b'{"n":%d,"text":"%s"}' % (n, b"x" * 80) for n in range(count))
        await writer.append("s", Append(batch, media_type="application/json"))

    for count in (100, 3, 3):
        await append(count)
    page = await reader.read("s", Sentinel.START)
    assert isinstance(page, Page)
    await asyncio.sleep(0)  # what is left of the first chunk is on its way
    await append(3)
    await writer.settle()
    ended = await other.read("s", Sentinel.START, limit=5500)
    assert isinstance(ended, Page)
    inside = Offset(page.root.generation, ended.end)
    pages = [await log.read("s", inside, limit=20_000) for log in (reader, other)]
    assert [json.loads(page.body)[-1]["n"] for page in pages if isinstance(page, Page)] == [2, 2]
    assert len({page.body for page in pages if isinstance(page, Page)}) == 1
    for log in (writer, reader, other):
        await log.aclose()


async def test_what_is_damaged_far_ahead_is_no_reason_not_to_read_what_is_here(memory: SqliteObjects) -> None:
    settings = LogSettings(
        page_bytes=1000, block_bytes=500, run_bytes=3000, grouping=Grouping(chunks=4, groups=1000, superset_bytes=5000)
    )
    writer, reader = Log(memory, settings), Log(memory, settings)
    await writer.create("s", Creation(Config(TEXT)))
    for _ in range(13):
        await writer.append("s", Append(b"x" * 2000, media_type=TEXT))
        await writer.settle()
    supersets = [entry for entry in await memory.list("chunk/s/") if entry.size == 8000]
    damaged = await memory.get(supersets[-2].key)
    assert damaged is not None
    await memory.put(supersets[-2].key, damaged.body, Always(), content_type=TEXT, metadata={"next": "junk"})
    page = await reader.read("s", Sentinel.START)
    while isinstance(page, Page) and page.end < 8000:
        await asyncio.sleep(0.01)  # what is ahead arrives
        page = await reader.read("s", Offset(page.root.generation, page.end))
    assert isinstance(page, Page)
    with pytest.raises(DamageError):
        await reader.read("s", Offset(page.root.generation, page.end))
    for log in (writer, reader):
        await log.aclose()


def test_groups_that_follow_each_other_without_a_gap_are_merged_and_others_are_not() -> None:
    def link(first: int, count: int, position: int, size: int = 10) -> Link:
        return Link(position, position + size, first, first + count - 1, 0, Kind.DATA, size, "e", TEXT)

    trail = Trail(Grouping(chunks=2, groups=2, superset_bytes=100))
    trail.add(link(1, 1, 10))
    assert not trail.links  # it is in the middle of a group
    trail.add(link(2, 1, 20))
    trail.add(link(3, 1, 30))
    assert [each.first for each in trail.due()] == [2, 3]
    trail.replace(2, link(2, 2, 20, 20))
    assert not trail.due()  # the beginning of the group of groups was never seen
    trail.add(link(4, 1, 41))
    assert [each.first for each in trail.links] == [4]  # a position is missing before it
