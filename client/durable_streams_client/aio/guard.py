"""Cancel HTTP requests only where the connection pool under httpx survives it.

Cancelled at the wrong tick of the loop, httpcore leaves a connection behind that is neither idle nor closed, and
takes a place in the pool for good: between connecting and sending (it stays NEW), and while a response is being
closed (it stays ACTIVE). Its trace says where a request is. So the work is done in a task of its own; a cancellation
waits, a few ticks, until that is past such a place, and then reaches it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Events of httpcore's trace extension, by their endings: of HTTP/1.1 and of HTTP/2.
_SHUTS = ("connect_tcp.complete", "start_tls.complete", "response_closed.started")
_OPENS = ("start_tls.started", "send_request_headers.started", "response_closed.complete", "response_closed.failed")


class Guard:
    """Where the requests of one conversation are, and whether they may be cancelled there."""

    def __init__(self) -> None:
        self._shut = False

    async def trace(self, event: str, _: dict[str, Any]) -> None:
        """Take note of what httpcore does; the `trace` extension of a request."""
        if event.endswith(_SHUTS):
            self._shut = True
        elif event.endswith(_OPENS):
            self._shut = False

    async def carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; a cancellation of the caller is a cancellation of the work, at the next good moment."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while self._shut and not task.done():  # noqa: ASYNC110  (a few ticks; httpcore has no event to wait for)
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # looked at, so that nobody complains that it was not
            raise
