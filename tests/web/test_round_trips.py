"""What comes back is what went in: any JSON, any bytes, appended in any pieces, read in any pages and as events."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.log import LogSettings
from tests.web.harness import JSON, NEXT_OFFSET, Site, site

EXAMPLES = 25
BINARY = {"Content-Type": "application/octet-stream"}
TEXT = {"Content-Type": "text/plain"}

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@st.composite
def written(draw: st.DrawFn) -> str:
    """Some JSON value as some program would write it: with or without spaces, escaped or not."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    return json.dumps(draw(values), ensure_ascii=draw(st.booleans()), separators=separators)


bodies = st.lists(st.lists(written(), min_size=1, max_size=4), min_size=1, max_size=5)
pieces = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6)
page_sizes = st.integers(1, 80)


def run(page_bytes: int, check: Callable[[Site], Awaitable[None]]) -> None:
    """Run a check against an application whose pages are as small as that."""

    async def whole() -> None:
        async with site(log_settings=LogSettings(page_bytes=page_bytes)) as here:
            await check(here)

    asyncio.run(whole())


async def read_pages(client: httpx.AsyncClient, url: str) -> list[bytes]:
    """Read from the start, page after page."""
    read, offset = [], "-1"
    while True:
        answer = await client.get(url, params={"offset": offset})
        assert answer.status_code == 200, answer.text
        read.append(answer.content)
        assert answer.headers[NEXT_OFFSET] > offset or answer.headers.get("stream-up-to-date") == "true"
        offset = answer.headers[NEXT_OFFSET]
        if answer.headers.get("stream-up-to-date") == "true":
            return read


async def read_events(client: httpx.AsyncClient, url: str) -> list[tuple[str, list[str]]]:
    """Read a closed stream's events to their end: the kind of each, and its lines of data."""
    answer = await client.get(url, params={"offset": "-1", "live": "sse"})
    assert answer.status_code == 200, answer.text
    events = []
    for block in answer.text.split("\n\n")[:-1]:
        first, *lines = block.split("\n")
        events.append((first.removeprefix("event: "), [line.removeprefix("data:") for line in lines]))
    assert json.loads(events[-1][1][0])["streamClosed"] is True
    return events


def cut_array(body: str) -> list[str]:
    """Return the elements of a JSON array as they are written, by the standard library alone."""
    decoder, found, at = json.JSONDecoder(), [], 1
    while body[at:].strip() != "]":
        at += len(body[at:]) - len(body[at:].lstrip(", \t\n\r"))
        _, end = decoder.raw_decode(body, at)
        found.append(body[at:end])
        at = end
    return found


async def fill(here: Site, headers: dict[str, str], contents: list[bytes]) -> None:
    """Create a stream, append, and close it."""
    await here.client.put("/s", headers=headers)
    for content in contents:
        answer = await here.client.post("/s", content=content, headers=headers)
        assert answer.status_code == 204, answer.text
    await here.client.post("/s", headers={"Stream-Closed": "true"})


def array(messages: list[str]) -> bytes:
    return ("[ " + " , ".join(messages) + "\n]").encode()


@settings(max_examples=EXAMPLES, deadline=None)
@given(bodies, page_sizes)
def test_json_messages_come_back_byte_for_byte_however_reads_are_cut(body: list[list[str]], page: int) -> None:
    async def check(here: Site) -> None:
        await fill(here, JSON, [array(messages) for messages in body])
        read = [message for part in await read_pages(here.client, "/s") for message in cut_array(part.decode())]
        assert read == [message for messages in body for message in messages]

    run(page, check)


@settings(max_examples=EXAMPLES, deadline=None)
@given(bodies, page_sizes)
def test_json_messages_come_back_as_events(body: list[list[str]], page: int) -> None:
    async def check(here: Site) -> None:
        await fill(here, JSON, [array(messages) for messages in body])
        read: list[Any] = []
        for kind, lines in await read_events(here.client, "/s"):
            if kind == "data":
                read += json.loads("\n".join(lines))
        assert read == [json.loads(message) for messages in body for message in messages]

    run(page, check)


@settings(max_examples=EXAMPLES, deadline=None)
@given(pieces, page_sizes, st.sampled_from([BINARY, TEXT]))
def test_bytes_come_back_however_reads_are_cut(contents: list[bytes], page: int, headers: dict[str, str]) -> None:
    async def check(here: Site) -> None:
        await fill(here, headers, contents)
        assert b"".join(await read_pages(here.client, "/s")) == b"".join(contents)

    run(page, check)


@settings(max_examples=EXAMPLES, deadline=None)
@given(pieces, page_sizes)
def test_bytes_come_back_as_base64_events(contents: list[bytes], page: int) -> None:
    async def check(here: Site) -> None:
        await fill(here, BINARY, contents)
        events = await read_events(here.client, "/s")
        read = b"".join(base64.b64decode("".join(lines), validate=True) for kind, lines in events if kind == "data")
        assert read == b"".join(contents)

    run(page, check)


@settings(max_examples=EXAMPLES, deadline=None)
@given(pieces, pieces, page_sizes, st.data())
def test_a_fork_reads_as_its_source_up_to_where_it_left_and_then_as_itself(
    before: list[bytes], after: list[bytes], page: int, data: st.DataObject
) -> None:
    whole = b"".join(before)
    cut = data.draw(st.integers(0, len(whole)))

    async def check(here: Site) -> None:
        await fill(here, BINARY, before)
        headers = {
            "Stream-Forked-From": "/s",
            "Stream-Fork-Offset": "0" * 16 + "_" + "0" * 16,
            "Stream-Fork-Sub-Offset": str(cut),
        }
        assert (await here.client.put("/f", headers=headers)).status_code == 201
        for content in after:
            assert (await here.client.post("/f", content=content, headers=BINARY)).status_code == 204
        assert b"".join(await read_pages(here.client, "/f")) == whole[:cut] + b"".join(after)

    run(page, check)
