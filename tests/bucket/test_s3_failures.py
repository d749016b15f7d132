"""What S3's failures mean to the caller: whether anything was written. On a server that is told how to fail."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from storage.objects import (
    Always,
    Condition,
    IfAbsent,
    IfMatch,
    Objects,
    OutcomeUnknown,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from storage.opening import StoreOptions, open_objects
from storage.s3_refusals import READ_ATTEMPTS

HANG_UP = b""  # the connection is closed where an answer should have come
SILENCE = b"silence"  # no answer comes at all

MOMENT = b"Last-Modified: Tue, 24 Nov 2026 19:00:00 GMT\r\n"
OBJECT = b'HTTP/1.1 200 OK\r\nETag: "e"\r\n' + MOMENT + b"Content-Length: 4\r\n\r\nbody"
WRITTEN = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'


def refusal(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>" if code else ""
    return (
        f"HTTP/1.1 {status} So\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )


class Scripted:
    """A server that gives the answers it was told to, in order, the last one for ever, and counts the requests."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                self.requests.append(head)
                answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
                if answer == HANG_UP:
                    break
                if answer == SILENCE:
                    await reader.read()
                    break
                writer.write(answer)
                if answer == OBJECT[:-1]:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def store_on(*answers: bytes) -> AsyncIterator[tuple[Objects, Scripted]]:
    """Open a store on a server that gives these answers."""
    scripted = Scripted(answers)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = await open_objects(
        "s3://bucket", StoreOptions(endpoint_url=f"http://127.0.0.1:{port}", read_timeout=0.3, connect_timeout=0.3)
    )
    try:
        yield store, scripted
    finally:
        await store.aclose()
        server.close()
        await server.wait_closed()


CONDITIONS: list[Condition] = [IfAbsent(), IfMatch('"0"'), Always()]

FAILURES = [
    (HANG_UP, OutcomeUnknown),
    (SILENCE, OutcomeUnknown),
    (refusal(400, "RequestTimeout"), OutcomeUnknown),
    (refusal(400, "InvalidArgument"), StoreRefused),
    (refusal(403, "AccessDenied"), StoreRefused),
    (refusal(404, "NoSuchBucket"), StoreRefused),
    (refusal(409, "ConditionalRequestConflict"), OutcomeUnknown),
    (refusal(429, "TooManyRequests"), StoreUnavailable),
    (refusal(500, "InternalError"), OutcomeUnknown),
    (refusal(501, "NotImplemented"), StoreRefused),
    (refusal(503, "SlowDown"), OutcomeUnknown),
    (refusal(502, ""), OutcomeUnknown),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: type(condition).__name__)
@pytest.mark.parametrize(("answer", "expected"), FAILURES)
async def test_a_write_is_sent_once_and_its_failure_says_whether_it_may_have_happened(
    answer: bytes, expected: type[StoreError], condition: Condition
) -> None:
    async with store_on(answer) as (store, server):
        with pytest.raises(expected, match=r"^s3://bucket: put of 'key': "):
            await store.put("key", b"body", condition)
        assert len(server.requests) == 1


@pytest.mark.parametrize("break_off", [HANG_UP, SILENCE])
async def test_a_write_is_sent_once_even_if_an_old_connection_breaks_under_it(break_off: bytes) -> None:
    async with store_on(WRITTEN, break_off) as (store, server):
        assert await store.put("first", b"body", IfAbsent()) == '"e"'
        with pytest.raises(OutcomeUnknown):
            await store.put("second", b"body", IfAbsent())
        assert (server.connections, len(server.requests)) == (1, 2)


async def test_a_write_that_was_turned_away_to_another_region_goes_there() -> None:
    elsewhere = b"HTTP/1.1 301 So\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n"
    async with store_on(elsewhere, WRITTEN) as (store, server):
        assert await store.put("key", b"body", IfAbsent()) == '"e"'
        assert [b"/eu-west-1/s3/" in request for request in server.requests] == [False, True]


@pytest.mark.parametrize(("answer", "expected"), FAILURES)
async def test_a_delete_is_sent_once_as_well(answer: bytes, expected: type[StoreError]) -> None:
    async with store_on(answer) as (store, server):
        with pytest.raises(expected, match=r"^s3://bucket: delete of 'key': "):
            await store.delete("key")
        assert len(server.requests) == 1


