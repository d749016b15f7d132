"""Readers that wait: what wakes them, what they are told, and that nothing is left of them when they go."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from handler.app import AppSettings
from handler.live import LiveSettings
from storage.log import LogSettings
from storage.opening import open_objects
from tests.bucket.counting import CountingObjects
from tests.bucket.faulty import Fault, FaultyObjects
from tests.pure.test_sse import read_events
from tests.web.harness import NEXT_OFFSET, Exchange, Site, site

PATIENT = AppSettings(live=LiveSettings(long_poll_seconds=60.0, sse_seconds=60.0))
BRIEF = AppSettings(live=LiveSettings(long_poll_seconds=0.05, sse_seconds=0.05))


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(PATIENT) as running:
        yield running


def poll(here: Site, path: str, offset: str) -> Exchange:
    return Exchange(here.app, "GET", f"{path}?offset={offset}&live=long-poll")


def listen(here: Site, path: str, offset: str = "-1", *, cursor: str = "") -> Exchange:
    return Exchange(here.app, "GET", f"{path}?offset={offset}&live=sse{f'&cursor={cursor}' if cursor else ''}")


def control_of(part: bytes) -> dict[str, object]:
    """Return what the control event says that ends a part."""
    name, data = read_events(part)[-1]
    assert name == "control"
    control: dict[str, object] = json.loads(data)
    return control


def data_of(part: bytes) -> list[bytes]:
    """Return the data events of a part; each is followed by a control event."""
    events = read_events(part)
    for (name, _), (follower, _) in pairwise(events):
        assert name != "data" or follower == "control"
    return [data for name, data in events if name == "data"]


# -- long-poll


async def test_a_long_poll_is_woken_by_an_append(here: Site) -> None:
    await here.create("/s", b"old")
    exchange = poll(here, "/s", await here.tail("/s"))
    await asyncio.sleep(0)
    await here.append("/s", b"new")
    status, headers = await exchange.start()
    assert (status, await exchange.rest()) == (200, b"new")
    assert headers[NEXT_OFFSET] == await here.tail("/s")
    assert headers["stream-up-to-date"] == "true"
    assert headers["stream-cursor"].isdigit()
    assert headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"


async def test_a_long_poll_from_now_is_woken_by_what_comes_and_told_nothing_old(here: Site) -> None:
    await here.create("/s", b"old")
    exchange = poll(here, "/s", "now")
    while exchange.is_silent:  # the first of them may come before the request has found its place
        await here.append("/s", b"new")
        await asyncio.sleep(0.01)
    status, headers = await exchange.start()
    assert status == 200
    assert set((await exchange.rest()).split(b"new")) == {b""}
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers


async def test_a_long_poll_is_woken_by_a_close(here: Site) -> None:
    await here.create("/s", b"old")
    exchange = poll(here, "/s", await here.tail("/s"))
    await asyncio.sleep(0)
    await here.append("/s", b"", stream_closed="true")
    status, headers = await exchange.start()
    assert (status, headers["stream-closed"]) == (204, "true")
    assert "stream-cursor" not in headers


async def test_a_long_poll_is_woken_by_a_deletion(here: Site) -> None:
    await here.create("/s", b"old")
    exchange = poll(here, "/s", await here.tail("/s"))
    await asyncio.sleep(0)
    await here.client.delete("/s")
    assert (await exchange.start())[0] == 404


async def test_a_long_poll_at_the_end_does_not_wait(here: Site) -> None:
    await here.create("/s", b"all", stream_closed="true")
    for offset in (await here.tail("/s"), "now"):
        status, headers = await poll(here, "/s", offset).start()
        assert (status, headers["stream-closed"], headers["stream-up-to-date"]) == (204, "true", "true")


async def test_a_long_poll_that_nothing_comes_for_is_204_with_the_tail() -> None:
    async with site(BRIEF) as here:
        await here.create("/s", b"old")
        tail = await here.tail("/s")
        for offset in (tail, "now"):
            status, headers = await poll(here, "/s", offset).start()
            assert (status, headers[NEXT_OFFSET], headers["cache-control"]) == (204, tail, "no-store")


async def test_a_long_poll_whose_client_leaves_stops_at_once(here: Site) -> None:
    await here.create("/s", b"old")
    exchange = poll(here, "/s", await here.tail("/s"))
    await asyncio.sleep(0.02)
    exchange.leave()
    await exchange.end()
    assert exchange.is_silent
    await here.quiet()


async def test_waiters_with_one_url_get_one_cursor_and_it_moves_on(here: Site) -> None:
    await here.create("/s", b"old")
    first = (await here.client.get("/s?offset=-1&live=long-poll")).headers["stream-cursor"]
    url = f"/s?offset=-1&live=long-poll&cursor={first}"
    second, third = [(await here.client.get(url)).headers["stream-cursor"] for _ in range(2)]
    assert second == third
    assert int(second) > int(first)


async def test_many_who_wait_for_one_stream_share_the_probes() -> None:
    counting = CountingObjects(await open_objects("memory:"))
    async with site(PATIENT, objects=counting) as here:
        await here.create("/s", b"old")
        tail = await here.tail("/s")
        exchanges = [poll(here, "/s", tail) for _ in range(64)]
        await asyncio.sleep(0.3)  # some probes' worth
        await here.append("/s", b"new")
        answers = [(await exchange.start())[0] for exchange in exchanges]
        assert answers == [200] * 64
        assert max(peak for (verb, _), peak in counting.peak.items() if verb == "get") == 1


# -- server-sent events


async def test_a_reader_is_told_what_is_there_and_then_what_comes(here: Site) -> None:
    await here.create("/s", b"one")
    exchange = listen(here, "/s")
    status, headers = await exchange.start()
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "text/event-stream", "no-cache")
    assert "content-length" not in headers
    assert "stream-sse-data-encoding" not in headers
    first = await exchange.part()
    assert data_of(first) == [b"one"]
    assert control_of(first)["streamNextOffset"] == await here.tail("/s")
    assert control_of(first)["upToDate"] is True
    await here.append("/s", b"two")
    second = await exchange.part()
    assert data_of(second) == [b"two"]
    assert control_of(second)["streamNextOffset"] == await here.tail("/s")
    exchange.leave()


async def test_a_reader_from_now_is_told_the_tail_and_nothing_old(here: Site) -> None:
    await here.create("/s", b"old")
    exchange = listen(here, "/s", "now")
    await exchange.start()
    first = await exchange.part()
    assert data_of(first) == []
    assert control_of(first)["streamNextOffset"] == await here.tail("/s")
    assert control_of(first)["upToDate"] is True
    await here.append("/s", b"new")
    assert data_of(await exchange.part()) == [b"new"]
    exchange.leave()


async def test_the_last_message_is_told_before_the_end_and_then_the_connection_ends(here: Site) -> None:
    await here.create("/s")
    exchange = listen(here, "/s")
    await exchange.start()
    await exchange.part()
    await here.append("/s", b"last", stream_closed="true")
    final = await exchange.part()
    assert data_of(final) == [b"last"]
    control = control_of(final)
    assert control["streamClosed"] is True
    assert "streamCursor" not in control
    assert await exchange.part() == b""
    await exchange.end()


@pytest.mark.parametrize("offset", ["-1", "now", "tail"])
async def test_a_reader_of_a_closed_stream_is_told_its_end_once(here: Site, offset: str) -> None:
    await here.create("/s", b"all", stream_closed="true")
    exchange = listen(here, "/s", await here.tail("/s") if offset == "tail" else offset)
    await exchange.start()
    events = await exchange.rest()
    assert data_of(events) == ([b"all"] if offset == "-1" else [])
    assert [name for name, _ in read_events(events)].count("control") == 1
    assert control_of(events)["streamClosed"] is True
    assert control_of(events)["upToDate"] is True


async def test_bytes_travel_as_base64_and_the_headers_say_so(here: Site) -> None:
    await here.create("/b", bytes(range(256)), content_type="application/octet-stream")
    exchange = listen(here, "/b")
    _, headers = await exchange.start()
    assert headers["stream-sse-data-encoding"] == "base64"
    assert len(data_of(await exchange.part())[0]) == 344
    exchange.leave()


async def test_json_messages_of_a_page_travel_as_one_array(here: Site) -> None:
    await here.create("/j", b'[{"a":\n1}]', content_type="application/json")
    await here.append("/j", b"[2, 3]", content_type="application/json")
    exchange = listen(here, "/j")
    await exchange.start()
    assert json.loads(data_of(await exchange.part())[0]) == [{"a": 1}, 2, 3]
    exchange.leave()


async def test_an_event_is_bounded_and_never_ends_within_a_character() -> None:
    text = "zwölf_Boxkämpfer_jagen_Viktor_quer_über_den_großen_Sylter_Deich🥊" * 5
    async with site(AppSettings(live=LiveSettings(sse_event_bytes=7))) as here:
        await here.create("/s", text.encode())
        exchange = listen(here, "/s")
        await exchange.start()
        told = []
        while True:
            part = await exchange.part()
            told += [data.decode() for data in data_of(part)]
            if control_of(part).get("upToDate"):
                break
        assert max(len(piece.encode()) for piece in told) <= 7
        assert "".join(told) == text
        exchange.leave()


async def test_every_offset_that_a_reader_is_told_is_one_to_come_back_with() -> None:
    async with site(AppSettings(live=LiveSettings(sse_event_bytes=5))) as here:
        await here.create("/s", "äöüß€".encode() * 3)
        exchange = listen(here, "/s")
        await exchange.start()
        told = b""
        while True:
            part = await exchange.part()
            told += data_of(part)[0]
            control = control_of(part)
            rest = await here.client.get(f"/s?offset={control['streamNextOffset']}")
            assert told + rest.content == "äöüß€".encode() * 3
            if control.get("upToDate"):
                break
        exchange.leave()


async def test_an_event_stream_ends_when_its_time_is_over() -> None:
    async with site(BRIEF) as here:
        await here.create("/s", b"one")
        exchange = listen(here, "/s")
        await exchange.start()
        assert data_of(await exchange.rest()) == [b"one"]
        await exchange.end()


async def test_an_event_stream_ends_when_its_stream_is_deleted(here: Site) -> None:
    await here.create("/s", b"one")
    exchange = listen(here, "/s")
    await exchange.start()
    await exchange.part()
    await here.client.delete("/s")
    assert await exchange.part() == b""


async def test_an_event_stream_whose_reader_leaves_stops_at_once(here: Site) -> None:
    await here.create("/s", b"one")
    exchange = listen(here, "/s")
    await exchange.start()
    await exchange.part()
    exchange.leave()
    await exchange.end()
    await here.quiet()


async def test_a_reader_that_does_not_read_is_owed_one_event_however_much_comes() -> None:
    async with site(AppSettings(live=LiveSettings(sse_event_bytes=8))) as here:
        await here.create("/s", b"0" * 8)
        exchange = listen(here, "/s")
        await exchange.start()
        await exchange.part()
        exchange.reads.clear()
        for number in range(1, 9):
            await here.append("/s", str(number).encode() * 8)
        await asyncio.sleep(0.05)
        assert exchange.stalled == 1
        assert exchange.is_silent
        exchange.reads.set()
        told = b""
        while len(told) < 64:
            data = data_of(await exchange.part())
            assert all(len(piece) <= 8 for piece in data)
            told += b"".join(data)
        assert told == b"".join(str(number).encode() * 8 for number in range(1, 9))
        exchange.leave()


async def test_cursors_of_an_event_stream_never_go_back(here: Site) -> None:
    await here.create("/s", b"one")
    plain = listen(here, "/s")
    await plain.start()
    first = int(str(control_of(await plain.part())["streamCursor"]))
    plain.leave()
    echoed = listen(here, "/s", cursor=str(first))
    await echoed.start()
    second = int(str(control_of(await echoed.part())["streamCursor"]))
    await here.append("/s", b"two")
    third = int(str(control_of(await echoed.part())["streamCursor"]))
    assert first < second <= third
    echoed.leave()


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/gone", 410)])
async def test_where_there_is_no_stream_there_are_no_events(here: Site, path: str, status: int) -> None:
    await here.create("/gone", b"x")
    await here.create("/fork", stream_forked_from="/gone")
    await here.client.delete("/gone")
    exchange = listen(here, path)
    found, headers = await exchange.start()
    assert (found, headers["content-type"]) == (status, "application/problem+json")


async def test_an_event_stream_ends_early_where_the_store_fails(caplog: pytest.LogCaptureFixture) -> None:
    failing: list[bool] = []
    store = FaultyObjects(await open_objects("memory:"), lambda verb, key: Fault.UNAVAILABLE if failing else None)
    quick = LogSettings(cache_bytes=1, tries=1)
    async with site(AppSettings(live=LiveSettings(sse_event_bytes=4)), objects=store, log_settings=quick) as here:
        await here.create("/s", b"abcd")
        await here.append("/s", b"efgh")
        exchange = listen(here, "/s")
        exchange.reads.clear()
        await asyncio.sleep(0.02)
        failing.append(True)
        exchange.reads.set()
        assert (await exchange.start())[0] == 200
        assert data_of(await exchange.part()) == [b"abcd"]
        assert await exchange.part() == b""
        failing.clear()
    assert "ends early" in caplog.text


# -- a server that is about to stop


async def test_all_who_wait_are_answered_when_the_server_is_about_to_stop(here: Site) -> None:
    await here.create("/s", b"one")
    tail = await here.tail("/s")
    polls = [poll(here, "/s", offset) for offset in (tail, "now")]
    events = listen(here, "/s")
    await events.start()
    await events.part()
    await asyncio.sleep(0.02)
    here.app.drain()
    for exchange in polls:
        status, headers = await exchange.start()
        assert (status, headers[NEXT_OFFSET]) == (204, tail)
    assert await events.part() == b""
    await here.quiet()


async def test_nobody_waits_any_more_once_the_server_is_about_to_stop(here: Site) -> None:
    await here.create("/s", b"one")
    here.app.drain()
    assert (await poll(here, "/s", "now").start())[0] == 204
    events = listen(here, "/s")
    await events.start()
    assert data_of(await events.rest()) == [b"one"]
