"""Races that a seed finds seldom, in the one order that matters."""

import asyncio

import msgspec

from storage.core.admission import Append, Appended
from storage.core.offset import Offset, Sentinel
from storage.core.producers import Claim
from storage.core.root import Config, State, decode_root, encode_root
from storage.creation import Created, Creation
from storage.errors import AmbiguousWriteError
from storage.log import Deleted, LogSettings, NotFound, OffsetGone, Page
from storage.objects import IfMatch, OutcomeUnknown
from tests.log.clients import Station
from tests.log.ledger import Call, Delete, Head, Read
from tests.log.schedules import Holding
from tests.log.world import Process, Request, World

TEXT = "text/plain"
LONG = "long".ljust(400, "g")  # four producers with such ids need a table of their own


class Play:
    """Two processes whose requests can be held back, and a ledger."""

    def __init__(self, settings: LogSettings | None = None) -> None:
        self.schedule = Holding()
        self.world = World(self.schedule)
        self.station = Station(self.world)
        self.here, self.there = self.world.process(settings), self.world.process()

    async def create(self, process: Process, payload: bytes = b"") -> Call:
        return await self.station.call(process, Creation(Config(TEXT), payload))

    async def append(self, process: Process, claim: Claim | None = None) -> Call:
        return await self.station.call(process, Append(self.station.payload(TEXT), TEXT, claim=claim))

    async def fill_table(self, process: Process, producers: int) -> None:
        for n in range(producers):
            call = await self.append(process, Claim(f"{LONG}{n}", 0, 0))
            assert isinstance(call.answer, Appended)

    async def replace(self, process: Process) -> None:
        """Delete the stream and create another one."""
        assert isinstance((await self.station.call(process, Delete())).answer, Deleted)
        assert isinstance((await self.create(process)).answer, Created)

    def lose(self, held: str, *, happens: bool) -> Request:
        """Tell the process that nobody knows what became of the request that begins with `held`."""
        [request] = [request for request in self.world.pending if str(request).startswith(held)]
        self.world.pending.remove(request)
        if happens:
            self.world.take_effect(request)
        self.world.fail(request, OutcomeUnknown("simulated"))
        return request

    async def begin(self, work: "asyncio.Task[Call]", held: str) -> None:
        """Let a call go on until its request that begins with `held` waits."""
        while not any(str(request).startswith(held) for request in self.world.pending):
            assert not work.done()
            await asyncio.sleep(0.02)


def test_a_table_that_takes_long_to_write_is_not_followed_by_a_chunk_of_a_later_generation() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.here)
        await play.fill_table(play.here, 4)
        play.schedule.held = f"{play.here.name} put-IfAbsent state/"
        slow = asyncio.create_task(play.append(play.here, Claim(f"{LONG}4", 0, 0)))
        await play.begin(slow, play.schedule.held)
        await play.replace(play.there)
        await play.station.call(play.here, Read(Sentinel.NOW, 100, 0.0))
        play.schedule.held = None
        assert isinstance((await slow).answer, Appended)
        await play.station.read_back()

    play.world.run(main())
    play.station.verify()


def test_a_spilled_table_is_looked_for_under_the_generation_of_its_chunk() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.there)
        await play.fill_table(play.there, 5)
        await play.append(play.here)
        play.schedule.held = f"{play.here.name} put-IfAbsent chunk/"
        slow = asyncio.create_task(play.append(play.here))
        await play.begin(slow, play.schedule.held)
        await play.append(play.there)  # with the table's name, where the slow one wants to be
        await play.replace(play.there)
        await play.station.call(play.here, Read(Sentinel.NOW, 100, 0.0))
        play.schedule.held = None
        assert isinstance((await slow).answer, Appended)
        await play.station.read_back()

    play.world.run(main())
    play.station.verify()


def test_two_callers_who_meet_on_a_cold_stream_both_find_it() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.there)
        await play.append(play.there)
        play.schedule.held = f"{play.here.name} head chunk/"
        first = asyncio.create_task(play.append(play.here))
        await play.begin(first, play.schedule.held)
        second = asyncio.create_task(play.append(play.here))
        await asyncio.sleep(0.05)
        play.schedule.held = None
        assert isinstance((await first).answer, Appended)
        assert isinstance((await second).answer, Appended)

    play.world.run(main())
    play.station.verify()


def test_an_offset_of_a_generation_that_another_process_made_is_not_called_gone() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.here)
        await play.replace(play.there)
        call = await play.append(play.there)
        generation = play.station.ledger.generation_of(call)
        page = (await play.station.call(play.here, Read(Offset(generation, 0), 100, 0.0))).answer
        assert isinstance(page, Page)
        assert page.root.generation == generation

    play.world.run(main())
    play.station.verify()


