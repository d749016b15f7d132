"""S3 as a store: the suite on moto and on MinIO."""

from collections.abc import AsyncIterator

import pytest

from storage.objects import Objects
from storage.opening import StoreOptions, open_objects
from tests.bucket.servers import S3Server
from tests.bucket.suite import ObjectsSuite


class TestMoto(ObjectsSuite):
    @pytest.fixture
    async def objects(self, moto: S3Server, moto_bucket: str) -> AsyncIterator[Objects]:
        store = await open_objects(moto_bucket, StoreOptions(endpoint_url=moto.endpoint_url))
        yield store
        await store.aclose()


class TestMinio(ObjectsSuite):
    @pytest.fixture
    async def objects(self, minio: S3Server, minio_bucket: str) -> AsyncIterator[Objects]:
        store = await open_objects(f"{minio_bucket}/some/prefix", StoreOptions(endpoint_url=minio.endpoint_url))
        yield store
        await store.aclose()
