"""Objects in one SQLite file, or in memory: the embedded default. Knows objects and SQL; nothing of streams.

Durable: a write-ahead log, synced at every commit (`synchronous=FULL`): an ETag in hand means bytes on the disk.
Shared: several processes of one machine may use one file; SQLite's own locks are the arbiter of every condition.
Never in the loop's way: one thread owns the connection that writes, others read, so a read does not wait for a sync.
Fast: whatever arrived while a sync was under way goes into the next transaction, and one call wakes the loop for all.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Self, assert_never

import msgspec

from storage.objects import (
    LIST_LIMIT,
    LONGEST_KEY_BYTES,
    NO_METADATA,
    Always,
    Arriving,
    Condition,
    Entry,
    Head,
    IfAbsent,
    IfMatch,
    KeyRefused,
    Object,
    StoreUnavailable,
)
from storage.sqlite_file import BUSY_SECONDS, open_file, open_memory
from storage.sqlite_lanes import (
    CREATE,
    DELETE,
    EXCHANGE,
    MOST_AT_ONCE,
    REPLACE,
    Inline,
    Job,
    Lane,
    Put,
    Row,
    Threads,
    read_each,
    write_together,
)

_TO_THE_END = 2**31 - 1  # bytes: more than SQLite lets a body have
PART_BYTES = 1024 * 1024  # of what is handed on while it is read: each costs a hand-over between threads
READERS = 2  # a second one, so that a short read need not wait behind a long one

_HEAD = "SELECT etag, length(body), modified_ms, content_type, metadata FROM objects WHERE key = ?"
_GET = "SELECT etag, length(body), modified_ms, content_type, metadata, body FROM objects WHERE key = ?"
_GET_RANGE = (
    # The part of an empty body is NULL to SQLite, and no BLOB.
    "SELECT etag, length(body), modified_ms, content_type, metadata, coalesce(substr(body, ?2, ?3), x'')"
    " FROM objects WHERE key = ?1"
)
# One row for a whole listing: see the note on hand-overs in sqlite_lanes.
_LIST = (
    "SELECT json_group_array(json_array(key, etag, size, modified_ms)) FROM ("
    "SELECT key, etag, length(body) AS size, modified_ms FROM objects"
    " WHERE key >= ?1 AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4)"
)

_encode_metadata = msgspec.json.encode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_decode_listing = msgspec.json.Decoder(list[tuple[str, str, int, int]]).decode


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteObjects:
    """A store in an SQLite file, bound to the loop that it was opened in."""

    def __init__(self, name: str):
        self.name = name
        self._closed = False
        self._writes: Lane
        self._reads: Lane

    @classmethod
    async def open(
        cls, path: Path, *, now_ms: Callable[[], int] = _clock_ms, busy_seconds: float = BUSY_SECONDS
    ) -> Self:
        """Open the file, which is made if it is missing.

        `busy_seconds`: how long a commit waits for other processes that write to the file.
        """
        store = cls(f"sqlite:{path}")
        writer, *readers = await asyncio.to_thread(
            lambda: [open_file(path, store.name, busy_seconds) for _ in range(1 + READERS)]
        )
        write, read = partial(write_together, store.name, now_ms), partial(read_each, store.name)
        store._writes = Threads("sqlite-writer", [writer], write, MOST_AT_ONCE)
        store._reads = Threads("sqlite-reader", readers, read, 1)
        return store

    @classmethod
    async def open_memory(cls, *, now_ms: Callable[[], int] = _clock_ms) -> Self:
        """Open a store that is gone when it is closed."""
        store = cls("memory:")
        connection = open_memory()
        store._writes = Inline(connection, partial(write_together, store.name, now_ms))
        store._reads = Inline(connection, partial(read_each, store.name))
        return store

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        if start == 0 and length is None:
            job = Job("get", key, _GET, (key,))
        else:
            job = Job("get", key, _GET_RANGE, (key, start + 1, _TO_THE_END if length is None else length))
        await self._done(self._reads, job)
        return None if job.row is None else Object(body=job.row[5], head=_head(job.row))

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        found = await self.get(key, start=start, length=PART_BYTES if length is None else min(length, PART_BYTES))
        if found is None:
            return None
        end = found.head.size if length is None else min(found.head.size, start + length)
        return Arriving(found.head, self._parts(key, found, start, end))

    async def _parts(self, key: str, found: Object, at: int, end: int) -> AsyncGenerator[bytes]:
        part: Object | None = found
        while True:
            if part is None or part.head.etag != found.head.etag:
                raise StoreUnavailable(f"{self.name}: get of {key!r}: it was replaced while it was read")
            yield part.body
            at += len(part.body)
            if at >= end:
                return
            part = await self.get(key, start=at, length=min(PART_BYTES, end - at))

    async def head(self, key: str) -> Head | None:
        job = Job("head", key, _HEAD, (key,))
        await self._done(self._reads, job)
        return None if job.row is None else _head(job.row)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition,
        *,
        content_type: str = "application/octet-stream",
        cache_control: str = "",
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> str | None:
        if len(key) > LONGEST_KEY_BYTES:
            raise KeyRefused(f"{self.name}: put of {key!r}: a key may have {LONGEST_KEY_BYTES} bytes at most")
        etag: str | None = None
        match condition:
            case IfAbsent():
                sql = CREATE
            case IfMatch():
                sql, etag = EXCHANGE, condition.etag
            case Always():
                sql = REPLACE
            case _:
                assert_never(condition)
        encoded = _encode_metadata(metadata).decode() if metadata else "{}"
        job = Job("put", key, sql, (), Put(body, content_type, cache_control, encoded, etag))
        await self._done(self._writes, job)
        return job.etag if job.written else None

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        # Keys are ASCII, so the next code point ends the prefix, and one beyond ASCII ends them all.
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\x80"
        job = Job("list", prefix, _LIST, (prefix, after, end, min(limit, LIST_LIMIT)))
        await self._done(self._reads, job)
        return [] if job.row is None else [Entry(*line) for line in _decode_listing(job.row[0])]

    async def delete(self, key: str) -> None:
        await self._done(self._writes, Job("delete", key, DELETE, (key,)))

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._reads.aclose()
            await self._writes.aclose()  # last, so that the last connection to go folds the log into the file

    async def _done(self, lane: Lane, job: Job) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.name}: {job.doing}: the store was closed")
        lane.submit(job)
        await job.future


def _head(row: Row) -> Head:
    etag, size, modified_ms, content_type, metadata = row[:5]
    return Head(etag, size, modified_ms, content_type, _decode_metadata(metadata))
