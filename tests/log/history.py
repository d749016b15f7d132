"""Long lives in small: groups of three chunks, supersets of two hundred bytes, days that go by, and a sweeper at work.

The ledger here follows what compaction and reclamation do to the objects, and says where they break an invariant.

    python -m tests.log.history forks 139          the story of one run
    python -m tests.log.history forks 0 5000       as many as you like
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from urllib.parse import unquote

import msgspec

from storage.core import keys
from storage.core.admission import Append
from storage.core.chunk import Chunk, Kind, decode_chunk
from storage.core.compaction import Grouping
from storage.core.offset import Offset, Sentinel
from storage.core.root import Config, Root, State
from storage.core.sweeping import Sweeping
from storage.creation import Created, Creation
from storage.errors import UnavailableError
from storage.forks import Fork
from storage.log import Gone, LogSettings, OffsetGone, Page
from storage.objects import Object
from storage.retention import Retained
from storage.sweep import Sweeper
from tests.log.clients import PATH, Client, Station
from tests.log.ledger import Call, Head, Ledger, Read
from tests.log.mixes import Mix
from tests.log.schedules import Faults, Seeded
from tests.log.verdicts import Violation, judge_calls
from tests.log.world import Port, Process, SimulatedChance, SimulatedClock, World

DAY_SECONDS = 86_400.0
MINUTES = 600.0  # seconds
GROUPING = Grouping(chunks=3, groups=2, superset_bytes=200, cut_bytes=30)


class HistoryLedger(Ledger):
    """Also judges supersets, and every deletion."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.objects: dict[str, Object] = {}
        self.since: dict[str, int] = {}  # when there first was something under a key
        self.chunks: dict[tuple[str, int], list[Chunk]] = {}
        self.retained: dict[tuple[str, int], int] = {}
        self.judges_age = True  # off: only what comes of it is judged
        self.supersets = 0
        self.reclaimed = 0
        self.purged = 0

    def written(self, key: str, found: Object | None) -> None:
        kind, segment = key.split("/")[:2]
        before = self.objects.get(key)
        if found is None:
            assert before is not None
            del self.objects[key]
            since = self.since.pop(key)
            if kind in ("chunk", "state", "touch"):
                self.object_deleted(kind, unquote(segment), key, before, self.world.now_ms() - since)
            elif kind != "fork":
                self.broken(f"{key} was deleted")
            return
        self.objects[key] = found
        self.since.setdefault(key, self.world.now_ms())
        if kind == "chunk" and before is not None:
            self.superset_written(unquote(segment), key, before, found)
            return
        super().written(key, found)
        if kind == "chunk":
            number, at = keys.parse_chunk_key(key)
            self.chunks.setdefault((unquote(segment), number), []).append(decode_chunk(at, found.head.metadata))

    def root_written(self, path: str, root: Root) -> None:
        old = self.roots.get(path)
        if old is not None and (old.generation, old.state) == (root.generation, root.state):
            moved = msgspec.structs.replace(old, retained=root.retained, write_id=root.write_id)
            if root != moved or root.retained <= old.retained or root.write_id == old.write_id:
                self.broken(f"the root of {path} changed from {old} to {root}")
            self.roots[path] = root
            self.retained[path, root.generation] = root.retained
            return
        super().root_written(path, root)

    def superset_written(self, path: str, key: str, before: Object, found: Object) -> None:
        number, at = keys.parse_chunk_key(key)
        chain = self.chunks[path, number]
        generation = self.generations[path, number]
        chunk = decode_chunk(at, found.head.metadata)
        first = next(each for each in chain if each.position == at and each.kind is Kind.DATA)
        last = next(each for each in chain if each.index == chunk.index)
        expected = msgspec.structs.replace(
            last, position=at, write_id=first.write_id, count=last.index - first.index + 1
        )
        if msgspec.structs.replace(chunk, cuts=()) != expected:
            self.broken(f"{key} became {chunk}, which should be {expected}")
        if not {each.position for each in chain}.issuperset(chunk.cuts) or (chunk.cuts and not generation.root.is_json):
            self.broken(f"{key} says that messages begin at {chunk.cuts}")
        low = generation.root.own.low
        body = generation.content[at - low : chunk.next - low]
        if generation.root.is_json:
            body = b"[" + body[:-1] + b"]"
        if found.body != body:
            self.broken(f"{key} became {found.body!r}, which should be {body!r}")
        if found.head.content_type != before.head.content_type or len(found.body) <= len(before.body):
            self.broken(f"{key} became something else, or smaller")
        self.supersets += 1

    def object_deleted(self, kind: str, path: str, key: str, before: Object, age_ms: int) -> None:
        number = int(key.split("/")[2]) if kind == "touch" else keys.parse_chunk_key(f"x/{key.split('/')[2]}/0")[0]
        root = self.roots[path]
        if self.judges_age and age_ms < DAY_SECONDS * 1000:
            self.broken(f"{key} was deleted {age_ms / 1000:.0f} s after it was first written")
        if number < root.generation or (number == root.generation and root.state is State.DELETED):
            self.purged += 1
            if any(each.startswith(keys.markers_of(path, number)) for each in self.objects):
                self.broken(f"{key} was deleted, and a fork depends on it")
            return
        if kind != "chunk":
            self.broken(f"{key} was deleted from a generation that lives")
            return
        self.reclaimed += 1
        prefix = keys.chunks_of_generation(path, number)
        left = {keys.parse_chunk_key(each)[1]: found for each, found in self.objects.items() if each.startswith(prefix)}
        _, at = keys.parse_chunk_key(key)
        chunk = decode_chunk(at, before.head.metadata)
        readers = [each for each in self.roots.values() if each.state is not State.DELETED]
        kept = [each.retained for each in readers if any(s.generation == number for s in each.lineage)]
        need = max(chunk.position, min(kept))
        for low in sorted(left):
            if low <= need:
                need = max(need, decode_chunk(low, left[low].head.metadata).next)
        if need < chunk.next:
            self.broken(f"{key} was deleted, and nothing holds what it held")
        if not left or max(left) < at:
            self.broken(f"{key} was deleted, and it was the newest of its generation")