async def test_a_condition_that_did_not_hold_is_no_failure() -> None:
    async with store_on(refusal(412, "PreconditionFailed")) as (store, _):
        assert await store.put("key", b"", IfAbsent()) is None
        assert await store.put("key", b"", IfMatch('"0"')) is None
    async with store_on(refusal(404, "NoSuchKey")) as (store, _):
        assert await store.put("key", b"", IfMatch('"0"')) is None


@pytest.mark.parametrize(
    "first", [HANG_UP, SILENCE, refusal(500, ""), refusal(503, "SlowDown"), refusal(429, ""), OBJECT[:-1]]
)
async def test_a_read_is_tried_again_where_that_may_help(first: bytes) -> None:
    async with store_on(first, OBJECT) as (store, server):
        found = await store.get("key")
        assert found is not None
        assert found.body == b"body"
        assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [HANG_UP, refusal(503, "SlowDown"), OBJECT[:-1]])
async def test_a_read_is_not_tried_for_ever(answer: bytes) -> None:
    async with store_on(answer) as (store, server):
        with pytest.raises(StoreUnavailable, match=r"^s3://bucket: get of 'key': "):
            await store.get("key")
        assert len(server.requests) == READ_ATTEMPTS


async def test_parts_that_break_off_say_so_and_a_refusal_comes_before_them() -> None:
    async with store_on(OBJECT[:-1], OBJECT, refusal(503, "SlowDown"), OBJECT, refusal(403, "AccessDenied")) as (
        store,
        scripted,
    ):
        torn = await store.get_parts("key")
        assert torn is not None
        with pytest.raises(StoreUnavailable):
            [part async for part in torn.parts]
        for sent in (2, 4):  # the second one is tried again until it begins
            arriving = await store.get_parts("key")
            assert arriving is not None
            assert [part async for part in arriving.parts] == [b"body"]
            assert len(scripted.requests) == sent
        with pytest.raises(StoreRefused):
            await store.get_parts("key")


async def test_a_read_that_is_refused_is_not_tried_again() -> None:
    async with store_on(refusal(403, "ExpiredToken")) as (store, server):
        with pytest.raises(StoreRefused, match="the credentials have expired; get new ones"):
            await store.list("")
        assert len(server.requests) == 1


async def test_where_nobody_listens_nothing_was_written() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    store = await open_objects("s3://bucket", StoreOptions(endpoint_url=f"http://127.0.0.1:{port}"))
    for write in (store.put("key", b"", IfAbsent()), store.delete("key")):
        with pytest.raises(StoreUnavailable):
            await write
    await store.aclose()


async def test_without_credentials_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with store_on(WRITTEN) as (store, server):
        with pytest.raises(StoreRefused, match="no credentials; set AWS_ACCESS_KEY_ID"):
            await store.put("key", b"", IfAbsent())
        assert server.requests == []


@pytest.mark.parametrize("url", ["localhost:9000", "http://", "no url"])
async def test_an_endpoint_that_is_no_url_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=url):
        await open_objects("s3://bucket", StoreOptions(endpoint_url=url))


@pytest.mark.parametrize(
    ("options", "target"),
    [
        (StoreOptions(endpoint_url="http://s3.test"), b"http://s3.test/bucket/a%252Fb/~0"),
        (StoreOptions(endpoint_url="http://s3.test", addressing="path"), b"http://s3.test/bucket/a%252Fb/~0"),
        (StoreOptions(endpoint_url="http://s3.test", addressing="virtual"), b"http://bucket.s3.test/a%252Fb/~0"),
    ],
)
async def test_the_bucket_stands_in_the_path_or_in_the_host(
    options: StoreOptions, target: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Scripted([WRITTEN])
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    store = await open_objects("s3://bucket", options)
    await store.put("a%2Fb/~0", b"", Always())
    await store.aclose()
    listening.close()
    assert proxy.requests[0].startswith(b"PUT " + target + b" HTTP/1.1\r\n")


async def test_a_write_costs_one_round_trip() -> None:
    async with store_on(WRITTEN) as (store, server):
        await store.put("key", b"body", IfAbsent())
        assert b"\r\nexpect:" not in server.requests[0].lower()
        assert b"\r\nif-none-match: *\r\n" in server.requests[0].lower()
