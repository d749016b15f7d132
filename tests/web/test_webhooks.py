"""Where webhooks end up: redirects, names that lie, receivers that misbehave. Section 12.8."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from handler.webhooks import ANSWER_BYTES, Webhooks
from storage.core.subscription import Config, Cursor, Kind, Link, Phase, Subscription, Wake
from storage.keyring import Keyring
from storage.opening import open_objects
from storage.subscriptions.courier import Arrived, Delivery, Refused, statuses

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Trap:
    """A receiver on loopback that counts what reaches it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[str] = []
        self.answers: dict[str, Handler] = {}

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@asynccontextmanager
async def trap() -> AsyncIterator[Trap]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Trap(listener.getsockname()[1])

    async def receive(request: web.Request) -> web.StreamResponse:
        made.requests.append(f"{request.method} {request.path}")
        await request.read()
        return await made.answers[request.path](request)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    yield made
    await runner.cleanup()


async def deliver(url: str, *, allow_loopback: bool = True, seconds: float = 5.0) -> Arrived | Refused:
    store = await open_objects("memory:")
    webhooks = Webhooks(Keyring(store), allow_loopback=allow_loopback)
    tail = Cursor(1, 5, "0000000000000001_0000000000000005")
    wake = Wake("w_1", "a", Phase.SENDING, "1", {"a": tail})
    config = Config(Kind.WEBHOOK, "*", (), url, None, 30_000, None)
    links = {"a": Link(False, Cursor(1, 0, "-1"))}
    subscription = Subscription("r", "s", "i", "w", config, "http://h", 0, 1, links, wake)
    try:
        return await webhooks.deliver(Delivery(subscription, statuses(subscription), seconds))
    finally:
        await webhooks.aclose()
        await store.aclose()


def answering(body: bytes, status: int = 200) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return answer


def redirecting(location: str, status: int = 307) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return answer


@pytest.mark.parametrize(
    ("body", "done"),
    [
        (b'{"done": true}', True),
        (b'{"done": true, "more": [1]}', True),
        (b'{"done": false}', False),
        (b'{"done": "true"}', False),
        (b'{"done": 1}', False),
        (b"{}", False),
        (b"", False),
        (b"<html>", False),
        (b"[" * 5_000, False),
        (b'{"done": true}' + b" " * ANSWER_BYTES, False),
    ],
)
async def test_only_a_plain_done_is_done(body: bytes, done: bool) -> None:
    async with trap() as made:
        made.answers["/"] = answering(body)
        assert await deliver(made.url("/")) == Arrived(done)


@pytest.mark.parametrize("status", [301, 302, 303, 400, 404, 410, 500, 503])
async def test_anything_but_success_is_a_failure(status: int) -> None:
    async with trap() as made:
        made.answers["/"] = answering(b'{"done": true}', status)
        assert isinstance(await deliver(made.url("/")), Refused)


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_that_keeps_the_method_is_followed(status: int) -> None:
    async with trap() as made:
        made.answers["/"] = redirecting("/there", status)
        made.answers["/there"] = answering(b'{"done": true}')
        assert await deliver(made.url("/")) == Arrived(True)
        assert made.requests == ["POST /", "POST /there"]


async def test_redirects_do_not_go_on_for_ever() -> None:
    async with trap() as made:
        made.answers["/"] = redirecting("/")
        assert isinstance(await deliver(made.url("/")), Refused)
        assert len(made.requests) == 4


@pytest.mark.parametrize(
    "target",
    ["https://10.0.0.1/", "http://169.254.169.254/latest", "http://x.example/", "file:///etc/passwd", "//[::]/"],
)
async def test_a_redirect_leads_to_no_place_that_a_url_could_not_name(target: str) -> None:
    async with trap() as made:
        made.answers["/"] = redirecting(target)
        refused = await deliver(made.url("/"))
        assert isinstance(refused, Refused)
        assert "is not sent to" in refused.why


async def test_a_name_that_resolves_to_this_machine_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is a public one by its text; what the resolver says of it is the attacker's."""
    async with trap() as made:
        made.answers["/"] = answering(b'{"done": true}')
        loop = asyncio.get_running_loop()
        genuine = loop.getaddrinfo

        async def lying(host: Any, port: Any, **options: Any) -> Any:
            return await genuine("127.0.0.1" if host == "hooks.example" else host, port, **options)

        monkeypatch.setattr(loop, "getaddrinfo", lying)
        refused = await deliver(f"https://hooks.example:{made.port}/")
        assert isinstance(refused, Refused)
        assert "no address that webhooks are sent to" in refused.why
        assert made.requests == []


async def test_a_number_that_stands_for_loopback_is_not_connected_to() -> None:
    async with trap() as made:
        for host in ("2130706433", "0x7f000001", "127.1"):
            assert isinstance(await deliver(f"https://{host}:{made.port}/"), Refused)
        assert made.requests == []


async def test_localhost_is_connected_to_only_where_that_is_allowed() -> None:
    async with trap() as made:
        made.answers["/"] = answering(b"{}")
        assert await deliver(made.url("/", "localhost")) == Arrived(False)
        assert isinstance(await deliver(made.url("/", "localhost"), allow_loopback=False), Refused)
        assert len(made.requests) == 1


async def test_a_receiver_that_is_too_slow_or_not_there_is_a_failure() -> None:
    async with trap() as made:
        never = asyncio.Event()

        async def hang(request: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response()

        made.answers["/"] = hang
        refused = await deliver(made.url("/"), seconds=0.2)
        assert isinstance(refused, Refused)
        assert "did not answer" in refused.why
        never.set()
    assert isinstance(await deliver(made.url("/")), Refused)
