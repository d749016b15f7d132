"""Streams on an object store: the whole of what a server needs. Knows nothing of HTTP.

    log = Log(objects)
    await log.create("chat/42", Creation(Config("text/plain")))
    await log.append("chat/42", Append(b"hello", media_type="text/plain"))
    page = await log.read("chat/42", Sentinel.START)

Paths are normalised ones (`keys.normalise_path`). Foreseen answers are values; LogError is for the rest.
"""

import asyncio

import msgspec

from storage.bucket import Bucket
from storage.cache import ChunkCache
from storage.clock import Chance, Clock
from storage.core.admission import Append, Judged, Verdict
from storage.core.keys import PathTooLong
from storage.core.offset import Offset, Sentinel
from storage.creation import Created, Creation, Creator, Description, Differs, Existed
from storage.creation import Outcome as CreationOutcome
from storage.errors import AmbiguousWriteError, ContentionError, UnavailableError
from storage.forks import Fork, ForkInvalid, Forks, SourceGone, SourceNotFound, SourceTypeDiffers
from storage.group import Writer
from storage.listing import Listed, Lister
from storage.objects import Objects
from storage.observer import Observer
from storage.reader import OffsetGone, OffsetInvalid, Page, Reader
from storage.retention import Retained, Retention
from storage.settings import LogSettings
from storage.streams import Gone, NotFound, Streams
from storage.tail import Tails

__all__ = [
    "Append",
    "Created",
    "Creation",
    "CreationOutcome",
    "Deleted",
    "Description",
    "Differs",
    "Existed",
    "Fork",
    "ForkInvalid",
    "Gone",
    "Judged",
    "Listed",
    "Log",
    "LogSettings",
    "NotFound",
    "Offset",
    "OffsetGone",
    "OffsetInvalid",
    "Page",
    "PathTooLong",
    "Retained",
    "Sentinel",
    "SourceGone",
    "SourceNotFound",
    "SourceTypeDiffers",
    "Verdict",
]


class Deleted(msgspec.Struct, frozen=True):
    """The stream was deleted by this call."""


class Log:
    """All streams of one store, as one process sees them. Any number of processes may have one each."""

    def __init__(
        self,
        objects: Objects,
        settings: LogSettings | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.objects = objects
        self.settings = settings or LogSettings()
        cache = ChunkCache(self.settings.cache_bytes)
        bucket = Bucket(objects, self.settings, clock or Clock(), chance or Chance())
        self._tails = Tails(bucket, cache)
        self._streams = Streams(self.settings.cached_streams)
        self._writer = Writer(self._tails, cache)
        self._reader = Reader(self._tails, cache)
        self._retention = Retention(self._tails, bucket, self._reader)
        self._creator = Creator(self._tails, Forks(self._tails, self._streams, self._reader))
        self._lister = Lister(bucket)

    @property
    def observer(self) -> Observer | None:
        """Who hears of every commit, if anybody does."""
        return self._writer.observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._writer.observer = observer

    async def create(self, path: str, creation: Creation) -> CreationOutcome:
        """Create a stream, or find that it is there. Sections 5.1 and 4.2. Raises PathTooLong, LogError."""
        observer = self.observer
        if observer is None or not creation.payload:
            return await self._creator.create(self._streams[path], creation)
        if (ready := observer.before(path)) is not None:
            await ready
        try:
            return await self._creator.create(self._streams[path], creation)
        finally:
            observer.after(path)

    async def append(self, path: str, append: Append) -> Verdict | NotFound | Gone:
        """Append, close, or both at once. Section 5.2. Raises PathTooLong, LogError."""
        judged = await self._writer.append(self._streams[path], append)
        return judged.verdict if isinstance(judged, Judged) else judged

    async def append_located(self, path: str, append: Append) -> Judged | NotFound | Gone:
        """Append as `append` does, and say by which lineage the verdict's position becomes an offset.

        The stream may be gone, or be another one, by the time its caller could ask.
        """
        return await self._writer.append(self._streams[path], append)

    async def head(self, path: str) -> Description | NotFound | Gone:
        """Return what a stream is and where it ends; no access in the sense of a TTL. Section 5.5."""
        stream = self._streams[path]
        for _ in range(self.settings.tries):
            ended = await self._tails.live(stream)
            if ended is not None:
                return ended
            await self._tails.confirm(stream)
            if stream.root is not None and stream.tail is not None and not stream.tail.deleted:
                return Description(stream.root, stream.tail)
        raise ContentionError(f"{path} was deleted and created again faster than it could be read")

    async def delete(self, path: str) -> Deleted | NotFound | Gone:
        """Delete a stream: it ends with a tombstone at its tail, then its root says so. Section 5.4."""
        stream, tails = self._streams[path], self._tails
        write_id = tails.bucket.chance.new_id()
        for attempt in range(self.settings.tries):
            ended = await tails.live(stream)
            if ended is not None:
                return ended
            root = stream.root
            if root is None or stream.tail is None:
                continue
            if await tails.bury(stream, write_id):
                try:
                    await tails.finish(path, root.generation)
                except (UnavailableError, ContentionError) as error:
                    # Of the root nothing may have been written, but the tombstone stands.
                    raise AmbiguousWriteError(f"{path} is deleted, and its root does not say so: {error}") from error
                stream.forget()
                return Deleted()
            if attempt:
                await tails.bucket.pause(attempt)
        raise ContentionError(f"writers of {path} were faster {self.settings.tries} times in a row")

    async def read(
        self, path: str, offset: Offset | Sentinel, *, limit: int | None = None, wait_seconds: float = 0.0
    ) -> Page | NotFound | Gone | OffsetGone | OffsetInvalid:
        """Return what follows an offset, at most about `limit` bytes of it. Sections 5.6 and 5.7.

        At the tail of an open stream, wait up to `wait_seconds` for more.
        """
        return await self._reader.read(self._streams[path], offset, limit or self.settings.page_bytes, wait_seconds)

    async def retain(self, path: str, offset: Offset) -> Retained | NotFound | Gone | OffsetGone | OffsetInvalid:
        """Drop what is before an offset: readers behind it get OffsetGone. An extension. Raises LogError."""
        return await self._retention.retain(self._streams[path], offset)

    async def list_streams(self, prefix: str = "", *, after: str = "", limit: int = 100) -> Listed:
        """Return up to `limit` paths of streams that live and begin with a prefix. An extension.

        In the order of their keys: by bytes, all but letters, digits and `-._~` escaped. Raises PathTooLong, LogError.
        """
        return await self._lister.page(prefix, after, limit)

    async def settle(self) -> None:
        """Wait for what was begun besides the answers, such as merging chunks: before the process is frozen."""
        await self._tails.compactor.settle()

    async def aclose(self) -> None:
        """Finish what is being written and let those who wait go; the store stays open."""
        writers = [stream.writer for stream in self._streams if stream.writer is not None]
        if writers:
            await asyncio.wait(writers)
        watchers = [stream.watcher for stream in self._streams if stream.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        for stream in self._streams:
            stream.wake()
        await asyncio.gather(*watchers, return_exceptions=True)
        await self._reader.aclose()
        await self._tails.compactor.aclose()
