"""Readers behind a real cache: who asks the origin, who does not, and that nobody is told what is not so any more."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from durable_streams_client import AsyncClient, Cdn, Client

from tests.web.cdn import cdn
from tests.web.processes import ServerProcess, server
from tests.web.test_conformance import run_suite

TEXT = {"Content-Type": "text/plain"}
POLLERS = 100
POLL_SECONDS = 4.0
SHARED_SECONDS = 60  # section 10.1: what a cache may be behind for pages without a token of the stream's own

# What nginx as a cache does its own way: it asks the origin without a reader's If-None-Match, so that the answer may be
# kept for others, and answers 304 itself only of what it has kept; the page at the tail is not.
BEHIND_A_CACHE = frozenset({"Caching and ETag should return 304 Not Modified for matching If-None-Match"})


class Edge:
    """A cache, and the server behind it."""

    def __init__(self, url: str, process: ServerProcess) -> None:
        self.url = url
        self.origin = process.url()
        self._process = process
        self._seen = 0

    def asked(self) -> list[str]:
        """Return the requests that have reached the origin since this was asked last."""
        lines = [line for line in self._process.complained if "/" in line]
        new, self._seen = lines[self._seen :], len(lines)
        return [line for line in new if "?" in line]

    def settled(self) -> list[str]:
        """Return the same, once what was answered has been written down."""
        time.sleep(0.3)
        return self.asked()


@contextmanager
def edge_over(store: Path, folder: Path, *options: str) -> Iterator[Edge]:
    flags = ("--access-log", "--long-poll-timeout", f"{POLL_SECONDS}s", "--page-size", "4KiB", *options)
    with server(f"sqlite://{store}", *flags) as process, cdn(process.url(), folder) as url:
        yield Edge(url, process)


@pytest.fixture
def edge(sqlite_path: Path, tmp_path: Path) -> Iterator[Edge]:
    (tmp_path / "nginx").mkdir()
    with edge_over(sqlite_path, tmp_path / "nginx") as found:
        yield found


def test_the_public_suite_passes_through_the_cache(sqlite_path: Path, tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    origin = server(f"sqlite://{sqlite_path}", "--long-poll-timeout", "1s")
    with origin as process, cdn(process.url(), tmp_path / "nginx") as url:
        run_suite(url, tmp_path, BEHIND_A_CACHE)


def fill(edge: Edge, path: str, pages: int) -> bytes:
    """Write a history of so many pages and a bit, at the origin; return it."""
    httpx.put(f"{edge.origin}/{path}", headers=TEXT)
    sent = b""
    for number in range(pages * 4):
        piece = f"{number:1024}".encode()
        assert httpx.post(f"{edge.origin}/{path}", headers=TEXT, content=piece).status_code == 204
        sent += piece
    httpx.post(f"{edge.origin}/{path}", headers=TEXT, content=b"the rest")
    edge.settled()
    return sent + b"the rest"


def pages(url: str) -> tuple[bytes, list[str]]:
    """Read from the beginning to the tail; return the bytes, and what the cache said of each page."""
    found, offset, states = b"", "-1", list[str]()
    with httpx.Client() as client:
        while True:
            answer = client.get(url, params={"offset": offset})
            found += answer.content
            offset = answer.headers["stream-next-offset"]
            states.append(answer.headers["x-cache"])
            if "stream-up-to-date" in answer.headers:
                return found, states


def test_a_second_reader_of_a_history_asks_the_origin_for_the_tail_and_nothing_else(edge: Edge) -> None:
    sent = fill(edge, "a", 10)
    first, states = pages(f"{edge.url}/a")
    assert first == sent
    assert states == ["MISS"] * len(states)
    assert len(edge.settled()) == len(states) > 10
    second, states = pages(f"{edge.url}/a")
    assert second == sent
    assert states == ["HIT"] * (len(states) - 1) + ["MISS"]
    assert len(edge.settled()) == 1


def test_where_a_tail_may_be_kept_a_second_reader_asks_nothing_at_all(sqlite_path: Path, tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    with edge_over(sqlite_path, tmp_path / "nginx", "--tail-max-age", "60s") as edge:
        sent = fill(edge, "a", 5)
        assert pages(f"{edge.url}/a")[0] == sent
        edge.settled()
        second, states = pages(f"{edge.url}/a")
        assert second == sent
        assert states == ["HIT"] * len(states)
        assert edge.settled() == []


def test_the_client_reads_history_through_the_cache_and_follows_at_the_origin(edge: Edge) -> None:
    sent = fill(edge, "a", 10)
    for turn in range(2):
        with Client(edge.origin, cdn=edge.url) as client, client.stream("a").read() as reader:
            assert b"".join(bytes(piece) for piece in reader.bytes()) == sent
        asked = edge.settled()
        # The second: the tail's page, once by its tag and once past the cache, whose word nobody takes for the end.
        assert len(asked) <= (14 if turn == 0 else 3), asked


@pytest.mark.parametrize("live", ["long-poll", "sse"])
async def test_a_long_follow_through_the_cache_misses_and_repeats_nothing(edge: Edge, live: str) -> None:
    async with AsyncClient(edge.origin, cdn=Cdn(edge.url, live=True)) as client:
        writer = AsyncClient(edge.origin)
        stream = writer.stream("follow")
        await stream.create("application/json")
        got: list[int] = []

        async def follow() -> None:
            async with client.stream("follow").read(live=live) as reader:  # type: ignore[arg-type]  # one of its words
                async for message in reader.json():
                    got.append(message)
                    if message == 119:
                        return

        following = [asyncio.create_task(follow()) for _ in range(3)]
        for number in range(120):
            await stream.append_json(number)
            if number % 10 == 9:
                await asyncio.sleep(0.25)
        async with asyncio.timeout(60):
            await asyncio.gather(*following)
        await writer.aclose()
    assert sorted(got) == sorted(list(range(120)) * 3)


async def _poll(client: httpx.AsyncClient, url: str, **params: str) -> httpx.Response:
    return await client.get(url, params=params, timeout=40)


@pytest.fixture
async def crowd() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=POLLERS + 10)) as client:
        yield client


async def test_a_hundred_who_wait_are_one_request_per_cursor(edge: Edge, crowd: httpx.AsyncClient) -> None:
    url = f"{edge.url}/wait"
    await crowd.put(f"{edge.origin}/wait", headers=TEXT)
    tail = (await crowd.head(f"{edge.origin}/wait")).headers["stream-next-offset"]
    cursor = "1"
    edge.settled()
    for round_number in range(3):
        polls = [
            asyncio.create_task(_poll(crowd, url, offset=tail, live="long-poll", cursor=cursor)) for _ in range(POLLERS)
        ]
        await asyncio.sleep(1.0)
        piece = f"news {round_number}".encode()
        await crowd.post(f"{edge.origin}/wait", headers=TEXT, content=piece)
        answers = await asyncio.gather(*polls)
        assert {answer.content for answer in answers} == {piece}
        assert {answer.status_code for answer in answers} == {200}
        cursors = {answer.headers["stream-cursor"] for answer in answers}
        assert len(cursors) == 1
        asked = [line for line in edge.settled() if "live=long-poll" in line]
        assert len(asked) == 1, f"{len(asked)} requests reached the origin"
        tail, cursor = answers[0].headers["stream-next-offset"], cursors.pop()


async def test_an_answer_with_nothing_is_not_kept(edge: Edge, crowd: httpx.AsyncClient) -> None:
    await crowd.put(f"{edge.origin}/quiet", headers=TEXT)
    tail = (await crowd.head(f"{edge.origin}/quiet")).headers["stream-next-offset"]
    first = await _poll(crowd, f"{edge.url}/quiet", offset=tail, live="long-poll", cursor="1")
    assert (first.status_code, first.headers["x-cache"]) == (204, "MISS")
    waiting = asyncio.create_task(_poll(crowd, f"{edge.url}/quiet", offset=tail, live="long-poll", cursor="1"))
    await asyncio.sleep(0.5)
    await crowd.post(f"{edge.origin}/quiet", headers=TEXT, content=b"at last")
    second = await waiting
    assert (second.status_code, second.content) == (200, b"at last")


def test_the_tail_is_never_stale_after_an_append_and_a_close(edge: Edge) -> None:
    with httpx.Client() as client:
        client.put(f"{edge.url}/a", headers=TEXT)
        for number in range(10):
            client.post(f"{edge.url}/a", headers=TEXT, content=f"{number}".encode())
            answer = client.get(f"{edge.url}/a", params={"offset": "-1"})
            assert answer.text == "".join(map(str, range(number + 1)))
        tail = answer.headers["stream-next-offset"]
        open_end = client.get(f"{edge.url}/a", params={"offset": tail})
        assert "stream-closed" not in open_end.headers
        client.post(f"{edge.url}/a", headers={"Stream-Closed": "true"})
        assert client.get(f"{edge.url}/a", params={"offset": tail}).headers["stream-closed"] == "true"
        assert client.get(f"{edge.url}/a", params={"offset": "-1"}).headers["stream-closed"] == "true"


def test_nothing_of_a_deleted_stream_is_told_by_its_name_later_than_section_10_allows(edge: Edge) -> None:
    fill(edge, "a", 3)
    with httpx.Client() as client:
        first = client.get(f"{edge.url}/a", params={"offset": "-1"})
        rules = dict(part.strip().partition("=")[::2] for part in first.headers["cache-control"].split(","))
        assert int(rules["max-age"]) <= SHARED_SECONDS
        old = first.headers["stream-next-offset"]
        assert client.get(f"{edge.url}/a", params={"offset": old}).status_code == 200
        client.delete(f"{edge.url}/a")
        assert client.head(f"{edge.url}/a").status_code == 404
        tail = client.get(f"{edge.url}/a", params={"offset": "now"})
        assert tail.status_code == 404
        client.put(f"{edge.url}/a", headers=TEXT, content=b"another life")
        new = client.get(f"{edge.url}/a", params={"offset": "now"}).headers["stream-next-offset"]
        # Under the new generation's tokens there is nothing of the old one, and its own offsets never meet them.
        assert new.partition("_")[0] > old.partition("_")[0]
        assert client.get(f"{edge.url}/a", params={"offset": f"{new[:17]}{0:016}"}).content == b"another life"
        assert client.get(f"{edge.origin}/a", params={"offset": old}).status_code == 410


def test_a_stream_that_was_not_there_is_seen_as_soon_as_it_is(edge: Edge) -> None:
    with httpx.Client() as client:
        assert client.get(f"{edge.url}/new", params={"offset": "-1"}).status_code == 404
        client.put(f"{edge.url}/new", headers=TEXT, content=b"here")
        assert client.get(f"{edge.url}/new", params={"offset": "-1"}).content == b"here"


def test_events_reach_their_reader_through_the_cache_as_they_come(edge: Edge) -> None:
    httpx.put(f"{edge.origin}/events", headers=TEXT, content=b"first")

    def append() -> None:
        time.sleep(1.0)
        httpx.post(f"{edge.origin}/events", headers=TEXT, content=b"second")

    appending = threading.Thread(target=append)
    appending.start()
    began, arrived = time.monotonic(), dict[str, float]()
    with httpx.stream("GET", f"{edge.url}/events", params={"offset": "-1", "live": "sse"}, timeout=20) as answer:
        text = ""
        for piece in answer.iter_text():
            text += piece
            for word in ("first", "second"):
                if word in text:
                    arrived.setdefault(word, time.monotonic() - began)
            if "second" in text:
                break
    appending.join()
    assert arrived["first"] < 1.0 <= arrived["second"] < 10.0


def test_two_tokens_do_not_share_what_is_kept(sqlite_path: Path, tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    with edge_over(sqlite_path, tmp_path / "nginx", "--bearer-token", "one,two") as edge, httpx.Client() as client:
        one, two = ({"Authorization": f"Bearer {token}"} for token in ("one", "two"))
        client.put(f"{edge.url}/a", headers=TEXT | one, content=b"x" * 9000)
        for _ in range(2):
            answer = client.get(f"{edge.url}/a", params={"offset": "-1"}, headers=one)
            assert answer.headers["cache-control"].startswith("private")
            assert answer.headers["x-cache"] != "HIT"
        assert client.get(f"{edge.url}/a", params={"offset": "-1"}, headers=two).status_code == 200
        assert client.get(f"{edge.url}/a", params={"offset": "-1"}).status_code == 401
