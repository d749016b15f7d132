"""The application below a prefix of another one: the same streams, under the URLs that clients see."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from handler.app import create_app
from handler.body import Receive, Scope, Send
from storage.log import Log
from storage.opening import open_objects
from tests.web.harness import NEXT_OFFSET, TEXT, client_of


async def own_page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("of the application around it")


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    objects = await open_objects("memory:")
    log = Log(objects)
    yield log
    await log.aclose()
    await objects.aclose()


@pytest.fixture
async def client(log: Log) -> AsyncIterator[httpx.AsyncClient]:
    streams = create_app(log)
    inner = Starlette(routes=[Mount("/deep", app=streams)])
    app = Starlette(
        routes=[Route("/own", own_page), Mount("/v1/streams", app=streams), Mount("/a b", app=inner)],
    )
    async with client_of(app) as client:
        yield client


async def test_the_application_around_it_keeps_its_own_pages(client: httpx.AsyncClient) -> None:
    assert (await client.get("/own")).text == "of the application around it"


@pytest.mark.parametrize("prefix", ["/v1/streams", "/a%20b/deep"])
async def test_a_stream_is_named_by_what_comes_below_the_prefix(
    client: httpx.AsyncClient, log: Log, prefix: str
) -> None:
    created = await client.put(f"{prefix}/chat/a%2Fb", content=b"one", headers=TEXT)
    assert created.status_code == 201
    assert created.headers["location"] == f"http://streams.example{prefix}/chat/a%2Fb"
    assert (await client.get(f"{prefix}/chat/a%2fb")).text == "one"
    head = await client.head(f"{prefix}/chat/a%2Fb")
    assert head.headers[NEXT_OFFSET] == created.headers[NEXT_OFFSET]
    assert (await client.get("/v1/streams/chat/a%2Fb")).text == "one"


async def test_a_fork_names_its_source_by_the_whole_path_of_its_url(client: httpx.AsyncClient) -> None:
    await client.put("/v1/streams/source", content=b"one", headers=TEXT)
    forked = await client.put("/v1/streams/fork", headers={"Stream-Forked-From": "/v1/streams/source"})
    assert forked.status_code == 201
    assert (await client.get("/v1/streams/fork")).text == "one"


async def test_the_health_and_the_reserved_paths_move_with_the_prefix(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/streams/__ds/health")).json()["status"] == "ok"
    assert (await client.get("/v1/streams/__ds/nothing")).status_code == 404
    assert (await client.put("/v1/streams/a/__ds/b", headers=TEXT)).status_code == 404


async def test_a_path_is_read_decoded_where_the_server_has_no_raw_one(log: Log) -> None:
    app = create_app(log)

    async def without_raw_path(scope: Scope, receive: Receive, send: Send) -> None:
        await app({key: value for key, value in scope.items() if key != "raw_path"}, receive, send)

    async with client_of(without_raw_path) as client:
        assert (await client.put("/caf%C3%A9", content=b"x", headers=TEXT)).status_code == 201
    async with client_of(app) as client:
        assert (await client.get("/caf%C3%A9")).text == "x"


async def test_a_server_that_strips_the_prefix_from_the_raw_path_is_understood(log: Log) -> None:
    app = create_app(log)

    async def stripping(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": "/base"}, receive, send)

    async with client_of(stripping) as client:
        created = await client.put("/s", content=b"x", headers=TEXT)
        assert created.headers["location"] == "http://streams.example/base/s"
    async with client_of(app) as client:
        assert (await client.get("/s")).text == "x"
