"""SQLite as a store: the suite, and what only a file can do."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import sqlite_file
from storage.objects import Always, IfAbsent, Objects, OutcomeUnknown, StoreError, StoreRefused, StoreUnavailable
from storage.sqlite import SqliteObjects
from storage.sqlite_lanes import Job
from tests.bucket.suite import ObjectsSuite


class TestFile(ObjectsSuite):
    @pytest.fixture
    async def objects(self, sqlite_path: Path) -> AsyncIterator[Objects]:
        store = await SqliteObjects.open(sqlite_path)
        yield store
        await store.aclose()


class TestMemory(ObjectsSuite):
    @pytest.fixture
    async def objects(self) -> AsyncIterator[Objects]:
        store = await SqliteObjects.open_memory()
        yield store
        await store.aclose()


@pytest.fixture
async def store(sqlite_path: Path) -> AsyncIterator[SqliteObjects]:
    store = await SqliteObjects.open(sqlite_path)
    yield store
    await store.aclose()


async def test_what_was_put_is_there_when_the_file_is_opened_again(sqlite_path: Path) -> None:
    store = await SqliteObjects.open(sqlite_path)
    etag = await store.put("a", b"body", IfAbsent(), metadata={"x": "1"})
    await store.aclose()
    store = await SqliteObjects.open(sqlite_path)
    head = await store.head("a")
    assert head is not None
    assert (head.etag, head.metadata) == (etag, {"x": "1"})
    await store.aclose()


async def test_what_was_put_is_there_for_whoever_has_the_file_open(store: SqliteObjects, sqlite_path: Path) -> None:
    other = await SqliteObjects.open(sqlite_path)
    for turn in range(20):
        await store.put("a", b"%d" % turn, Always())
        found = await other.get("a")
        assert found is not None
        assert found.body == b"%d" % turn
    await other.aclose()


async def test_closing_leaves_one_file(sqlite_path: Path) -> None:
    store = await SqliteObjects.open(sqlite_path)
    await store.put("a", b"", Always())
    await store.aclose()
    await store.aclose()
    assert os.listdir(sqlite_path.parent) == [sqlite_path.name]


async def test_what_was_submitted_before_closing_is_done(sqlite_path: Path) -> None:
    store = await SqliteObjects.open(sqlite_path)
    puts = [asyncio.ensure_future(store.put(f"{number:03}", b"", IfAbsent())) for number in range(200)]
    await asyncio.sleep(0)
    await store.aclose()
    assert None not in await asyncio.gather(*puts)


async def test_a_closed_store_says_so(store: SqliteObjects) -> None:
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="put of 'a': the store was closed"):
        await store.put("a", b"", Always())


async def test_a_caller_that_gave_up_does_not_disturb_the_others(store: SqliteObjects) -> None:
    puts = [asyncio.ensure_future(store.put(f"{number}", b"", IfAbsent())) for number in range(10)]
    await asyncio.sleep(0)
    puts[3].cancel()
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert [isinstance(outcome, str) for outcome in outcomes] == [number != 3 for number in range(10)]


async def test_a_put_that_sqlite_cannot_take_does_not_disturb_the_others(store: SqliteObjects) -> None:
    outcomes = await asyncio.gather(
        *(store.put(f"a{number}", b"", IfAbsent()) for number in range(5)),
        store.put("\ud800", b"", IfAbsent()),
        *(store.put(f"b{number}", b"", IfAbsent()) for number in range(5)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[5], UnicodeEncodeError)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 10


async def test_creates_that_arrive_together_for_one_key_are_judged_in_order(store: SqliteObjects) -> None:
    keys = ["a", "b", "a", "c", "b", "a"]
    outcomes = await asyncio.gather(*(store.put(key, b"", IfAbsent()) for key in keys))
    assert [outcome is not None for outcome in outcomes] == [True, True, False, True, False, False]


async def test_the_time_of_a_write_comes_from_the_clock_that_was_given() -> None:
    store = await SqliteObjects.open_memory(now_ms=lambda: 1_700_000_000_123)
    await store.put("a", b"", Always())
    head = await store.head("a")
    assert head is not None
    assert head.modified_ms == 1_700_000_000_123
    await store.aclose()


async def test_every_commit_is_synced(store: SqliteObjects, sqlite_path: Path) -> None:
    connection = sqlite_file.open_file(sqlite_path, "store")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


async def test_a_file_that_is_something_else_is_refused_and_left_alone(sqlite_path: Path) -> None:
    content = b"not a database, but long enough to look at" * 100
    sqlite_path.write_bytes(content)
    with pytest.raises(StoreRefused, match=f"^sqlite:{sqlite_path}: open: the file is not an SQLite database"):
        await SqliteObjects.open(sqlite_path)
    assert sqlite_path.read_bytes() == content


async def test_another_programs_database_is_refused_and_left_alone(sqlite_path: Path) -> None:
    other = sqlite3.connect(sqlite_path)
    other.execute("CREATE TABLE objects (theirs)")
    other.commit()
    other.close()
    content = sqlite_path.read_bytes()
    with pytest.raises(StoreRefused, match="a database of another program"):
        await SqliteObjects.open(sqlite_path)
    assert sqlite_path.read_bytes() == content


async def test_a_layout_of_the_future_is_refused(sqlite_path: Path) -> None:
    await (await SqliteObjects.open(sqlite_path)).aclose()
    future = sqlite3.connect(sqlite_path)
    future.execute("PRAGMA user_version = 2")
    future.close()
    with pytest.raises(StoreRefused, match="the file has layout 2, and this version of the server knows layout 1"):
        await SqliteObjects.open(sqlite_path)


async def test_a_damaged_file_is_refused(sqlite_path: Path) -> None:
    store = await SqliteObjects.open(sqlite_path)
    for number in range(50):
        await store.put(f"{number}", b"x" * 1000, Always())
    await store.aclose()
    with open(sqlite_path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 8)
    store = await SqliteObjects.open(sqlite_path)
    with pytest.raises(StoreRefused, match="the file is damaged"):
        await store.put("new", b"", IfAbsent())
    await store.aclose()


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="cannot be opened or made"):
        await SqliteObjects.open(tmp_path)


async def test_a_file_that_another_holds_is_unavailable_and_nothing_is_written(
    store: SqliteObjects, sqlite_path: Path
) -> None:
    impatient = await SqliteObjects.open(sqlite_path, busy_seconds=0.05)
    holder = sqlite3.connect(sqlite_path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="put of 'a': another process keeps the file locked"):
        await impatient.put("a", b"", IfAbsent())
    outcomes = await asyncio.gather(
        *(impatient.put(f"{number}", b"", Always()) for number in range(3)), return_exceptions=True
    )
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert await impatient.list("") == []  # a reader does not wait for whoever writes
    holder.execute("ROLLBACK")
    assert await impatient.put("a", b"", IfAbsent()) is not None
    holder.close()
    await impatient.aclose()


async def test_many_that_make_the_file_at_once_all_open_it(sqlite_path: Path) -> None:
    stores = await asyncio.gather(*(SqliteObjects.open(sqlite_path) for _ in range(8)))
    etags = await asyncio.gather(*(store.put("a", b"", IfAbsent()) for store in stores))
    assert sum(etag is not None for etag in etags) == 1
    for store in stores:
        await store.aclose()


async def test_a_full_disk_is_unavailable_and_undoes_the_whole_batch(sqlite_path: Path) -> None:
    store = await SqliteObjects.open(sqlite_path)
    await store.put("kept", b"1", IfAbsent())
    await run_in_the_writer(store, "PRAGMA max_page_count = 8")
    with pytest.raises(StoreUnavailable, match="put of 'big': the disk is full"):
        await store.put("big", b"x" * 1_000_000, IfAbsent())
    outcomes = await asyncio.gather(
        store.put("small", b"2", Always()), store.put("big", b"x" * 1_000_000, Always()), return_exceptions=True
    )
    assert isinstance(outcomes[1], StoreUnavailable)
    listed = [entry.key for entry in await store.list("")]
    assert listed == (["kept", "small"] if isinstance(outcomes[0], str) else ["kept"])
    await store.aclose()


async def run_in_the_writer(store: SqliteObjects, sql: str) -> None:
    job = Job("test", "", sql, ())
    store._writes.submit(job)
    await job.future
    assert job.failure is None


def error_with(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "committing", "expected"),
    [
        (sqlite3.SQLITE_BUSY, True, StoreUnavailable),
        (sqlite3.SQLITE_FULL, True, StoreUnavailable),
        (sqlite3.SQLITE_READONLY, True, StoreRefused),
        (sqlite3.SQLITE_CANTOPEN, False, StoreRefused),
        (sqlite3.SQLITE_TOOBIG, False, StoreRefused),
        (sqlite3.SQLITE_IOERR, False, StoreUnavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, True, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_WRITE, False, StoreUnavailable),
    ],
)
def test_only_an_error_of_a_commit_leaves_the_outcome_open(
    code: int, committing: bool, expected: type[StoreError]
) -> None:
    assert type(sqlite_file.in_words(error_with(code), "store", "put", committing=committing)) is expected