class HistoryMix(Mix, frozen=True):
    """What else there is to do."""

    sweep: float = 1.0
    stall: float = 1.0
    fork: float = 0.5
    append_to_fork: float = 0.7
    read_fork: float = 1.0
    delete_fork: float = 0.1
    retain: float = 0.0
    calls: tuple[int, ...] = (8, 14)
    close: float = 0.05
    append_and_close: float = 0.05


class HistoryStation(Station):
    """A station whose ledger knows of compaction."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.history = HistoryLedger(world)
        self.ledger = self.history
        self.forks: list[str] = []
        self.wrong: list[str] = []
        self.grace_seconds = DAY_SECONDS

    async def read_back(self) -> None:
        """Read everything with fresh eyes, and with those of every process that still lives."""
        processes = [process for process in self.world.processes if not process.crashed]
        for process in [*processes, self.world.process()]:
            await self.call(process, Read(Sentinel.START, 1 << 20, 0.0))
            await self.call(process, Head())
            for fork in self.forks:
                await self.read_fork(process, fork, 1 << 20, 100)
                await self.call(process, Head(), fork)

    async def read_fork(self, process: Process, path: str, limit: int, pages: int) -> None:
        """Read a fork from its start, and judge what comes."""
        offset: Offset | Sentinel = Sentinel.START
        for _ in range(pages):
            ended = await process.call(-1, process.log.read(path, offset, limit=limit))
            if ended is None or not isinstance(ended.answer, Page):
                if ended is not None and ended.error is not None and not isinstance(ended.error, UnavailableError):
                    self.wrong.append(f"{path} could not be read: {ended.error}")
                return
            page = ended.answer
            self.judge_fork(path, page)
            if page.up_to_date:
                return
            holder = next(s for s in page.root.lineage if s.high is None or page.end <= s.high)
            offset = Offset(holder.generation, page.end)

    def verify(self) -> None:
        """Raise Violation if anything was wrong; what is gone for its forks is judged by the ledger alone."""
        calls = self.ledger.calls
        self.ledger.calls = [call for call in calls if not self.is_foreseen(call)]
        judged = judge_calls(self.ledger)
        # A page that ends before the tail does not see a tombstone; the deletion is answered when the root knows of it.
        judged = [each for each in judged if "the page's generation was not there" not in each]
        wrong = self.wrong + self.ledger.violations + judged
        self.ledger.calls = calls
        if wrong:
            raise Violation("\n".join(wrong))

    def is_foreseen(self, call: Call) -> bool:
        """Say whether a call was told that what it asked for is not kept any more, and that was so."""
        if isinstance(call.answer, OffsetGone):
            offset = call.verb.offset if isinstance(call.verb, Read) else None
            return isinstance(offset, Offset) and offset.position < self.history.retained.get(
                (call.path, offset.generation), 0
            )
        return isinstance(call.answer, Gone)

    def judge_fork(self, path: str, page: Page) -> None:
        """Compare a page of a fork with what it inherited and what was appended to it."""
        held = b""
        for segment in page.root.lineage:
            content = self.ledger.generations[segment.path, segment.generation]
            end = len(content.content) if segment.high is None else segment.high - content.root.own.low
            held += content.content[:end]
        body = held[page.start : page.end]
        if page.root.is_json:
            body = b"[" + body[:-1] + b"]"
        if page.body != body:
            self.wrong.append(f"{path} was read from {page.start} as {page.body!r}, and it is {body!r}")


class Days(Seeded):
    """Lets days go by, but not while a request is under way: a signature is good for minutes."""

    def turn(self, world: World, timer: float | None) -> None:
        if timer is not None and timer > MINUTES and (world.pending or self.late):
            timer = None
            if not world.pending:
                self.arrive_late(world, self.rng.choice(self.late))
                return
        super().turn(world, timer)


class HistoryClient(Client):
    """Also forks, stalls for hours or days, and sweeps."""

    station: HistoryStation
    mix: HistoryMix

    async def live(self, calls: int) -> None:
        names = "append produce retry read wait head close append_and_close delete create"
        names += " sweep stall fork append_to_fork read_fork delete_fork retain"
        weights = {name: getattr(self.mix, name) for name in names.split()}
        for _ in range(calls):
            processes = [process for process in self.station.world.processes if not process.crashed]
            [kind] = self.rng.choices(list(weights), list(weights.values()))
            await self.one(kind, self.rng.choice(processes))

    async def one(self, kind: str, process: Process) -> None:
        station, rng = self.station, self.rng
        fork = rng.choice(station.forks) if station.forks else ""
        match kind:
            case "sweep":
                await sweep(process, rng.choice([15, 60, 1000]), rng.choice([3, 10, 1000]), station.grace_seconds)
            case "stall":
                await asyncio.sleep(DAY_SECONDS * rng.choice([0.03, 0.5, 1.01, 1.01]))
            case "fork":
                await self.fork(process)
            case "append_to_fork" if fork:
                # Its number is in the payload, so that the ledger finds out who appended what.
                await station.call(process, Append(station.payload(self.media_type), self.media_type), fork)
            case "read_fork" if fork:
                await station.read_fork(process, fork, rng.choice([1, 30, 1 << 20]), rng.choice([1, 30]))
            case "delete_fork" if fork:
                await process.call(-1, process.log.delete(fork))
            case "retain" if self.seen is not None:
                ended = await process.call(-1, process.log.retain(PATH, self.seen))
                if ended is not None and isinstance(ended.answer, Retained):
                    self.seen = None
            case "append_to_fork" | "read_fork" | "delete_fork" | "retain":
                await super().one("read", process)
            case _:
                await super().one(kind, process)

    async def fork(self, process: Process) -> None:
        station = self.station
        path = f"f{self.rng.randrange(3)}"
        creation = Creation(self.config, fork=Fork(PATH, self.seen))
        ended = await process.call(-1, process.log.create(path, creation))
        if ended is not None and isinstance(ended.answer, Created) and path not in station.forks:
            station.forks.append(path)


async def sweep(process: Process, requests: int, names: int, grace_seconds: float = DAY_SECONDS) -> None:
    """Make a pass with a process's own store and clock."""
    sweeper = Sweeper(
        Port(process),
        process.log.settings,
        Sweeping(grace_seconds, cycle_seconds=0.0, requests=requests, requests_per_second=0.0, parallel=3, names=names),
        SimulatedClock(process),
        SimulatedChance(process),
    )
    await process.call(-1, sweeper.sweep())


