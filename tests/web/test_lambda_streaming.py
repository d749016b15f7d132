"""The streaming function behind its adapter, as the template describes it: events are there when they happen."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from durable_streams_client import AsyncClient
from yarl import URL

from handler.settings import parse_duration
from tests.bucket.servers import CREDENTIALS, S3Server
from tests.web.edge import template
from tests.web.lambda_host import FunctionFailed
from tests.web.streaming_host import StreamingHost, StreamingUrl, variables_of

SECRET = "only CloudFront knows"
TEXT = {"content-type": "text/plain"}
EVENTS_SECONDS = 3.0  # the template's 50 s are more than a test should take
MARGIN_SECONDS = 5.0  # of an invocation's time, for what comes before an event stream and after it

FEW_CONNECTIONS = 3


class Deployed:
    """The function, and requests to it."""

    def __init__(self, host: StreamingHost, url: str, session: aiohttp.ClientSession) -> None:
        self.host = host
        self.url = url
        self._session = session

    def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> "aiohttp.client._RequestContextManager":
        """Send a request; the path goes out as it is."""
        return self._session.request(method, URL(self.url + path, encoded=True), data=body or None, headers=headers)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return the whole answer."""
        async with self.open(method, path, body, headers) as response:
            return response.status, response.headers, await response.read()


Deploy = Callable[..., Any]


@pytest.fixture
def deploy(web_adapter: Path, streaming_bundle: Path, minio: S3Server, minio_bucket: str, tmp_path: Path) -> Deploy:
    """Deploys the function with the template's variables; others may be given, and an invocation's time."""

    @asynccontextmanager
    async def deployed(
        *, milliseconds: int = 30_000, start_seconds: float = 60.0, **others: str
    ) -> AsyncIterator[Deployed]:
        variables = variables_of("Streaming", {"Bucket": minio_bucket.removeprefix("s3://"), "OriginSecret": SECRET})
        environment = {
            **variables,
            **CREDENTIALS,
            "DURABLE_STREAMS_ENDPOINT_URL": minio.endpoint_url,
            "DURABLE_STREAMS_LONG_POLL_TIMEOUT": "1s",
            "DURABLE_STREAMS_SSE_TIMEOUT": f"{EVENTS_SECONDS}s",
            **others,
        }
        host = StreamingHost(
            web_adapter,
            streaming_bundle,
            environment,
            tmp_path,
            milliseconds=milliseconds,
            start_seconds=start_seconds,
        )
        front = StreamingUrl(host, SECRET)
        await front.start()
        try:
            async with aiohttp.ClientSession() as session:
                yield Deployed(host, front.url, session)
                await host.settle()
        finally:
            await front.aclose()
            await host.aclose()

    return deployed


@pytest.fixture
async def function(deploy: Deploy) -> AsyncIterator[Deployed]:
    async with deploy() as deployed:
        yield deployed
        assert deployed.host.failures == []
        for sandbox in deployed.host.sandboxes:
            assert sandbox.api.errors == []
            assert sandbox.api.extensions == ["lambda-adapter"]


async def test_an_append_made_while_events_are_sent_is_among_them(function: Deployed) -> None:
    await function.ask("PUT", "/a", b"first", TEXT)
    await function.host.warm(1)  # to start one takes a busy machine longer than events are sent here
    async with function.open("GET", "/a?offset=-1&live=sse") as response:
        received = b""
        async for piece in response.content.iter_any():
            received += piece
            if b"upToDate" in received:
                break
        assert b"data:first\n" in received
        assert b"second" not in received
        # Another sandbox takes it: the first one is busy with the events.
        assert (await function.ask("POST", "/a", b"second", TEXT))[0] == 204
        appended = time.monotonic()
        async for piece in response.content.iter_any():
            received += piece
            if b"data:second\n" in received:
                break
        assert time.monotonic() - appended < EVENTS_SECONDS / 2
        assert not response.content.at_eof()
        rest = await response.content.read()
    assert b"second" not in rest
    assert len(function.host.sandboxes) == 2


async def test_events_end_before_the_invocation_does_and_say_where_to_go_on(function: Deployed) -> None:
    await function.ask("PUT", "/a", b"first", TEXT)
    began = time.monotonic()
    status, _, body = await function.ask("GET", "/a?offset=now&live=sse")
    assert status == 200
    assert EVENTS_SECONDS <= time.monotonic() - began < EVENTS_SECONDS + MARGIN_SECONDS
    # Complete: the control event is there with the blank line that ends it.
    *_, last = body.decode().strip("\n").split("\n\n")
    assert body.endswith(b"\n\n")
    name, told = last.split("\n")
    assert name == "event: control"
    offset = json.loads(told.removeprefix("data:"))["streamNextOffset"]
    await function.ask("POST", "/a", b"second", TEXT)
    assert (await function.ask("GET", f"/a?offset={offset}"))[2] == b"second"


def test_the_templates_events_end_before_its_invocations_and_before_cloudfront_gives_up() -> None:
    described = template()
    variables = variables_of("Streaming", {"Bucket": "b", "OriginSecret": "s"})
    seconds = parse_duration(variables["DURABLE_STREAMS_SSE_TIMEOUT"])
    longest = described["Parameters"]["MaxWaitSeconds"]["MaxValue"]
    assert max(seconds, longest) + MARGIN_SECONDS <= described["Globals"]["Function"]["Timeout"]
    origins = described["Resources"]["Cdn"]["Properties"]["DistributionConfig"]["Origins"]
    (streaming,) = (each["If"][1] for each in origins if each.get("If", [""])[0] == "HasStreaming")
    assert seconds < streaming["CustomOriginConfig"]["OriginReadTimeout"]


