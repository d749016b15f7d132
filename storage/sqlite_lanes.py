"""Statements on their way through SQLite: batches, transactions, threads. Knows nothing of what a statement means.

Each statement costs hand-overs of the interpreter lock, and under load those are what is dear here, not SQLite. Hence
one statement for a whole batch of creates, and no BEGIN and COMMIT around a lone write.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import md5
from queue import Empty, SimpleQueue
from typing import Protocol

import msgspec

from storage.sqlite_file import in_words

MOST_AT_ONCE = 64  # jobs in one batch: bounds how long the first of a burst waits, and how many statements there are

_INSERT = "INSERT INTO objects (key, etag, modified_ms, content_type, cache_control, metadata, body) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?)"
CREATE = f"{_INSERT}{_ROW} ON CONFLICT DO NOTHING"
_CREATE_ALL = [f"{_INSERT}{', '.join([_ROW] * rows)}" for rows in range(MOST_AT_ONCE + 1)]  # or none of them
REPLACE = (
    f"{_INSERT}{_ROW} ON CONFLICT (key) DO UPDATE SET etag = excluded.etag, modified_ms = excluded.modified_ms,"
    " content_type = excluded.content_type, cache_control = excluded.cache_control, metadata = excluded.metadata,"
    " body = excluded.body"
)
EXCHANGE = (
    "UPDATE objects SET etag = ?2, modified_ms = ?3, content_type = ?4, cache_control = ?5, metadata = ?6, body = ?7"
    " WHERE key = ?1 AND etag = ?8"
)
DELETE = "DELETE FROM objects WHERE key = ?"


Value = str | int | bytes
Row = tuple[str, int, int, str, str, bytes]


class Put(msgspec.Struct, frozen=True):
    """What a put's parameters are made of, in the thread that writes: hashing a large body takes a while."""

    body: bytes
    content_type: str
    cache_control: str
    metadata: str
    match: str | None


class Job:
    """One statement, who waits for it, and what came of it."""

    __slots__ = ("etag", "failure", "future", "key", "parameters", "put", "row", "sql", "verb", "written")

    def __init__(self, verb: str, key: str, sql: str, parameters: tuple[Value, ...], put: Put | None = None):
        self.verb = verb
        self.key = key
        self.sql = sql
        self.parameters = parameters
        self.put = put
        self.future: asyncio.Future[None]
        self.row: Row | None = None  # what a read found
        self.etag = ""  # of a put's body
        self.written = False  # whether a write changed anything
        self.failure: Exception | None = None

    @property
    def doing(self) -> str:
        """What to call it in a message."""
        return f"{self.verb} of {self.key!r}"

    def stamp(self, now_ms: int) -> None:
        """Make a put's parameters."""
        if self.put is not None:
            put = self.put
            self.etag = f'"{md5(put.body, usedforsecurity=False).hexdigest()}"'
            values = (self.key, self.etag, now_ms, put.content_type, put.cache_control, put.metadata, put.body)
            self.parameters = values if put.match is None else (*values, put.match)


Run = Callable[[sqlite3.Connection, list[Job]], None]


class Lane(Protocol):
    """Where jobs run, in the order of their coming."""

    def submit(self, job: Job) -> None:
        """Give the job a future and let it run."""
        ...

    async def aclose(self) -> None:
        """Finish what was submitted, then let go of the connections."""
        ...


class Threads:
    """Threads that share a queue of jobs; each has a connection of its own."""

    def __init__(self, name: str, connections: Sequence[sqlite3.Connection], run: Run, most_at_once: int):
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._run = run
        self._most_at_once = most_at_once
        self._loop = asyncio.get_running_loop()
        # Daemons: a store that nobody closed must not keep a process alive, and what is not committed was not promised.
        self._threads = [
            threading.Thread(target=self._work, args=(connection,), name=name, daemon=True)
            for connection in connections
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        job.future = self._loop.create_future()
        self._jobs.put(job)

    def _work(self, connection: sqlite3.Connection) -> None:
        jobs = self._jobs
        while (job := jobs.get()) is not None:
            batch = [job]
            with suppress(Empty):
                while len(batch) < self._most_at_once:
                    following = jobs.get_nowait()
                    if following is None:
                        jobs.put(None)
                        break
                    batch.append(following)
            self._run(connection, batch)
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(_answer, batch)
        connection.close()

    async def aclose(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)


class Inline:
    """The loop itself, for a store in memory: a job runs in a turn of its own, so that runs repeat exactly."""

    def __init__(self, connection: sqlite3.Connection, run: Run):
        self._connection = connection
        self._run = run
        self._loop = asyncio.get_running_loop()

    def submit(self, job: Job) -> None:
        job.future = self._loop.create_future()
        self._loop.call_soon(self._work, job)

    def _work(self, job: Job) -> None:
        self._run(self._connection, [job])
        _answer([job])

    async def aclose(self) -> None:
        self._connection.close()


def _answer(batch: list[Job]) -> None:
    for job in batch:
        if job.future.done():  # cancelled by whoever waited
            continue
        if job.failure is None:
            job.future.set_result(None)
        else:
            job.future.set_exception(job.failure)


def read_each(name: str, connection: sqlite3.Connection, batch: list[Job]) -> None:
    """Run each statement for its one row; `name` is the store's, for messages."""
    for job in batch:
        try:
            job.row = connection.execute(job.sql, job.parameters).fetchone()
        except Exception as error:  # whatever it is, it belongs to whoever waits
            job.failure = _told(error, name, job)


def write_together(name: str, now_ms: Callable[[], int], connection: sqlite3.Connection, batch: list[Job]) -> None:
    """Run the statements in one transaction, each judged by its own condition after those before it."""
    at_ms = now_ms()
    for job in batch:
        job.stamp(at_ms)
    try:
        committing = True  # a lone statement is a transaction of its own
        if len(batch) == 1:
            [job] = batch
            job.written = connection.execute(job.sql, job.parameters).rowcount > 0
        elif not _create_all(connection, batch):
            committing = False
            connection.execute("BEGIN IMMEDIATE")
            _write_each(name, connection, batch)
            committing = True
            connection.execute("COMMIT")
    except Exception as error:  # whatever it is, it belongs to those who wait
        with suppress(sqlite3.Error):
            connection.rollback()
        for job in batch:
            job.failure = job.failure or _told(error, name, job, committing=committing)


def _write_each(name: str, connection: sqlite3.Connection, batch: list[Job]) -> None:
    for job in batch:
        try:
            job.written = connection.execute(job.sql, job.parameters).rowcount > 0
        except Exception as error:
            job.failure = _told(error, name, job)
            if not connection.in_transaction:  # SQLite undid the others' work too: a full disk, a failing one
                raise


def _told(error: Exception, name: str, job: Job, *, committing: bool = False) -> Exception:
    if isinstance(error, sqlite3.Error):
        return in_words(error, name, job.doing, committing=committing)
    return error


def _create_all(connection: sqlite3.Connection, batch: list[Job]) -> bool:
    """Carry out a batch of creates by one statement; False, and nothing written, if one would lose or is no create."""
    if any(job.sql is not CREATE for job in batch):
        return False
    try:
        connection.execute(_CREATE_ALL[len(batch)], [value for job in batch for value in job.parameters])
    except sqlite3.OperationalError:  # the disk, a lock: it would be no better one by one
        raise
    except Exception:  # a key that exists, or a parameter that SQLite cannot take: whose it is shows one by one
        return False
    for job in batch:
        job.written = True
    return True