MIXES: Mapping[str, HistoryMix] = {
    "history": HistoryMix(delete=0.05, create=0.05, retry=1.5),
    "stale tails": HistoryMix(fork=0.1, read=3.0, sweep=2.0, stall=0.5, processes=(3, 4), calls=(10, 14), exists=1.0),
    "lives": HistoryMix(delete=0.6, create=1.0, delete_fork=0.3, calls=(8, 12)),
    "forks": HistoryMix(fork=1.5, read_fork=3.0, append_to_fork=1.5, delete_fork=0.4, delete=0.15, create=0.3),
    "spilled": HistoryMix(append=0.3, produce=6.0, retry=2.0, long_ids=1.0, fork=0.1, append_to_fork=0.1),
    "retention": HistoryMix(retain=1.5, read=3.0, fork=0.7),
}


def play(name: str, seed: int, change: Callable[[HistoryStation], None] = lambda station: None) -> HistoryStation:
    """Play one run to its end and judge it. Raises Violation, with the seed and the story.

    `change`: makes something wrong that must then be found.
    """
    mix, rng = MIXES[name], Random(f"{name} {seed}")
    faults = Faults() if rng.random() >= mix.faults else draw_faults(rng)
    schedule = Days(rng, faults, fault_rate=rng.choice([0.05, 0.2]))
    world = World(schedule)
    world.steps_limit = 200_000
    station = HistoryStation(world)
    change(station)
    for _ in range(rng.choice(mix.processes)):
        settings = LogSettings(
            grouping=GROUPING,
            block_bytes=rng.choice([40, 100, 1000]),
            run_bytes=rng.choice([30, 150, 1000]),
            runs_ahead=rng.choice([0, 2]),
            ahead_bytes=rng.choice([20, 100]),
            cache_bytes=rng.choice([0, 3000, 1 << 20]),
            root_cache_seconds=rng.choice([0.0, 2.0]),
        )
        world.process(settings, rng.choice([0, 0, 1, -700, 4000]))
    config = Config("application/json" if rng.random() < mix.json else "text/plain")
    long = 300 if rng.random() < mix.long_ids else 0
    names = [f"p{n}".ljust(long, "z") for n in range(10 if long else 2)]

    async def main() -> None:
        await station.call(world.processes[0], Creation(config, station.payload(config.content_type)))
        clients = [HistoryClient(station, mix, rng, names, config) for _ in range(rng.choice(mix.clients))]
        lives = [asyncio.create_task(client.live(rng.choice(mix.calls))) for client in clients]
        for life in lives:
            await life
        schedule.faults = Faults()
        schedule.settle(world)
        for _ in range(2):  # the first one merges, and what it merged is old when the second one comes
            await asyncio.sleep(1.5 * DAY_SECONDS)
            await sweep(world.process(LogSettings(grouping=GROUPING)), 100_000, rng.choice([3, 1000]))
        await station.read_back()

    try:
        world.run(main())
        station.verify()
    except AssertionError as error:
        raise Violation(f"{error}\n\n{name} {seed}\n{world.story()}") from error
    return station


def draw_faults(rng: Random) -> Faults:
    """Return what may go wrong in a run."""
    return Faults(
        answer_lost=rng.choice([0, 1, 3]),
        dropped=rng.choice([0, 1, 2]),
        late=rng.choice([0, 1, 2, 4]),
        down=rng.choice([0, 0, 1, 4]),
        crashes=rng.choice([0, 0, 1]),
    )


def main(name: str, first: str, end: str | None = None) -> None:
    """Play one run and tell its story, or many and tell how it went."""
    counts: Counter[str] = Counter()
    for seed in range(int(first), int(end or first) + (end is None)):
        station = play(name, seed)
        ledger = station.history
        counts.update(runs=1, calls=len(ledger.calls), merged=ledger.supersets)
        counts.update(reclaimed=ledger.reclaimed, purged=ledger.purged, forks=len(station.forks))
        if end is None:
            print(station.world.story())
    print(name, dict(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
