"""The boot probe lets good stores pass and names what is wrong with the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from storage.objects import Always, Objects, StoreRefused, StoreUnavailable
from storage.opening import StoreOptions, open_objects
from storage.probe import UnfitStore, probe
from storage.sqlite import SqliteObjects
from tests.bucket import stand_ins
from tests.bucket.faulty import Fault, FaultyObjects
from tests.bucket.servers import S3Server


@pytest.fixture
async def memory() -> AsyncIterator[Objects]:
    store = await SqliteObjects.open_memory()
    yield store
    await store.aclose()


async def test_a_store_in_memory_passes_and_nothing_is_left_behind(memory: Objects) -> None:
    await memory.put("probe/other/list/a", b"not ours", Always())
    await probe(memory, "id")
    assert [entry.key for entry in await memory.list("")] == ["probe/other/list/a"]


async def test_a_store_that_keeps_its_promises_passes(memory: Objects) -> None:
    await probe(stand_ins.StandIn(memory), "id")


async def test_an_sqlite_file_passes(sqlite_path: Path) -> None:
    store = await SqliteObjects.open(sqlite_path)
    await asyncio.gather(probe(store, "one"), probe(store, "two"))
    assert await store.list("") == []
    await store.aclose()


async def test_moto_passes(moto: S3Server, moto_bucket: str) -> None:
    await pass_and_leave_nothing(moto_bucket, moto)


async def test_minio_passes(minio: S3Server, minio_bucket: str) -> None:
    await pass_and_leave_nothing(minio_bucket, minio)


async def pass_and_leave_nothing(url: str, server: S3Server) -> None:
    store = await open_objects(url, StoreOptions(endpoint_url=server.endpoint_url))
    await probe(store, "id")
    assert await store.list("") == []
    await store.aclose()


@pytest.mark.parametrize(
    ("stand_in", "complaint"),
    [
        (stand_ins.IgnoresIfNoneMatch, "does not keep If-None-Match: .*24 of 24 racing writes"),
        (stand_ins.LooksThenWrites, "does not keep If-None-Match: .*24 of 24 racing writes"),
        (stand_ins.IgnoresIfMatch, "does not keep If-Match: 24 of 24 racing writes"),
        (stand_ins.LooksThenWritesOverAVersion, "does not keep If-Match: 24 of 24 racing writes"),
        (stand_ins.RefusesWhatItWrote, "does not keep If-None-Match: .*none of 24 racing writes"),
        (stand_ins.KeepsTheLast, "does not keep If-None-Match: .*another writer's bytes"),
        (stand_ins.ListsInNoOrder, "does not list all keys in byte order"),
        (stand_ins.ListsLikeADictionary, "does not list all keys in byte order"),
        (stand_ins.ListsLikeATree, "does not list all keys in byte order"),
        (stand_ins.DecodesEscapes, "does not list all keys in byte order"),
        (stand_ins.IgnoresStartAfter, "does not keep start-after"),
        (stand_ins.StartsAtInsteadOfAfter, "does not keep start-after"),
        (stand_ins.IgnoresMaxKeys, "does not keep max-keys"),
    ],
)
async def test_an_unfit_store_is_named_and_so_is_what_it_did(
    memory: Objects, stand_in: Callable[[Objects], Objects], complaint: str
) -> None:
    with pytest.raises(UnfitStore, match=f"^stand-in: {complaint}"):
        await probe(stand_in(memory), "id")


async def test_a_store_that_cannot_be_reached_is_not_called_unfit(memory: Objects) -> None:
    with pytest.raises(StoreUnavailable):
        await probe(FaultyObjects(memory, lambda verb, key: Fault.UNAVAILABLE), "id")


async def test_a_bucket_that_does_not_exist_is_said_not_to(moto: S3Server) -> None:
    store = await open_objects("s3://no-such-bucket", StoreOptions(endpoint_url=moto.endpoint_url))
    with pytest.raises(StoreRefused, match="the bucket does not exist"):
        await probe(store, "id")
    await store.aclose()


async def test_a_winner_whose_answer_was_lost_is_not_held_against_the_store(memory: Objects) -> None:
    lost: list[str] = []

    def lose_the_first_answer(verb: str, key: str) -> Fault | None:
        if verb == "put" and "/race/" in key and key not in lost:
            lost.append(key)
            return Fault.AFTER
        return None

    with pytest.raises(StoreUnavailable, match="undecided"):
        await probe(FaultyObjects(memory, lose_the_first_answer), "id")
    assert len(lost) == 3
    await probe(FaultyObjects(memory, lambda verb, key: Fault.CONFLICT if key.endswith("race/0") else None), "id")
