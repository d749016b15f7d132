"""What a process remembers of each stream. Every fact here is a cache: the bucket is the truth."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from storage.core import keys
from storage.core.admission import Append, Judged, Tail
from storage.core.root import Root, media_type


class Batched:
    """Run a coroutine function so that callers who come while it runs share the next run.

    A run that began before a caller came proves nothing to that caller; one that begins afterwards does.
    """

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return when a run that began after this call has ended; raise what it raised."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._running))
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def _after(self, running: "asyncio.Task[None] | None") -> None:
        if running is not None and not running.done():
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        await self._run()


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # everybody who waited has it; nobody waiting is no reason for a warning


class NotFound(msgspec.Struct, frozen=True):
    """There is no such stream."""


class Gone(msgspec.Struct, frozen=True):
    """The stream is deleted and kept for its forks. Section 4.2."""


class Waiting:
    """An append on its way to the next chunk."""

    __slots__ = ("append", "future")

    def __init__(self, append: Append, future: "asyncio.Future[Judged | NotFound | Gone]") -> None:
        self.append = append
        self.future = future


class Stream:
    """One path: its root, its tail, who waits for it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root_key = keys.root_key(path)
        self.root: Root | None = None
        self.root_at = float("-inf")  # steady seconds at which the read of the root began
        self.tail: Tail | None = None
        self.tail_at = float("-inf")  # steady seconds at which the tail was last known to be the end
        self.is_end = False  # it was seen to be; one that was taken over from another writer was not
        self.touched_ms = 0  # the last touch on record
        self.chunks = ""  # prefix of the generation's chunk keys
        self.media_type = ""
        self.queue: list[Waiting] = []
        self.writer: asyncio.Task[None] | None = None
        self.readers: dict[asyncio.Future[None], None] = {}  # in the order of their coming
        self.watcher: asyncio.Task[None] | None = None
        self.load: Batched | None = None
        self.confirm: Batched | None = None
        self.touch: Batched | None = None

    def set_root(self, root: Root | None, at: float) -> None:
        """Take over a root that was read (or written) at `at`; what belonged to another generation is forgotten."""
        if root is None or self.root is None or root.generation != self.root.generation:
            self.tail = None
            self.touched_ms = 0
            if root is not None:
                self.chunks = keys.chunks_of_generation(self.path, root.generation)
                self.media_type = media_type(root.config.content_type)
        self.root = root
        self.root_at = at

    def set_tail(self, tail: Tail, at: float, *, is_end: bool) -> None:
        """Take over a tail of the root's generation. `is_end`: at `at` or later nothing followed it."""
        if self.root is None or self.root.generation != tail.generation:
            return  # the stream was recreated, or forgotten, meanwhile
        if self.tail is not None and (self.tail.deleted or (tail.key < self.tail.key and not tail.deleted)):
            return  # somebody else in this process went further meanwhile
        self.tail = tail
        self.tail_at = at
        self.is_end = is_end

    def wake(self) -> None:
        """Let the readers look again."""
        for reader in self.readers:
            if not reader.done():
                reader.set_result(None)
        self.readers.clear()

    def forget(self) -> None:
        """Know nothing any more, so that the next one who asks reads the root."""
        self.set_root(None, float("-inf"))

    @property
    def busy(self) -> bool:
        """Somebody in this process works with it or waits for it."""
        return bool(self.queue or self.writer or self.readers or self.watcher)


class Streams:
    """The streams a process knows, the least recently used forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def __getitem__(self, path: str) -> Stream:
        stream = self._streams.get(path)
        if stream is None:
            stream = self._streams[path] = Stream(path)
            self._shrink()
        else:
            self._streams.move_to_end(path)
        return stream

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._streams.values()))

    def _shrink(self) -> None:
        for _ in range(len(self._streams) - self._limit):
            path, stream = self._streams.popitem(last=False)
            if stream.busy:
                self._streams[path] = stream  # young again: forgetting it would split its group in two
