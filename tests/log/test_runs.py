"""Runs: what they hold, how far they go, when they end, and that what they give is what the object has."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage import runs as module
from storage.objects import Arriving, Head, StoreRefused, StoreUnavailable
from storage.runs import MOST, Run, Runs, RunSettings

BODY = bytes(range(200))
SIZE = 10  # of a part
SETTINGS = RunSettings(run_bytes=100, ahead_bytes=40, behind_bytes=20)


class Dripping:
    """A store of one object, whose parts come as fast as they are read; it breaks where it is told to."""

    def __init__(self, breaks_at: tuple[int, ...] = (), *, opens: bool = True) -> None:
        self.asked: list[tuple[int, int | None]] = []
        self.read_to = 0
        self.open = 0
        self.breaks_at = list(breaks_at)
        self.opens = opens

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        self.asked.append((start, length))
        if not self.opens:
            raise StoreRefused("no")
        if key != "key":
            return None
        end = len(BODY) if length is None else min(len(BODY), start + length)
        return Arriving(Head("e", len(BODY), 0, "", {}), self._parts(start, end))

    async def _parts(self, start: int, end: int) -> AsyncGenerator[bytes]:
        self.open += 1
        try:
            for at in range(start, end, SIZE):
                if self.breaks_at and at >= self.breaks_at[0]:
                    self.breaks_at.pop(0)
                    raise StoreUnavailable("the connection broke")
                self.read_to = min(end, at + SIZE)
                yield BODY[at : self.read_to]
        finally:
            self.open -= 1


@asynccontextmanager
async def running(store: Any, settings: RunSettings = SETTINGS) -> AsyncIterator[Runs]:
    runs = Runs(store, settings)
    try:
        yield runs
    finally:
        await runs.aclose()
        assert store.open == 0, "a connection was left open"


def send(runs: Runs, start: int = 0, key: str = "key", size: int | None = None) -> Run:
    run = runs.send(key, start, size)
    assert run is not None
    return run


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def taken(run: Run, low: int, high: int) -> bytes | None:
    parts = await run.take(low, high)
    return None if parts is None else b"".join(parts)


async def test_a_run_goes_as_far_ahead_as_it_may_and_on_when_it_is_read() -> None:
    store = Dripping()
    async with running(store) as runs:
        run = send(runs, 5)
        await settled()
        assert store.read_to == 5 + 40
        assert await taken(run, 5, 25) == BODY[5:25]
        await settled()
        assert store.read_to == 25 + 40
        assert await taken(run, 25, 105) == BODY[25:105]
        assert (store.asked, store.read_to, run.end) == ([(5, 100)], 105, 105)


async def test_parts_are_handed_on_as_they_came() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        first, again = await run.take(0, 30), await run.take(0, 30)
        assert first is not None
        assert again is not None
        assert [len(part) for part in first] == [SIZE] * 3
        assert all(one is other for one, other in zip(first, again, strict=True))
        assert await run.take(4, 16) == [BODY[4:10], BODY[10:16]]


async def test_it_ends_where_the_object_ends() -> None:
    async with running(Dripping()) as runs:
        run = send(runs, 150)
        assert run.end == 250
        head = await run.opened
        assert head is not None
        assert head.size == run.end == 200
        assert send(runs, 150, size=160).end == 160


async def test_what_lies_far_behind_a_reader_is_let_go_of() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        for low in (30, 40, 60):
            assert await taken(run, low, low + 10) == BODY[low : low + 10]
        assert runs.at("key", 40) is run
        assert runs.at("key", 39) is None
        assert await run.take(39, 50) is None


async def test_what_is_far_ahead_is_not_waited_for() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        await settled()
        assert runs.at("key", 79) is run
        assert runs.at("key", 80) is None


async def test_nothing_is_let_go_of_that_somebody_waits_for() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        slow = asyncio.create_task(taken(run, 0, 90))
        await asyncio.sleep(0)
        assert await taken(run, 80, 90) == BODY[80:90]
        assert await slow == BODY[:90]


async def test_one_that_waits_no_more_is_nobody() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        waiting = asyncio.create_task(taken(run, 0, 100))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await taken(run, 0, 100) == BODY[:100]


async def test_where_a_connection_breaks_it_goes_on() -> None:
    store = Dripping(breaks_at=(30, 60))
    async with running(store) as runs:
        assert await taken(send(runs), 0, 100) == BODY[:100]
        assert store.asked == [(0, 100), (30, 70), (60, 40)]


@pytest.mark.parametrize("store", [Dripping(breaks_at=(0, 0, 0)), Dripping(opens=False)])
async def test_a_run_that_fails_gives_nothing_and_is_no_error(store: Dripping) -> None:
    async with running(store) as runs:
        run = send(runs)
        waiting = asyncio.create_task(taken(run, 0, 10))
        assert await waiting is None
        assert runs.at("key", 0) is None
        assert await run.take(0, 10) is None


async def test_there_is_no_run_of_what_is_not_there() -> None:
    async with running(Dripping()) as runs:
        run = send(runs, key="other")
        assert await run.opened is None
        await settled()
        assert runs.at("other", 0) is None


async def test_it_ends_when_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    store = Dripping()
    async with running(store) as runs:
        run, complete = send(runs), send(runs, 180)
        await asyncio.sleep(0.1)
        assert (store.open, run.task.done(), complete.task.done()) == (0, True, True)
        assert runs.at("key", 0) is None


async def test_there_are_only_so_many_and_those_that_somebody_may_read_on_stay() -> None:
    async with running(Dripping()) as runs:
        all_ = [send(runs) for _ in range(MOST)]
        assert runs.send("key", 0) is None
        await taken(all_[3], 0, 70)
        assert runs.send("key", 0) is None
        await taken(all_[3], 70, 100)  # to its end: whoever wants it again may ask anew
        assert runs.send("key", 0) is not None
        await settled()
        assert [run.task.done() for run in all_] == [n == 3 for n in range(MOST)]


async def test_once_closed_none_is_begun() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        run.opened.add_done_callback(lambda _: runs.send("key", 100))
        await runs.aclose()
        assert runs.at("key", 100) is None


async def test_another_version_is_no_continuation() -> None:
    class Replaced(Dripping):
        async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
            arriving = await super().get_parts(key, start=start, length=length)
            assert arriving is not None
            return arriving if len(self.asked) == 1 else Arriving(Head("f", 300, 0, "", {}), arriving.parts)

    async with running(Replaced(breaks_at=(30,))) as runs:
        run = send(runs)
        assert await taken(run, 0, 100) is None
        assert runs.at("key", 0) is None


async def test_what_is_forgotten_is_not_found_again() -> None:
    async with running(Dripping()) as runs:
        run = send(runs)
        waiting = asyncio.create_task(taken(run, 0, 100))
        runs.forget("key")
        assert runs.at("key", 0) is None
        assert await waiting is None
        assert await run.opened is None


async def test_a_store_that_sends_too_little_is_not_waited_for() -> None:
    class Short(Dripping):
        async def _parts(self, start: int, end: int) -> AsyncGenerator[bytes]:
            yield BODY[start : end - 30]

    async with running(Short()) as runs:
        assert await send(runs).take(0, 100) is None
