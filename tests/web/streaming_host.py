"""The streaming function as Lambda runs it: the Web Adapter beside what it starts, one invocation at a time.

`StreamingHost` keeps the sandboxes, each with a Runtime API of its own; they stand still in between. `StreamingUrl` is
CloudFront and the Function URL: it turns requests into events, and passes an answer on as it comes. The variables are
the template's.
"""

import asyncio
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.web.edge import Edge, template
from tests.web.lambda_host import FunctionFailed, FunctionUrl, HttpServer, event_of
from tests.web.nginx import free_port
from tests.web.runtime_api import Invocation, RuntimeApi

STOP_SECONDS = 2.0  # what Lambda gives a runtime and its extensions


def variables_of(function: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the template gives a function. `values`: parameters and resources by their names."""
    described = template()
    parameters: dict[str, str] = {name: str(each["Default"]) for name, each in described["Parameters"].items()}
    parameters.update(values)

    def resolved(value: Any) -> str:
        match value:
            case {"Ref": name}:
                return parameters[name]
            case {"Sub": text}:
                filled = re.sub(r"\$\{(\w+)\}", lambda found: parameters[found[1]], text)
                return re.sub(r"\{\{resolve:secretsmanager:(.*):SecretString:secret\}\}", r"\1", filled)
            case {"If": [condition, yes, no]}:
                left, right = described["Conditions"][condition]["Equals"]
                return resolved(yes if resolved(left) == resolved(right) else no)
            case _:
                assert isinstance(value, str), f"a template's variable is a string, not {value!r}"
                return value

    given = described["Globals"]["Function"]["Environment"]["Variables"]
    given = given | described["Resources"][function]["Properties"]["Environment"]["Variables"]
    return {name: resolved(value) for name, value in given.items()}


class StreamingSandbox:
    """The adapter, and the server that it passes requests to. Both run only while an invocation does."""

    def __init__(self, api: RuntimeApi, log: Path) -> None:
        self.api = api
        self._log = log
        self._processes: list[Process] = []

    @classmethod
    async def start(
        cls, adapter: Path, folder: Path, environment: Mapping[str, str], work: Path, seconds: float
    ) -> "StreamingSandbox":
        """Start both and wait until the adapter asks for an event. Raises FunctionFailed."""
        api = RuntimeApi()
        await api.start()
        port = free_port()
        sandbox = cls(api, work / f"{port}.log")
        handler = template()["Resources"]["Streaming"]["Properties"]["Handler"]
        everything = {
            "PATH": f"{_python3(work)}:{os.environ.get('PATH', '')}",
            "AWS_LAMBDA_RUNTIME_API": api.url.removeprefix("http://"),
            "AWS_LAMBDA_FUNCTION_NAME": "streaming",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": handler,
            "PORT": str(port),  # in Lambda each sandbox has all ports to itself
            **environment,
        }
        assert everything["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/bootstrap"
        with open(sandbox._log, "wb") as log:
            # An extension first; then the runtime, which the layer's wrapper takes the place of and starts the handler.
            for command in (adapter, folder / handler):
                process = await asyncio.create_subprocess_exec(
                    command, cwd=folder, env=everything, stdout=log, stderr=log, start_new_session=True
                )
                sandbox._processes.append(process)
        try:
            await sandbox._until_idle(seconds)
        except FunctionFailed:
            await sandbox.aclose()
            raise
        return sandbox

    def begin(self, invocation: Invocation) -> None:
        """Hand it an event."""
        self._signal(signal.SIGCONT)
        self.api.send(invocation)

    async def finish(self, invocation: Invocation, milliseconds: int) -> None:
        """Wait until it is done with an event. Raises FunctionFailed."""
        try:
            await self._until_idle(milliseconds / 1000)
            if not invocation.is_complete:
                raise FunctionFailed("it asked for the next event before it had answered this one")
        except FunctionFailed as error:
            await self.aclose()
            if not invocation.is_complete:
                invocation.end(error)
            raise

    @property
    def log(self) -> str:
        """What both have said."""
        return self._log.read_text()

    async def aclose(self) -> None:
        """End it, wherever it is."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        for process in self._processes:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await self.api.aclose()

    async def _until_idle(self, seconds: float) -> None:
        waiting = [asyncio.ensure_future(process.wait()) for process in self._processes]
        idle = asyncio.ensure_future(self.api.is_idle.wait())
        try:
            await asyncio.wait([idle, *waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if any(each.done() for each in waiting):
                raise FunctionFailed(f"a process of the sandbox ended: {self.log}")
            if not idle.done():
                raise FunctionFailed(f"not done within {seconds} s: {self.log}")
        finally:
            for each in (idle, *waiting):
                each.cancel()
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for process in self._processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)


def _python3(work: Path) -> Path:
    """Return a folder where `python3` is this Python, with nothing but what is in the folder that it is started in."""
    folder = work / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "python3"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    script.chmod(0o755)
    return folder


class StreamingHost:
    """The function's sandboxes: the one used last is used first, another is made when all are busy."""

    def __init__(
        self,
        adapter: Path,
        folder: Path,
        environment: Mapping[str, str],
        work: Path,
        *,
        milliseconds: int = 30_000,
        start_seconds: float = 60.0,  # a machine under load takes its time
        most: int = 8,
    ) -> None:
        self.sandboxes: list[StreamingSandbox] = []
        self.queries: list[str] = []  # of all that was asked
        self.failures: list[str] = []
        self._start = partial(StreamingSandbox.start, adapter, folder, environment, work, start_seconds)
        self._milliseconds = milliseconds
        self._idle: list[StreamingSandbox] = []
        self._room = asyncio.Semaphore(most)
        self._attending: set[asyncio.Task[None]] = set()

    async def invoke(self, event: Any) -> Invocation:
        """Begin an invocation in a sandbox that is free. Raises FunctionFailed where there is none to be had."""
        await self._room.acquire()
        try:
            sandbox = self._idle.pop() if self._idle else await self._new()
        except FunctionFailed as error:
            self._room.release()
            self.failures.append(str(error))
            raise
        self.queries.append(event["rawQueryString"])
        invocation = Invocation(event, self._milliseconds)
        sandbox.begin(invocation)
        task = asyncio.create_task(self._attend(sandbox, invocation))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)
        return invocation

    async def warm(self, number: int) -> None:
        """Have so many sandboxes ready."""
        self._idle += await asyncio.gather(*(self._new() for _ in range(number)))

    async def settle(self) -> None:
        """Wait until every invocation that was begun has an end, also those whose reader has gone."""
        await asyncio.gather(*self._attending)

    async def _new(self) -> StreamingSandbox:
        sandbox = await self._start()
        self.sandboxes.append(sandbox)
        return sandbox

    async def _attend(self, sandbox: StreamingSandbox, invocation: Invocation) -> None:
        try:
            await sandbox.finish(invocation, self._milliseconds)
            self._idle.append(sandbox)
        except FunctionFailed as error:
            self.failures.append(str(error))
        finally:
            self._room.release()

    async def aclose(self) -> None:
        """End all sandboxes."""
        for task in self._attending:
            task.cancel()
        await asyncio.gather(*self._attending, return_exceptions=True)
        await asyncio.gather(*(sandbox.aclose() for sandbox in self.sandboxes))


class StreamingUrl(HttpServer):
    """An HTTP server in front of the function, which adds what CloudFront does."""

    def __init__(self, host: StreamingHost, secret: str) -> None:
        super().__init__()
        self._host = host
        self._secret = secret

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass the function's answer on as it comes."""
        event = await event_of(request)
        event["headers"] |= {"x-origin-secret": self._secret, "x-forwarded-host": request.host}
        try:
            invocation = await self._host.invoke(event)
            prelude = await invocation.prelude()
        except FunctionFailed:
            return web.json_response({"Message": "Internal Server Error"}, status=502)
        response = web.StreamResponse(status=prelude.status_code)
        for name, value in prelude.headers.items():
            # A streamed response has no length beforehand; the server's is passed on by this name.
            name = "x-amzn-remapped-content-length" if name == "content-length" else name
            for each in [value] if isinstance(value, str) else value:
                response.headers.add(name, each)
        for cookie in prelude.cookies:
            response.headers.add("set-cookie", cookie)
        with suppress(ConnectionError):  # a reader who has gone; the function is not told
            await response.prepare(request)
            while piece := await invocation.piece():
                await response.write(piece)
            if not invocation.is_complete and request.transport is not None:
                request.transport.abort()
        return response


class Routing(HttpServer):
    """CloudFront, as far as it decides which function is asked."""

    def __init__(self, edge: Edge, functions: FunctionUrl, streaming: StreamingUrl) -> None:
        super().__init__()
        self._edge = edge
        self._functions = functions
        self._streaming = streaming

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Let the template's edge function decide."""
        querystring = {name: {"value": value} for name, value in request.query.items()}
        headers = {"host": {"value": request.host}}
        asked = {"method": request.method, "uri": request.path, "querystring": querystring, "headers": headers}
        decided = self._edge.run("StreamRequest", {"version": "1.0", "request": asked})
        return await (self._streaming if decided.get("origin") == "streaming" else self._functions).answer(request)
