"""The SQLite file itself: how it is made, recognised and opened, and what its errors mean. Knows nothing of threads."""

import sqlite3
import time
from pathlib import Path

from storage.objects import OutcomeUnknown, StoreError, StoreRefused, StoreUnavailable

APPLICATION_ID = 0x44533033  # "DS03" in the file's header: tells `file` and us whose it is
LAYOUT = 1  # in the file's user_version; goes up when the table changes
BUSY_SECONDS = 10.0  # how long a commit waits for the other processes that write to the file

# The body stands last: what stands before it is read without following the body's overflow pages.
_TABLE = """
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    cache_control TEXT NOT NULL,
    metadata TEXT NOT NULL,
    body BLOB NOT NULL
)
"""


def open_memory() -> sqlite3.Connection:
    """Return a connection to an empty store that lives as long as the connection."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(_TABLE)
    return connection


def open_file(path: Path, name: str, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Return a connection to the store in the file, made if it is missing; any thread may use it, one at a time.

    Raises StoreRefused for a file that is not a store, StoreUnavailable for one that others hold on to.
    """
    deadline = time.monotonic() + busy_seconds
    while True:
        connection: sqlite3.Connection | None = None
        try:
            # No statement is ever made up at run time, so all of them fit the cache and are compiled once.
            connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            _set_up(connection, name)
        except (sqlite3.Error, StoreError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError):
                raise
            # Processes that make the file at the same moment are told BUSY without being asked to wait.
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            raise in_words(error, name, "open") from error
        return connection


def _set_up(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("BEGIN")  # one look, not three: another process may be making the file just now
    try:
        _recognise(connection, name)
    finally:
        connection.execute("ROLLBACK")
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    if mode != "wal":
        raise StoreRefused(f"{name}: this file system has no shared memory for a write-ahead log (mode stays {mode!r})")
    connection.execute("PRAGMA synchronous = full")
    # Where a plain fsync leaves bytes in the drive's cache (macOS); elsewhere these do nothing.
    connection.execute("PRAGMA fullfsync = on")
    connection.execute("PRAGMA checkpoint_fullfsync = on")
    connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
    connection.execute("BEGIN IMMEDIATE")  # writes nothing by itself, but fails where nothing can be written
    try:
        if not _recognise(connection, name):
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _recognise(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether the file is a store, False for an empty one. Raises StoreRefused where it is something else."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner == 0 and layout == 0 and tables == 0:
        return False
    if owner != APPLICATION_ID:
        raise StoreRefused(f"{name}: the file is a database of another program; name a file that does not exist yet")
    if layout != LAYOUT:
        raise StoreRefused(
            f"{name}: the file has layout {layout}, and this version of the server knows layout {LAYOUT}"
        )
    return True


def in_words(error: sqlite3.Error, name: str, doing: str, *, committing: bool = False) -> StoreError:
    """Return what an error of SQLite means to whoever asked for `doing`, such as `put of root/a`.

    `committing`: the error came from a commit, so that bytes may have reached the log before it.
    """
    where = f"{name}: {doing}"
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(f"{where}: another process keeps the file locked")
        case sqlite3.SQLITE_FULL:
            return StoreUnavailable(f"{where}: the disk is full")
        case sqlite3.SQLITE_NOTADB:
            return StoreRefused(f"{where}: the file is not an SQLite database; name a file that does not exist yet")
        case sqlite3.SQLITE_CORRUPT:
            return StoreRefused(f"{where}: the file is damaged ({error}); restore it from a copy")
        case sqlite3.SQLITE_CANTOPEN:
            return StoreRefused(
                f"{where}: the file cannot be opened or made; see that its folder exists and is writable"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreRefused(f"{where}: the file or its folder is read-only for this user")
        case sqlite3.SQLITE_TOOBIG:
            return StoreRefused(f"{where}: the object is larger than SQLite can hold")
        case _ if committing:
            # A failed sync: the commit's frames may be in the log file, and count if the machine stops right now.
            return OutcomeUnknown(f"{where}: {error}")
        case _:
            return StoreUnavailable(f"{where}: {error}")


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code, 0 where the error is Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
