"""Lambda's Runtime API and Extensions API as one sandbox sees them, over HTTP. Knows no process and no front end.

After AWS's documentation of custom runtimes, of response streaming and of extensions. A streamed response is a prelude
in JSON, eight NULs, and the body as it comes; a buffered one is what Mangum answers too.
"""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web

from tests.web.lambda_host import LIMIT_BYTES, FunctionFailed, HttpServer

ARN = "arn:aws:lambda:us-east-1:123456789012:function:streaming"
STREAMED = "application/vnd.awslambda.http-integration-response"
DELIMITER = bytes(8)
BROKEN = b"Lambda-Runtime-Function-Error-Type"  # a trailer; the Rust runtime writes it into the body


class Prelude(msgspec.Struct, frozen=True, rename="camel"):
    """What a response begins with."""

    status_code: int = 200
    headers: Mapping[str, str | list[str]] = {}
    cookies: Sequence[str] = ()


class Invocation:
    """One event on its way through a sandbox, and the answer on its way back."""

    def __init__(self, event: Any, milliseconds: int) -> None:
        self.id = str(uuid4())
        self.event = event
        self.deadline_ms = round(time.time() * 1000) + milliseconds
        self.is_streamed = False
        self.is_complete = False  # the whole response has arrived
        self._prelude: asyncio.Future[Prelude] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def prelude(self) -> Prelude:
        """Return status and headers, as soon as they are there. Raises FunctionFailed."""
        return await asyncio.shield(self._prelude)

    async def piece(self) -> bytes:
        """Return the next piece of the body, nothing at its end."""
        return await self._pieces.get()

    def begin(self, prelude: Prelude) -> None:
        """Take status and headers."""
        self._prelude.set_result(prelude)

    def add(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if piece:
            self._pieces.put_nowait(piece)

    def end(self, error: FunctionFailed | None = None) -> None:
        """Take the end of the body, or why there is none."""
        if error is not None and not self._prelude.done():
            self._prelude.set_exception(error)
            self._prelude.exception()  # whoever asks is told; it need not be anybody
        self.is_complete = error is None
        self._pieces.put_nowait(b"")


class RuntimeApi(HttpServer):
    """What `AWS_LAMBDA_RUNTIME_API` names."""

    def __init__(self) -> None:
        super().__init__()
        self.extensions: list[str] = []
        self.errors: list[str] = []
        self.is_idle = asyncio.Event()  # the runtime has nothing to do, and asks for an event
        self._events: asyncio.Queue[Invocation] = asyncio.Queue()
        self._running: Invocation | None = None

    def send(self, invocation: Invocation) -> None:
        """Hand out an event to the runtime, which asks already."""
        assert self.is_idle.is_set()
        self.is_idle.clear()
        self._events.put_nowait(invocation)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer the runtime or an extension."""
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["2020-01-01", "extension", "register"]:
                return await self._register(request)
            case "GET", ["2020-01-01", "extension", "event", "next"]:
                assert "Lambda-Extension-Identifier" in request.headers
                await asyncio.Event().wait()  # it registers for no event, and gets none
                return web.Response()
            case "GET", ["2018-06-01", "runtime", "invocation", "next"]:
                return await self._next()
            case "POST", ["2018-06-01", "runtime", "invocation", id_, "response"]:
                return await self._respond(self._known(id_), request)
            case "POST", ["2018-06-01", "runtime", "invocation", id_, "error"]:
                return await self._fail(self._known(id_), request)
            case _:
                self.errors.append(f"{request.method} {request.path} is no part of the API")
                return web.json_response({"errorType": "InvalidPath"}, status=404)

    async def _register(self, request: web.Request) -> web.Response:
        self.extensions.append(request.headers["Lambda-Extension-Name"])
        assert json.loads(await request.read()) == {"events": []}
        told = {"functionName": "streaming", "functionVersion": "1", "handler": "run.sh"}
        return web.json_response(told, headers={"Lambda-Extension-Identifier": str(uuid4())})

    async def _next(self) -> web.Response:
        self.is_idle.set()
        invocation = self._running = await self._events.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
        }
        return web.json_response(invocation.event, headers=headers)

    def _known(self, id_: str) -> Invocation:
        assert self._running is not None
        assert self._running.id == id_
        return self._running

    async def _respond(self, invocation: Invocation, request: web.Request) -> web.Response:
        try:
            if request.headers.get("Lambda-Runtime-Function-Response-Mode") == "streaming":
                await self._stream(invocation, request)
            else:
                self._buffer(invocation, await request.read())
        except (FunctionFailed, ConnectionError, web.HTTPException, msgspec.MsgspecError) as error:
            self.errors.append(f"a response was not complete: {error!r}")
            invocation.end(FunctionFailed(str(error)))
        else:
            invocation.end()
        return web.json_response({"status": "OK"}, status=202)

    async def _stream(self, invocation: Invocation, request: web.Request) -> None:
        if request.headers["Content-Type"] != STREAMED or request.headers.get("Transfer-Encoding") != "chunked":
            raise FunctionFailed(f"a streamed response has these headers: {dict(request.headers)}")
        invocation.is_streamed = True
        began, has_begun = b"", False
        async for piece in request.content.iter_any():
            if has_begun:
                if piece.startswith(BROKEN):
                    raise FunctionFailed(piece.decode())
                invocation.add(piece)
                continue
            began += piece
            text, delimiter, body = began.partition(DELIMITER)
            if delimiter:
                has_begun = True
                invocation.begin(msgspec.json.decode(text, type=Prelude))
                invocation.add(body)
        if not has_begun:
            raise FunctionFailed("a streamed response ended within its prelude")

    def _buffer(self, invocation: Invocation, answer: bytes) -> None:
        if len(answer) > LIMIT_BYTES:
            raise FunctionFailed("the answer is larger than Lambda passes on")
        told = json.loads(answer)
        body = told.get("body") or ""
        invocation.begin(msgspec.convert(told, Prelude))
        invocation.add(b64decode(body) if told.get("isBase64Encoded") else body.encode())

    async def _fail(self, invocation: Invocation, request: web.Request) -> web.Response:
        said = (await request.read()).decode()
        self.errors.append(said)
        invocation.end(FunctionFailed(said))
        return web.json_response({"status": "OK"}, status=202)