async def test_headers_and_paths_arrive_as_they_were_sent(function: Deployed) -> None:
    status, headers, _ = await function.ask("PUT", "/v1/a%2Fb%20%C3%BC", b"x", {**TEXT, "Stream-TTL": "3600"})
    assert status == 201
    assert headers["location"] == f"{function.url}/v1/a%2Fb%20%C3%BC"
    status, headers, _ = await function.ask("HEAD", "/v1/a%2Fb%20%C3%BC")
    assert (status, headers["stream-ttl"]) == (200, "3600")
    assert (await function.ask("HEAD", "/v1/a/b%20%C3%BC"))[0] == 404
    status, headers, _ = await function.ask("GET", "/v1/a%2Fb%20%C3%BC?offset=-1&live=sse")
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert "content-length" not in headers
    assert headers["cache-control"] == "no-cache"


async def test_bytes_are_passed_on_as_they_are(function: Deployed) -> None:
    every_byte = bytes(range(256)) * 4000
    kind = {"content-type": "application/octet-stream"}
    await function.ask("PUT", "/bytes", b"", kind)
    assert (await function.ask("POST", "/bytes", every_byte, kind))[0] == 204
    assert (await function.ask("GET", "/bytes?offset=-1"))[2] == every_byte
    status, headers, _ = await function.ask("GET", "/bytes?offset=-1&live=sse")
    assert (status, headers["stream-sse-data-encoding"]) == (200, "base64")


async def test_everything_else_is_answered_too(function: Deployed) -> None:
    assert (await function.ask("PUT", "/a", b"first\n", TEXT))[0] == 201
    status, headers, _ = await function.ask("POST", "/a", b"second\n", TEXT)
    tail = headers["stream-next-offset"]
    assert status == 204
    assert (await function.ask("GET", "/a?offset=-1"))[2] == b"first\nsecond\n"
    status, headers, body = await function.ask("GET", f"/a?offset={tail}&live=long-poll")
    assert (status, headers["stream-up-to-date"], body) == (204, "true", b"")
    await function.host.warm(1)  # for the append: to start one takes a busy machine longer than the wait here
    waiting = asyncio.create_task(function.ask("GET", f"/a?offset={tail}&live=long-poll"))
    await function.ask("POST", "/a", b"third\n", TEXT)
    assert (await waiting)[2] == b"third\n"
    assert (await function.ask("OPTIONS", "/a?live=sse"))[0] == 204
    assert (await function.ask("DELETE", "/a"))[0] == 204
    status, _, body = await function.ask("GET", "/a?offset=-1&live=sse")
    assert (status, json.loads(body)["code"]) == (404, "stream-not-found")


async def test_whoever_follows_over_many_invocations_gets_every_message_once(deploy: Deploy) -> None:
    sent: list[int] = []

    async with deploy(DURABLE_STREAMS_SSE_TIMEOUT="1200ms") as function, AsyncClient(function.url) as client:

        def connections() -> int:
            return sum("live=sse" in query for query in function.host.queries)

        stream = client.stream("/orders")
        await stream.create(content_type="application/json")

        async def write() -> None:
            while connections() <= FEW_CONNECTIONS:
                sent.append(len(sent))
                await stream.append_json({"n": sent[-1]})
            await stream.close()

        writing = asyncio.create_task(write())
        followed = [order["n"] async for order in stream.read(live="sse").json()]
        await writing
        assert followed == sent
        await function.host.settle()
        assert function.host.failures == []


async def test_a_reader_who_leaves_does_no_harm(function: Deployed) -> None:
    await function.ask("PUT", "/a", b"first", TEXT)
    async with function.open("GET", "/a?offset=-1&live=sse") as response:
        await response.content.readany()
        response.close()
    began = time.monotonic()
    await function.host.settle()
    assert time.monotonic() - began > EVENTS_SECONDS / 2, "Lambda does not tell, and the invocation takes its time"
    assert (await function.ask("GET", "/a?offset=-1"))[2] == b"first"


async def test_only_the_cdn_is_let_in(deploy: Deploy) -> None:
    async with deploy(DURABLE_STREAMS_ORIGIN_SECRET="another") as function:
        assert (await function.ask("PUT", "/a", b"", TEXT))[0] == 403


async def test_no_event_is_asked_for_before_the_server_has_its_store(deploy: Deploy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nowhere = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    async with deploy(start_seconds=4.0, DURABLE_STREAMS_ENDPOINT_URL=nowhere) as function:
        with pytest.raises(FunctionFailed, match=r"not done within [\s\S]*Durable Streams on"):
            await function.host.warm(1)


async def test_a_function_that_is_told_nonsense_says_so(deploy: Deploy) -> None:
    async with deploy(DURABLE_STREAMS_LONG_POLL_TIMEOUT="soon") as function:
        with pytest.raises(FunctionFailed, match="DURABLE_STREAMS_LONG_POLL_TIMEOUT 'soon' cannot be used"):
            await function.host.warm(1)


async def test_an_invocation_that_would_outlive_its_time_is_seen_by_these_tests(deploy: Deploy) -> None:
    async with deploy(DURABLE_STREAMS_SSE_TIMEOUT="60s", milliseconds=3000) as function:
        await function.ask("PUT", "/a", b"first", TEXT)
        with pytest.raises(aiohttp.ClientPayloadError):
            await function.ask("GET", "/a?offset=-1&live=sse")
        await function.host.settle()
        assert ["not done within" in failure for failure in function.host.failures] == [True]
