"""Lambda, as far as a function notices: sandboxes that take one event at a time and stand still in between.

`LambdaHost` keeps a function's sandboxes; `FunctionUrl` is an HTTP server that turns requests into events (payload 2.0)
and answers back; `LambdaApi` takes invocations that nobody waits for; `every` is a schedule. Limits are Lambda's: 6 MB
each way, one event per sandbox, a timeout that kills.
"""

import asyncio
import json
import os
import signal
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

LIMIT_BYTES = 6 * 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("sandbox.py")


class FunctionFailed(Exception):
    """The function raised, answered too much or ran out of time."""


class Sandbox:
    """A process that answers one event at a time. It runs only while it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.invocations = 0
        self._process = process

    @classmethod
    async def start(cls, environment: Mapping[str, str], folder: Path, *, isolated: bool) -> "Sandbox":
        """Start a process and wait until it has loaded the function. `isolated`: with nothing but the folder."""
        flags = ["-I", "-S"] if isolated else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *flags, str(SCRIPT), str(folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), **environment},
            limit=2 * LIMIT_BYTES,
        )
        sandbox = cls(process)
        await sandbox._read()
        sandbox._freeze()
        return sandbox

    async def invoke(self, event: Any, milliseconds: int, entry: str = "handler") -> Any:
        """Return what the function answers. Raises FunctionFailed."""
        self.invocations += 1
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        line = json.dumps({"entry": entry, "event": event, "milliseconds": milliseconds})
        self._process.stdin.write(line.encode() + b"\n")
        try:
            async with asyncio.timeout(milliseconds / 1000):
                told = json.loads(await self._read())
        except TimeoutError:
            await self.kill()
            raise FunctionFailed(f"no answer within {milliseconds} ms") from None
        self._freeze()
        if "error" in told:
            raise FunctionFailed(told["error"])
        return told["answer"]

    @property
    def is_alive(self) -> bool:
        """Say whether it can take another event."""
        return self._process.returncode is None

    def _freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    async def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise FunctionFailed("the function's process ended")
        return line

    async def kill(self) -> None:
        """End it, wherever it is."""
        if self.is_alive:
            self._process.kill()
        await self._process.wait()


class LambdaHost:
    """The sandboxes of one function: the one used last is used first, another is made when all are busy."""

    def __init__(
        self, environment: Mapping[str, str], *, most: int = 8, milliseconds: int = 30_000, folder: Path = ROOT
    ) -> None:
        self.sandboxes: list[Sandbox] = []
        self.failures: list[str] = []
        self._environment = environment
        self._milliseconds = milliseconds
        self._folder = folder
        self._idle: list[Sandbox] = []
        self._room = asyncio.Semaphore(most)

    async def invoke(self, event: Any, entry: str = "handler") -> Any:
        """Return what the function answers, in a sandbox that is free. Raises FunctionFailed."""
        async with self._room:
            sandbox = self._idle.pop() if self._idle else await self._start()
            try:
                return await sandbox.invoke(event, self._milliseconds, entry)
            except FunctionFailed as error:
                self.failures.append(str(error))
                raise
            finally:
                if sandbox.is_alive:
                    self._idle.append(sandbox)

    async def warm(self, number: int) -> None:
        """Have so many sandboxes ready."""
        self._idle += await asyncio.gather(*(self._start() for _ in range(number)))

    async def _start(self) -> Sandbox:
        isolated = self._folder != ROOT
        sandbox = await Sandbox.start(self._environment, self._folder, isolated=isolated)
        self.sandboxes.append(sandbox)
        return sandbox

    async def aclose(self) -> None:
        """End all sandboxes."""
        for sandbox in self.sandboxes:
            await sandbox.kill()


def function_url_event(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the event that a Function URL makes of a request: text as it is, everything else in base64."""
    kind = headers.get("content-type", "")
    is_text = kind.startswith("text/") or kind.split(";")[0] in ("application/json", "application/xml")
    try:
        text = body.decode() if is_text else b64encode(body).decode()
    except UnicodeDecodeError:
        is_text, text = False, b64encode(body).decode()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": dict(headers),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "url",
            "domainName": headers.get("host", ""),
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
        },
        "isBase64Encoded": not is_text and bool(body),
    }
    if body:
        event["body"] = text
    return event


class HttpServer:
    """An HTTP server on a free port."""

    def __init__(self) -> None:
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; `url` says where."""
        app = web.Application(client_max_size=2 * LIMIT_BYTES)
        app.router.add_route("*", "/{path:.*}", self.answer)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def aclose(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        raise NotImplementedError


class LambdaApi(HttpServer):
    """Lambda's own API, of which functions use one call: an invocation that nobody waits for."""

    def __init__(self, host: LambdaHost, entry: str) -> None:
        super().__init__()
        self.invocations = 0
        self._host = host
        self._entry = entry
        self._under_way: set[asyncio.Task[Any]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """Take an event."""
        assert request.headers["X-Amz-Invocation-Type"] == "Event"
        self.invocations += 1
        task = asyncio.create_task(self._host.invoke(json.loads(await request.read()), self._entry))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return web.Response(status=202)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the host has written it down


async def every(seconds: float, host: LambdaHost, entry: str) -> None:
    """Invoke a function again and again."""
    while True:
        await asyncio.sleep(seconds)
        with suppress(FunctionFailed):  # the host has written it down
            await host.invoke({}, entry)


async def event_of(request: web.Request) -> dict[str, Any]:
    """Return the event that a request becomes. Raises HTTPRequestEntityTooLarge."""
    path, _, query = request.raw_path.partition("?")
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    headers |= {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": request.scheme}
    event = function_url_event(request.method, path, query, headers, await request.read())
    size = len(json.dumps(event))
    if size > LIMIT_BYTES:
        raise web.HTTPRequestEntityTooLarge(LIMIT_BYTES, size)
    return event


class FunctionUrl(HttpServer):
    """An HTTP server in front of a function."""

    def __init__(self, host: LambdaHost) -> None:
        super().__init__()
        self._host = host

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with what the function does, when it is complete."""
        try:
            answer = await self._host.invoke(await event_of(request))
        except FunctionFailed:
            return web.json_response({"Message": "Internal Server Error"}, status=502)
        if len(json.dumps(answer)) > LIMIT_BYTES:
            self._host.failures.append(f"{request.raw_path}: the answer is larger than Lambda passes on")
            return web.json_response({"Message": "Internal Server Error"}, status=502)
        return _response_of(answer)


def _response_of(answer: Mapping[str, Any]) -> web.Response:
    body = answer.get("body") or ""
    raw = b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = {name: value for name, value in answer["headers"].items() if name.lower() != "content-length"}
    headers.setdefault("content-type", "application/json")  # as a Function URL does
    return web.Response(status=answer["statusCode"], headers=headers, body=raw)
