"""Lifetimes on a real store and a real clock: the whole log on an SQLite file, with a lifetime of two seconds."""

import asyncio
import time
from pathlib import Path

from storage.core.admission import Append, Appended
from storage.core.offset import Sentinel
from storage.core.root import Config
from storage.creation import Created, Creation, Description
from storage.log import Log, NotFound, Page
from storage.sqlite import SqliteObjects

TEXT = "text/plain"


async def test_a_sliding_stream_lives_while_it_is_read_and_is_gone_everywhere_when_it_is_not(tmp_path: Path) -> None:
    here = await SqliteObjects.open(tmp_path / "streams.db")
    there = await SqliteObjects.open(tmp_path / "streams.db")
    try:
        one, other = Log(here), Log(there)
        assert isinstance(await one.create("s", Creation(Config(TEXT, ttl_seconds=2), b"first ")), Created)
        began = time.monotonic()
        while time.monotonic() - began < 2.6:
            page = await other.read("s", Sentinel.START)  # only the other process reads it
            assert isinstance(page, Page)
            await asyncio.sleep(0.05)
        assert isinstance(await one.append("s", Append(b"second", TEXT)), Appended)
        accessed = time.monotonic()
        while isinstance(await other.head("s"), Description):  # a HEAD is no access
            assert time.monotonic() - accessed < 6.0
            await asyncio.sleep(0.05)
        assert time.monotonic() - accessed >= 2.0
        assert await one.append("s", Append(b"third", TEXT)) == NotFound()
        assert await one.read("s", Sentinel.START) == NotFound()
        assert isinstance(await one.create("s", Creation(Config(TEXT))), Created)
        page = await other.read("s", Sentinel.START)
        assert isinstance(page, Page)
        assert page.body == b""
    finally:
        await here.aclose()
        await there.aclose()


async def test_an_absolute_expiry_comes_however_busy_the_readers(tmp_path: Path) -> None:
    objects = await SqliteObjects.open(tmp_path / "streams.db")
    try:
        log = Log(objects)
        at_ms = time.time_ns() // 1_000_000 + 700
        await log.create("s", Creation(Config(TEXT, expires_at_ms=at_ms), b"x"))
        while isinstance(await log.read("s", Sentinel.START), Page):
            assert time.time_ns() // 1_000_000 < at_ms + 500
            await asyncio.sleep(0.02)
        assert time.time_ns() // 1_000_000 >= at_ms
        assert await Log(objects).read("s", Sentinel.START) == NotFound()
    finally:
        await objects.aclose()
