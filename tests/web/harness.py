"""The application without a server: whole answers through httpx, and exchanges that a test drives by hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from handler.app import AppSettings, StreamsApp, create_app
from handler.auth import Authorize
from handler.body import AsgiApp, Message
from storage.log import Log, LogSettings
from storage.objects import Objects
from storage.opening import open_objects

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 10.0  # what a test waits for anything before it fails
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
NEXT_OFFSET = "stream-next-offset"


class Site:
    """An application over a store in memory, and a client of it."""

    def __init__(self, app: StreamsApp, log: Log, client: httpx.AsyncClient) -> None:
        self.app = app
        self.log = log
        self.client = client

    async def create(self, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
        """Create a text stream, or what `headers` say."""
        answer = await self.client.put(path, content=body, headers={**TEXT, **named(headers)})
        assert answer.status_code == 201, answer.text
        return answer

    async def append(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        """Append to a text stream, or what `headers` say."""
        return await self.client.post(path, content=body, headers={**TEXT, **named(headers)})

    async def quiet(self) -> None:
        """Wait until no task of the application's is left: whoever waited for a stream has stopped."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(map(_is_ours, asyncio.all_tasks())):  # noqa: ASYNC110  # they are not the test's to await
                await asyncio.sleep(0.01)

    async def tail(self, path: str) -> str:
        """Return the offset of the tail."""
        return str((await self.client.head(path)).headers[NEXT_OFFSET])


def _is_ours(task: "asyncio.Task[Any]") -> bool:
    """Say whether a task runs a coroutine of the application or of the log."""
    code = getattr(task.get_coro(), "cr_code", None)
    # Not the whole repository: the virtual environment may be in it, and the loop's own tasks with it.
    ours = (REPOSITORY / "handler", REPOSITORY / "storage")
    return code is not None and any(Path(code.co_filename).is_relative_to(folder) for folder in ours)


def named(headers: dict[str, str]) -> dict[str, str]:
    """Return `stream_closed="true"` as the header it stands for."""
    return {name.replace("_", "-").title(): value for name, value in headers.items()}


def client_of(app: AsgiApp) -> httpx.AsyncClient:
    """Return a client of an application."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://streams.example",
    )


@asynccontextmanager
async def site(
    settings: AppSettings | None = None,
    *,
    authorize: Authorize | None = None,
    log_settings: LogSettings | None = None,
    objects: Objects | None = None,
) -> AsyncIterator[Site]:
    """Run an application for a test."""
    store = await open_objects("memory:") if objects is None else objects
    log = Log(store, log_settings)
    app = create_app(log, settings, authorize)
    async with client_of(app) as client:
        yield Site(app, log, client)
    await log.aclose()
    await store.aclose()


class Exchange:
    """One request whose client can stall, read event by event, and leave."""

    def __init__(
        self,
        app: AsgiApp,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: Sequence[bytes] = (b"",),
        complete: bool = True,
    ) -> None:
        path, _, query = url.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": list(headers),
        }
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        for number, part in enumerate(body):
            more = not complete or number + 1 < len(body)
            self._incoming.put_nowait({"type": "http.request", "body": part, "more_body": more})
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = asyncio.Event()  # clear: the client takes nothing, and its connection is full
        self.reads.set()
        self.stalled = 0  # messages that wait for it to read on
        self.task = asyncio.ensure_future(app(scope, self._incoming.get, self._send))

    async def _send(self, message: Message) -> None:
        self.stalled += 1
        await self.reads.wait()
        self.stalled -= 1
        self._outgoing.put_nowait(message)

    def leave(self) -> None:
        """Close the connection."""
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def start(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers, when they come."""
        message = await self._next()
        assert message["type"] == "http.response.start"
        return message["status"], {name.decode(): value.decode() for name, value in message["headers"]}

    async def part(self) -> bytes:
        """Return the next part of the body, when it comes; empty at its end."""
        message = await self._next()
        assert message["type"] == "http.response.body"
        part: bytes = message["body"]
        assert part or not message.get("more_body"), "an empty part that is not the last"
        return part

    async def rest(self) -> bytes:
        """Return the body from here to its end."""
        parts = []
        while True:
            message = await self._next()
            parts.append(message["body"])
            if not message.get("more_body"):
                return b"".join(parts)

    async def end(self) -> None:
        """Wait until the application has done with the request."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.task

    @property
    def is_silent(self) -> bool:
        """Nothing has been sent that was not read."""
        return self._outgoing.empty()

    async def _next(self) -> Message:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._outgoing.get()
