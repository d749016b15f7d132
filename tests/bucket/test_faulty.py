"""The stores that tests use pass what they are stand-ins for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from storage.objects import Always, IfAbsent, Objects, OutcomeUnknown, StoreError, StoreUnavailable
from storage.sqlite import SqliteObjects
from tests.bucket.counting import CountingObjects
from tests.bucket.faulty import LATE_BY, Fault, FaultyObjects, by_seed
from tests.bucket.suite import ObjectsSuite


@pytest.fixture
async def memory() -> AsyncIterator[Objects]:
    store = await SqliteObjects.open_memory()
    yield store
    await store.aclose()


class TestWithoutFaults(ObjectsSuite):
    @pytest.fixture
    async def objects(self, memory: Objects) -> Objects:
        return FaultyObjects(memory)


class TestCounting(ObjectsSuite):
    @pytest.fixture
    async def objects(self, memory: Objects) -> Objects:
        return CountingObjects(memory)


@pytest.mark.parametrize(
    ("fault", "error", "happened"),
    [
        (Fault.BEFORE, OutcomeUnknown, False),
        (Fault.CONFLICT, OutcomeUnknown, False),
        (Fault.AFTER, OutcomeUnknown, True),
        (Fault.UNAVAILABLE, StoreUnavailable, False),
    ],
)
async def test_a_write_fails_as_the_plan_says(
    memory: Objects, fault: Fault, error: type[StoreError], happened: bool
) -> None:
    with pytest.raises(error):
        await FaultyObjects(memory, lambda verb, key: fault).put("a", b"", IfAbsent())
    assert (await memory.head("a") is not None) == happened


async def test_a_late_write_arrives_after_later_requests(memory: Objects) -> None:
    faulty = FaultyObjects(memory, lambda verb, key: Fault.LATER if key == "late" else None)
    with pytest.raises(OutcomeUnknown):
        await faulty.put("late", b"", IfAbsent())
    for _ in range(LATE_BY - 1):
        assert await faulty.head("other") is None
        assert await memory.head("late") is None
    await faulty.head("other")
    assert await memory.head("late") is not None


async def test_a_late_write_arrives_when_the_store_settles(memory: Objects) -> None:
    faulty = FaultyObjects(memory, lambda verb, key: Fault.LATER)
    with pytest.raises(OutcomeUnknown):
        await faulty.put("late", b"", IfAbsent())
    await faulty.settle()
    assert await memory.head("late") is not None


@pytest.mark.parametrize("fault", [Fault.TORN, Fault.UNAVAILABLE])
async def test_a_read_that_breaks_is_unavailable(memory: Objects, fault: Fault) -> None:
    faulty = FaultyObjects(memory, lambda verb, key: fault)
    for read in (faulty.get("a"), faulty.head("a"), faulty.list("a")):
        with pytest.raises(StoreUnavailable):
            await read


async def test_the_same_seed_gives_the_same_faults() -> None:
    calls = [("put", "a"), ("get", "a"), ("list", ""), ("delete", "a"), ("head", "a")] * 40
    first, second, other = (list(map(plan, *zip(*calls, strict=True))) for plan in map(by_seed, (1, 1, 2), (0.5,) * 3))
    assert first == second != other
    assert 60 < sum(fault is not None for fault in first) < 140


async def test_counts_are_of_requests_and_peaks_of_those_under_way(memory: Objects) -> None:
    counting = CountingObjects(memory)
    await asyncio.gather(*(counting.get("a") for _ in range(5)), counting.get("b"))
    await counting.put("a", b"", Always())
    assert counting.verbs == {"get": 6, "put": 1}
    assert counting.keys("put") == ["a"]
    assert (counting.peak["get", "a"], counting.peak["get", "b"]) == (5, 1)
    counting.clear()
    assert len(counting) == 0
    await counting.list("a/")
    assert counting.calls == [("list", "a/")]
    assert counting.peak["get", "a"] == 0
