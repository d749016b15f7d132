"""Clean up a bucket, one bounded pass at a time: any number of sweepers at once, on any machine, or none for months.

A pass does what is due first, then goes on where the last one ended: roots (creations nobody finishes, streams whose
time is over, deletions nobody finished), chunks (see reclaim.py), markers of forks that are gone, what is left of dead
generations elsewhere. Nothing that a pass knows is needed by another but for the place at which it ended.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from storage.bucket import Bucket, Versioned, reading
from storage.cache import ChunkCache
from storage.clock import Chance, Clock
from storage.core import keys
from storage.core.chunk import Kind
from storage.core.lifetime import expiry_ms
from storage.core.marker import DamagedMarker, decode_marker
from storage.core.root import Root, State
from storage.core.sweeping import (
    Cursor,
    DamagedCursor,
    Sweeping,
    decode_cursor,
    encode_cursor,
    is_dead,
    is_marker_void,
)
from storage.errors import DamageError, LogError
from storage.objects import Always, Entry, Objects, StoreError
from storage.paced import Paced
from storage.reclaim import Generation
from storage.settings import LogSettings
from storage.streams import Stream
from storage.tail import Tails

CURSOR_KEY = "sweep/cursor"
STEPS = ("roots", "chunks", "markers", "touches", "tables")


class Swept(msgspec.Struct, frozen=True):
    """What one pass came to."""

    done: dict[str, int]  # how often what was done, or would have been
    failed: list[str]
    requests: int
    finished: bool  # the cycle has come to its end; nothing is to be done before the next one is due


class Sweeper:
    """Makes passes over one store."""

    def __init__(
        self,
        objects: Objects,
        settings: LogSettings | None = None,
        sweeping: Sweeping | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        *,
        due: Callable[[], Awaitable[None]] | None = None,
        tell: Callable[[str], None] | None = None,
        dry: bool = False,
    ) -> None:
        """`due`: looks after work that is due. `tell`: hears of everything that is done. `dry`: nothing is."""
        self._sweeping = sweeping or Sweeping()
        self._clock = clock or Clock()
        self._chance = chance or Chance()
        self._paced = Paced(objects, self._clock, self._sweeping.requests_per_second)
        self._bucket = Bucket(self._paced, settings or LogSettings(), self._clock, self._chance)
        self._tails = Tails(self._bucket, ChunkCache(0))
        self._due = due
        self._tell = tell or (lambda text: None)
        self._dry = dry
        self._done: Counter[str] = Counter()
        self._failed: list[str] = []
        self._spent_at = 0
        self._ends_at = float("inf")
        self._behind_ms = 0  # added to this machine's time wherever the age of an object counts

    async def sweep(self) -> Swept:
        """Make one pass. Raises UnavailableError where not even the cursor can be read."""
        self._done.clear()
        self._failed.clear()
        began = self._paced.requests
        self._spent_at = began + self._sweeping.requests
        self._ends_at = self._clock.steady() + (self._sweeping.seconds or float("inf"))
        if self._due is not None and not self._dry:
            try:
                await self._due()
            except LogError as error:
                self._fail("work that is due", error)
        cursor = await self._begin()
        finished = cursor is None
        if cursor is not None:
            await self._compare_clocks(cursor)
            for step in STEPS[STEPS.index(cursor.step) :]:
                cursor = await self._walk(cursor if cursor.step == step else self._at(cursor, step))
                if self._is_spent():
                    break
            else:
                cursor, finished = self._at(cursor, ""), True
            await self._keep(cursor)
        return Swept(dict(self._done), list(self._failed), self._paced.requests - began, finished)

    def _is_spent(self) -> bool:
        return self._paced.requests >= self._spent_at or self._clock.steady() >= self._ends_at

    async def _do(self, what: str, act: Callable[[], Awaitable[object]]) -> bool:
        """Do something and count it by its first word; in a dry run say it, and return False."""
        self._tell(what)
        self._done[what.split()[0]] += 1
        if not self._dry:
            await act()
        return not self._dry

    def _fail(self, what: str, error: Exception) -> None:
        """Go on without what failed: another pass will come to it again."""
        self._failed.append(f"{what}: {error}")
        self._tell(f"failed: {what}: {error}")

    # -- the cursor

    async def _begin(self) -> Cursor | None:
        """Return where to go on; None if the whole bucket was looked at not long ago."""
        now = self._clock.now_ms()
        found = await reading(self._paced.get(CURSOR_KEY))
        try:
            cursor = Cursor() if found is None else decode_cursor(found.body)
        except DamagedCursor:
            cursor = Cursor()
        if cursor.step in STEPS:
            return cursor
        if now - cursor.cycle_began_ms < self._sweeping.cycle_seconds * 1000 and not self._dry:
            return None
        return Cursor(step=STEPS[0], cycle_began_ms=now)

    async def _compare_clocks(self, cursor: Cursor) -> None:
        """Learn how far this machine's clock is ahead of the store's, by whose clock objects are young or old."""
        before = self._clock.now_ms()
        await self._keep(cursor)
        head = await reading(self._paced.head(CURSOR_KEY))
        if head is not None:
            self._behind_ms = min(0, head.modified_ms - before)

    @staticmethod
    def _at(cursor: Cursor, step: str, after: str = "", position: int | None = None) -> Cursor:
        return msgspec.structs.replace(cursor, step=step, after=after, position=position)

    async def _keep(self, cursor: Cursor) -> None:
        if self._dry:
            return
        body = encode_cursor(msgspec.structs.replace(cursor, write_id=self._chance.new_id()))
        try:
            await self._paced.put(CURSOR_KEY, body, Always(), content_type="application/json")
        except StoreError as error:
            self._fail("the place where the pass ended", error)

    # -- the steps

    async def _walk(self, cursor: Cursor) -> Cursor:
        """Take a step's objects in key order until there are no more or the pass has had its share."""
        prefix, look = {
            "roots": ("root/", self._look_at_root),
            "chunks": ("chunk/", self._look_at_generation),
            "markers": ("fork/", self._look_at_marker),
            "touches": ("touch/", self._look_at_leftover),
            "tables": ("state/", self._look_at_leftover),
        }[cursor.step]
        names = self._sweeping.names
        while not self._is_spent():
            entries = await reading(self._paced.list(prefix, after=cursor.after, limit=names))
            for entry in entries:
                if entry.key <= cursor.after:
                    continue  # a generation is taken as a whole
                try:
                    cursor = await look(cursor, entry, entries)
                except (LogError, StoreError) as error:
                    self._fail(entry.key, error)
                    cursor = self._at(cursor, cursor.step, _behind(entry.key))
                if self._is_spent() or cursor.position is not None:
                    return cursor
            if len(entries) < names:
                break
        return cursor

    def _aged_before(self, seconds: float) -> int:
        # A store may keep whole seconds, and so say that something is older than it is.
        return self._clock.now_ms() + self._behind_ms - int(seconds * 1000) - 1000

    async def _look_at_root(self, cursor: Cursor, entry: Entry, page: list[Entry]) -> Cursor:
        path = keys.decode_path(entry.key.removeprefix("root/"))
        found = await self._bucket.read_root(entry.key)
        if found is not None:
            root = found.root
            # What was written since it was listed is young.
            old = found.etag == entry.etag and entry.modified_ms < self._aged_before(self._sweeping.creating_seconds)
            if root.state is State.CREATING and old:
                await self._do(f"fence the creation of /{path} that nobody finishes", lambda: self._fence(path, found))
            elif root.state is State.SOFT:
                await self._finish_soft(path, root)
            elif root.state is State.LIVE and root.config.ttl_seconds is None and root.config.expires_at_ms is None:
                pass
            elif root.state is State.LIVE:
                await self._expire(path, root)
        return self._at(cursor, "roots", entry.key)

    async def _fence(self, path: str, found: Versioned) -> None:
        """Turn an unfinished creation into a deleted one: whoever made it and still lives has lost it."""
        write_id = self._chance.new_id()
        root = msgspec.structs.replace(found.root, state=State.DELETED, write_id=write_id)
        present = (await self._bucket.swap(keys.root_key(path), found, root)).present
        if present is not None and present.root.write_id == write_id:
            await self._tails.release(path, root)

    async def _finish_soft(self, path: str, root: Root) -> None:
        """Delete what was kept for forks that are gone."""
        if not await reading(self._paced.list(keys.markers_of(path, root.generation), limit=1)):
            await self._do(
                f"finish the deletion of /{path}, which no fork needs any more",
                lambda: self._tails.finish(path, root.generation),
            )

    async def _expire(self, path: str, root: Root) -> None:
        """End a stream whose time is over, and one that has ended without its root saying so."""
        now = self._clock.now_ms()
        expiry = expiry_ms(root.config, root.created_ms)
        if expiry is None or now < expiry:
            return
        stream = Stream(path)
        await self._tails.load(stream)
        if stream.root is None or stream.tail is None or stream.root.state is not State.LIVE:
            return
        expiry = expiry_ms(stream.root.config, self._tails.accessed_ms(stream, stream.root, stream.tail))
        if stream.tail.deleted or (expiry is not None and expiry <= now):
            await self._do(f"expire /{path}", lambda: self._tails.live(stream))

    async def _look_at_generation(self, cursor: Cursor, entry: Entry, page: list[Entry]) -> Cursor:
        """Look at a generation, of which `entry` is the newest chunk."""
        number, _ = keys.parse_chunk_key(entry.key)
        path = keys.decode_path(entry.key.split("/")[1])
        found = await self._bucket.read_root(keys.root_key(path))
        if found is None or number > found.root.generation:
            raise DamageError("its generation is one that no root has named")
        aged = self._aged_before(self._sweeping.grace_seconds)
        generation = Generation(self._bucket, self._sweeping, self._do, path, found.root, number)
        if is_dead(found.root, number):
            if number < found.root.generation or await self._is_old(found, aged):
                await generation.purge(aged)
        elif found.root.state is not State.CREATING:
            if entry.size == 0 and found.root.state is State.LIVE:
                await self._finish_tombstoned(path, found.root, entry)
            retained = found.root.retained
            if retained <= found.root.own.low or not await self._is_old(found, aged) or await generation.has_forks():
                retained = 0
            here = [each for each in page if each.key.startswith(generation.prefix)]
            # One that a page of the listing holds as a whole is not listed again.
            whole = here and (len(page) < self._sweeping.names or here[-1] is not page[-1]) and here[0] is entry
            if whole and cursor.position is None:
                await generation.tend_listed(here, retained, aged)
                return self._at(cursor, "chunks", _behind(entry.key))
            position = await generation.tend(cursor.position or 0, retained, aged, self._is_spent)
            if position is not None:
                return self._at(cursor, "chunks", cursor.after, position)
        return self._at(cursor, "chunks", _behind(entry.key))

    async def _is_old(self, found: Versioned, aged_before_ms: int) -> bool:
        """Say whether a root has said what it says for long enough."""
        head = await reading(self._paced.head(keys.root_key(found.root.own.path)))
        return head is not None and head.etag == found.etag and head.modified_ms < aged_before_ms

    async def _finish_tombstoned(self, path: str, root: Root, newest: Entry) -> None:
        head = await reading(self._paced.head(newest.key))
        if head is not None and self._tails.decode(newest.key, head).kind is Kind.TOMBSTONE:
            await self._do(
                f"finish the deletion of /{path}, which has a tombstone",
                lambda: self._tails.finish(path, root.generation),
            )

    async def _look_at_marker(self, cursor: Cursor, entry: Entry, page: list[Entry]) -> Cursor:
        """Remove a marker whose fork is gone for good, and see what becomes of the source."""
        _, segment, generation, _, _ = entry.key.split("/")
        found = await reading(self._paced.get(entry.key))
        if found is not None:
            try:
                marker = decode_marker(found.body)
            except DamagedMarker as error:
                raise DamageError(str(error)) from error
            fork = await self._bucket.read_root(keys.root_key(marker.path))
            # One that is being created is fenced first, as a root; until then the marker stays.
            if fork is not None and is_marker_void(fork.root, marker.generation):
                source = keys.decode_path(segment)
                await self._do(
                    f"release /{source} from /{marker.path}, a fork that is gone",
                    lambda: self._release(entry.key, source, int(generation)),
                )
        return self._at(cursor, "markers", entry.key)

    async def _release(self, marker: str, source: str, generation: int) -> None:
        await self._bucket.remove(marker)
        found = await self._bucket.read_root(keys.root_key(source))
        if found is not None and found.root.generation == generation and found.root.state is State.SOFT:
            await self._tails.finish(source, generation)

    async def _look_at_leftover(self, cursor: Cursor, entry: Entry, page: list[Entry]) -> Cursor:
        """Delete a touch or a producer table that came, or stayed, after its generation was gone."""
        kind, segment, name = entry.key.split("/")[:3]
        path = keys.decode_path(segment)
        number = int(name) if kind == "touch" else keys.parse_chunk_key(f"{kind}/{segment}/{name}/0")[0]
        found = await self._bucket.read_root(keys.root_key(path))
        aged = self._aged_before(self._sweeping.grace_seconds)
        if found is not None and is_dead(found.root, number) and entry.modified_ms < aged:
            left = await reading(self._paced.list(keys.chunks_of_generation(path, number), limit=1))
            if not left:  # else it goes together with the chunks
                generation = Generation(self._bucket, self._sweeping, self._do, path, found.root, number)
                await generation.purge(aged)
        return self._at(cursor, cursor.step, _behind(entry.key))


def _behind(key: str) -> str:
    """Return what to go on after when an object was dealt with: chunks and tables are, a generation at a time."""
    return key.rsplit("/", key.count("/") - 2)[0] + "/~" if key.startswith(("chunk/", "state/")) else key
