"""Wait for a stream to grow, and tell: long-poll (5.7) and SSE (5.8). Knows ASGI and the log.

A reader that goes away stops its work here, and a server that is about to stop lets nobody wait.
"""

import asyncio
import logging
import time
from typing import Any

import msgspec

from handler.body import Receive, Send
from handler.core import names
from handler.core.caching import REVALIDATE
from handler.core.cursor import cursor_at, jitter_of
from handler.core.problems import BASE, CORS, Reply, header
from handler.core.requests import Read
from handler.core.responses import Outcome, reply_unreadable
from handler.core.sse import Control, frame_control, frame_data, needs_base64, whole_characters
from storage.core.lineage import token_at
from storage.core.offset import Offset, Sentinel
from storage.core.root import media_type
from storage.errors import LogError
from storage.log import Log, Page

_log = logging.getLogger("handler")

_EVENT_STREAM = [
    *BASE,
    *CORS,
    header(names.CONTENT_TYPE, names.EVENT_STREAM_TYPE),
    header("X-Accel-Buffering", "no"),  # nginx would hold events back to fill a buffer
]
_SHARED = header(names.CACHE_CONTROL, REVALIDATE)
_PRIVATE = header(names.CACHE_CONTROL, f"private, {REVALIDATE}")
_BASE64 = header(names.STREAM_SSE_DATA_ENCODING, names.SSE_BASE64)


class LiveSettings(msgspec.Struct, frozen=True):
    """Times in seconds, sizes in bytes."""

    long_poll_seconds: float = 30.0
    sse_seconds: float = 60.0  # section 10.2: so that new readers collapse onto an edge's connection
    sse_event_bytes: int = 256 * 1024  # of data in one event; what a reader that does not read keeps in memory


class Live:
    """All who wait, in one process."""

    def __init__(self, log: Log, settings: LiveSettings) -> None:
        self._log = log
        self._settings = settings
        self._waiting: set[asyncio.Task[Outcome]] = set()
        self._draining = False

    def drain(self) -> None:
        """Let everybody who waits be answered now, and nobody wait any more."""
        self._draining = True
        for task in self._waiting:
            task.cancel()

    async def long_poll(
        self, path: str, read: Read, receive: Receive, wait_seconds: float | None = None
    ) -> Outcome | None:
        """Return what a long-poll is answered with; None where nobody is left to be answered. Raises LogError.

        `wait_seconds`: what this request may take of the time that the settings allow.
        """
        seconds = self._settings.long_poll_seconds
        if wait_seconds is not None:
            seconds = max(0.0, min(seconds, wait_seconds))
        offset = read.offset
        gone = asyncio.ensure_future(_departure(receive))
        try:
            if offset is Sentinel.NOW:
                # A place of its own, so that whatever is appended from here on is answered and not jumped over.
                outcome = await self._log.read(path, offset)
                if not isinstance(outcome, Page) or outcome.closed:
                    return outcome
                offset = token_at(outcome.root.lineage, outcome.end)
            waited = await self._wait(gone, path, offset, None, seconds)
            if waited is None and not gone.done():
                return await self._log.read(path, offset)
            return waited
        finally:
            gone.cancel()

    async def sse(self, path: str, read: Read, receive: Receive, send: Send, *, private: bool) -> Reply | None:
        """Send events until the stream closes, the reader goes or the time is over; a reply where there are none.

        `private`: the request was authorised.
        """
        limit = self._settings.sse_event_bytes
        outcome: Outcome | None = await self._log.read(path, read.offset, limit=limit)
        assert outcome is not None
        if not isinstance(outcome, Page):
            return reply_unreadable(outcome)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.sse_seconds
        teller = _Teller(outcome, read, path)
        start = [*_EVENT_STREAM, _PRIVATE if private else _SHARED]
        if teller.base64:
            start.append(_BASE64)
        await send({"type": "http.response.start", "status": 200, "headers": start})
        gone = asyncio.ensure_future(_departure(receive))
        try:
            while isinstance(outcome, Page):
                events = teller.tell(outcome, time.time())
                if events:
                    await send({"type": "http.response.body", "body": events, "more_body": True})
                left = deadline - loop.time()
                if teller.is_over or left <= 0 or self._draining or gone.done():
                    break
                outcome = await self._wait(gone, path, teller.offset, limit, left)
        except LogError as error:
            _log.warning("an event stream of %s ends early, and its reader will come back: %s", path, error)
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def _wait(
        self, gone: "asyncio.Future[None]", path: str, offset: Offset | Sentinel, limit: int | None, seconds: float
    ) -> Outcome | None:
        """Read, and wait at the tail; None if the reader went or the server is about to stop."""
        if self._draining:
            return None
        task = asyncio.ensure_future(self._log.read(path, offset, limit=limit, wait_seconds=seconds))
        self._waiting.add(task)
        try:
            either: set[asyncio.Future[Any]] = {task, gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(task)
            if not task.done():
                task.cancel()
        return task.result() if task.done() and not task.cancelled() else None


class _Teller:
    """What one reader of events was told last, and is to be told next."""

    def __init__(self, page: Page, read: Read, path: str) -> None:
        kind = media_type(page.root.config.content_type)
        self.base64 = needs_base64(kind)
        self.offset: Offset | Sentinel = read.offset
        self.is_over = False
        self._is_text = not self.base64 and not page.root.is_json
        self._echoed = read.cursor
        self._jitter = jitter_of(path, read.token, read.cursor or "")
        self._cursor = 0
        self._is_first = True

    def tell(self, page: Page, now_seconds: float) -> bytes:
        """Return the events for a page: data if there is any, then control; nothing where nothing is new."""
        body, end = page.body, page.end
        if self._is_text and not page.up_to_date:
            whole = whole_characters(body)
            if whole:
                body, end = body[:whole], page.start + whole
        has_data = end > page.start
        if not (has_data or page.closed or self._is_first):
            return b""
        self._is_first = False
        self.is_over = page.closed
        self.offset = token_at(page.root.lineage, end)
        self._cursor = max(self._cursor, int(cursor_at(now_seconds, self._echoed, self._jitter)))
        control = Control(
            next_offset=str(self.offset),
            cursor=None if page.closed else str(self._cursor),
            up_to_date=page.up_to_date,
            closed=page.closed,
        )
        events = frame_control(control)
        return frame_data(body, base64=self.base64) + events if has_data else events


async def _departure(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