def test_an_offset_of_a_deleted_generation_is_gone() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.here)
        old = play.station.ledger.roots["s"].generation
        await play.replace(play.there)
        for process in (play.here, play.there):
            call = await play.station.call(process, Read(Offset(old, 0), 100, 0.0))
            assert call.answer == OffsetGone()

    play.world.run(main())
    play.station.verify()


def test_a_writer_whose_stream_was_deleted_elsewhere_is_told_so() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.here)
        await play.append(play.here)
        await play.station.call(play.there, Delete())
        assert (await play.append(play.here)).answer == NotFound()
        assert (await play.station.call(play.here, Head())).answer == NotFound()

    play.world.run(main())
    play.station.verify()


def test_a_poller_learns_of_an_append_a_close_and_a_deletion_made_elsewhere() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.here)
        generation = play.station.ledger.roots["s"].generation

        async def poll(position: int) -> object:
            read = Read(Offset(generation, position), 100, 20.0)
            return (await play.station.call(play.here, read)).answer

        waiting = asyncio.create_task(poll(0))
        await asyncio.sleep(2.0)
        await play.append(play.there)
        page = await waiting
        assert isinstance(page, Page)
        assert page.end > 0
        waiting = asyncio.create_task(poll(page.end))
        await asyncio.sleep(2.0)
        await play.station.call(play.there, Append(b"", close=True))
        closed = await waiting
        assert isinstance(closed, Page)
        assert (closed.body, closed.closed) == (b"", True)

        await play.replace(play.there)
        generation = play.station.ledger.roots["s"].generation
        waiting = asyncio.create_task(poll(0))
        await asyncio.sleep(2.0)
        await play.station.call(play.there, Delete())
        assert await waiting == NotFound()
        assert play.world.now < 12.0

    play.world.run(main())
    play.station.verify()


def test_a_creation_that_a_sweeper_fenced_was_not_created() -> None:
    play = Play()

    async def main() -> None:
        play.schedule.held = f"{play.here.name} put-IfMatch root/"
        slow = asyncio.create_task(play.create(play.here, play.station.payload(TEXT)))
        await play.begin(slow, play.schedule.held)
        bucket = play.world.bucket
        found = bucket.get("root/s")
        assert found is not None
        fenced = msgspec.structs.replace(decode_root(found.body), state=State.DELETED, write_id="sweeper")
        assert bucket.put("root/s", encode_root(fenced), IfMatch(found.head.etag), "application/json", {}) is not None
        play.schedule.held = None
        created = (await slow).answer
        assert isinstance(created, Created)
        assert created.stream.root.generation > fenced.generation
        await play.station.read_back()

    play.world.run(main())
    play.station.verify()


def test_a_list_that_is_older_than_the_root_is_made_again() -> None:
    play = Play()

    async def main() -> None:
        await play.create(play.there)
        await play.append(play.there)
        play.schedule.held = f"{play.here.name} get root/"
        slow = asyncio.create_task(play.append(play.here))
        await play.begin(slow, play.schedule.held)
        await asyncio.sleep(0.05)  # the LIST that went with it is answered
        await play.replace(play.there)
        for _ in range(10):
            await play.append(play.there)
        play.schedule.held = None
        play.schedule.took()
        assert isinstance((await slow).answer, Appended)
        assert play.schedule.took() == (["get", "list", "head", "put-IfAbsent"], 4)

    play.world.run(main())
    play.station.verify()


def test_a_creation_that_took_effect_unheard_and_was_replaced_is_not_called_lost() -> None:
    play = Play()

    async def main() -> None:
        entering, looking = (f"{play.here.name} {verb} root/" for verb in ("put-IfMatch", "get"))
        play.schedule.held = entering
        slow = asyncio.create_task(play.create(play.here, play.station.payload(TEXT)))
        await play.begin(slow, entering)
        play.lose(entering, happens=True)
        play.schedule.held = looking
        await play.begin(slow, looking)
        await play.replace(play.there)
        play.schedule.held = None
        assert isinstance((await slow).error, AmbiguousWriteError)
        await play.station.read_back()

    play.world.run(main())
    play.station.verify()


def test_an_append_whose_fate_stays_unknown_is_never_said_to_be_unwritten() -> None:
    play = Play(LogSettings(tries=1))

    async def main() -> None:
        await play.create(play.there)
        await play.append(play.there)
        play.schedule.held = putting = f"{play.here.name} put-IfAbsent chunk/"
        slow = asyncio.create_task(play.append(play.here))
        await play.begin(slow, putting)
        late = play.lose(putting, happens=False)
        assert isinstance((await slow).error, AmbiguousWriteError)
        play.world.take_effect(late)
        await play.station.read_back()

    play.world.run(main())
    play.station.verify()
