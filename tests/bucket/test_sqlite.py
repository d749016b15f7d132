"""SQLite as a store: the suite, and what only a file can do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.objects import Objects
from storage.sqlite import SqliteObjects
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
