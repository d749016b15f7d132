"""Conditions hold between processes, not only between the tasks of one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.objects import Always, Objects
from storage.opening import StoreOptions, open_objects
from tests.bucket.racer import ROUNDS
from tests.bucket.races import PROCESSES, race
from tests.bucket.servers import S3Server


class ProcessRaces:
    """A subclass brings `url` and `endpoint_url` of an empty store."""

    @pytest.fixture
    async def objects(self, url: str, endpoint_url: str) -> AsyncIterator[Objects]:
        store = await open_objects(url, StoreOptions(endpoint_url=endpoint_url or None))
        yield store
        await store.aclose()

    async def test_of_many_processes_that_create_one_key_one_wins(
        self, objects: Objects, url: str, endpoint_url: str
    ) -> None:
        winners = await race(url, endpoint_url, "create")
        assert sorted(winners) == [0] * (PROCESSES - 1) + [1]
        found = await objects.get("race/%7Eone")
        assert found is not None
        assert found.body.startswith(f"process-{winners.index(1)} ".encode())


class ProcessCounts(ProcessRaces):
    """For stores whose If-Match is their own: moto's is ours, by handling one request at a time."""

    async def test_no_process_overwrites_what_another_counted(
        self, objects: Objects, url: str, endpoint_url: str
    ) -> None:
        await objects.put("race/counter", b"0", Always())
        await race(url, endpoint_url, "count")
        found = await objects.get("race/counter")
        assert found is not None
        assert int(found.body.split()[0]) == PROCESSES * ROUNDS


class TestSqliteFile(ProcessCounts):
    @pytest.fixture
    def url(self, sqlite_path: Path) -> str:
        return f"sqlite://{sqlite_path}"

    @pytest.fixture
    def endpoint_url(self) -> str:
        return ""


class TestMoto(ProcessRaces):
    @pytest.fixture
    def url(self, moto_bucket: str) -> str:
        return moto_bucket

    @pytest.fixture
    def endpoint_url(self, moto: S3Server) -> str:
        return moto.endpoint_url


class TestMinio(ProcessCounts):
    @pytest.fixture
    def url(self, minio_bucket: str) -> str:
        return minio_bucket

    @pytest.fixture
    def endpoint_url(self, minio: S3Server) -> str:
        return minio.endpoint_url
