"""Our server with faults on demand, for the public client cases: section 14 of the README beside them.

    python -m tests.sdk.injection [--port N] [--store URL]

An ASGI application around the real one, in tests only. It prints `listening <port>` once it serves. Waits are short,
because the cases want a long-poll to be answered well within a second.
"""

import argparse
import asyncio
import json
import random
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from handler.app import AppSettings, create_app
from handler.live import LiveSettings
from storage.log import Log
from storage.opening import open_objects

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTROL_PATH = "/_test/inject-error"
HOLD_SECONDS = 0.5

KINDS = ("status", "delayMs", "dropConnection", "truncateBodyBytes", "corruptBody", "injectSseEvent")


class FaultInjection:
    """Hold at most one fault per path, and let requests run into it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._faults: dict[str, dict[str, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or fail it as was asked for."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == CONTROL_PATH:
            await self._control(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _control(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "DELETE":
            self._faults.clear()
            return await answer(send, 200, b'{"ok": true}')
        if scope["method"] != "POST":
            return await answer(send, 405, b"POST or DELETE")
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        try:
            fault = json.loads(body)
            path = fault["path"]
        except (ValueError, KeyError, TypeError):
            return await answer(send, 400, b"a JSON object with a path")
        if not any(kind in fault for kind in KINDS):
            return await answer(send, 400, b"no kind of fault")
        self._faults[path] = {"count": 1, **fault}
        return await answer(send, 200, b'{"ok": true}')

    def _take(self, scope: Scope) -> dict[str, Any] | None:
        fault = self._faults.get(scope["path"])
        if fault is None or scope["method"] == "OPTIONS":
            return None
        if str(fault.get("method", scope["method"])).upper() != scope["method"]:
            return None
        if random.random() >= fault.get("probability", 1):
            return None
        fault["count"] -= 1
        if fault["count"] <= 0:
            del self._faults[scope["path"]]
        return fault

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._take(scope)
        if fault is None:
            return await self._app(scope, receive, send)
        if fault.get("delayMs"):
            await asyncio.sleep((fault["delayMs"] + random.random() * fault.get("jitterMs", 0)) / 1000)
        if fault.get("dropConnection"):
            # uvicorn keeps the transport to itself; an application that raises before it answered has it closed, but
            # says 500 first. So the socket is shut under it.
            abort(send)
            return None
        if "status" in fault:
            headers = [(b"retry-after", str(fault["retryAfter"]).encode())] if "retryAfter" in fault else []
            return await answer(send, fault["status"], b"Injected error for testing", headers)
        return await self._app(scope, receive, BodyFault(fault, send))


class BodyFault:
    """A `send` that spoils what goes through: the body of a 200, or the beginning of an event stream."""

    def __init__(self, fault: dict[str, Any], send: Send) -> None:
        self._fault = fault
        self._send = send
        self._start: Message = {}
        self._events = False
        self._begun = False

    async def __call__(self, message: Message) -> None:
        """Pass a message on, spoilt."""
        if message["type"] == "http.response.start":
            self._start = message
            self._events = dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream")
            if self._events or message["status"] != 200:
                await self._send(message)
            return
        if self._events:
            if not self._begun and "injectSseEvent" in self._fault:
                event = self._fault["injectSseEvent"]
                text = f"event: {event['eventType']}\ndata: {event['data']}\n\n"
                message = {**message, "body": text.encode() + message.get("body", b"")}
            self._begun = True
        elif self._start["status"] == 200:
            # Our pages are sent in one piece, which is what may be cut here.
            body = self._spoil(message.get("body", b""))
            headers = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
            await self._send({**self._start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
            message = {**message, "body": body}
        await self._send(message)

    def _spoil(self, body: bytes) -> bytes:
        if "truncateBodyBytes" in self._fault:
            body = body[: self._fault["truncateBodyBytes"]]
        return b"XY" + b"Z" * (len(body) - 2) if self._fault.get("corruptBody") and len(body) > 1 else body


def abort(send: Send) -> None:
    """Close the connection that a uvicorn `send` answers on, without a word."""
    cycle = send.__self__  # type: ignore[attr-defined]  # the bound method of uvicorn's request cycle
    cycle.transport.abort()


async def answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Answer with a short text."""
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status, "headers": [length, *(headers or ())]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def serve(port: int, store: str) -> None:
    """Serve until the process is told to stop."""
    objects = await open_objects(store)
    log = Log(objects)
    app = create_app(log, AppSettings(live=LiveSettings(long_poll_seconds=HOLD_SECONDS)))
    listening = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(FaultInjection(app), log_level="warning", timeout_graceful_shutdown=1))
    print(f"listening {listening.getsockname()[1]}", flush=True)
    await server.serve(sockets=[listening])
    await log.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve with faults on demand.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--store", default="memory:")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.store))


if __name__ == "__main__":
    main()
