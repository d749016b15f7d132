"""Both shells of the client behind one asynchronous face, so that what drives them is written once.

The blocking client keeps its own code path: its methods are merely called where the other's are awaited.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, TypeVar

from durable_streams_client import AsyncClient, Client

T = TypeVar("T")


class Awaited:
    """Wrap an object of the blocking client: its methods are to be awaited, its iterators iterated over with them."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        if not callable(attribute):
            return attribute
        if inspect.isgeneratorfunction(attribute):
            return lambda *arguments, **options: _iterate(attribute(*arguments, **options))
        if name in ("stream", "read", "producer"):
            return lambda *arguments, **options: Awaited(attribute(*arguments, **options))

        async def call(*arguments: Any, **options: Any) -> Any:
            return attribute(*arguments, **options)

        return call

    async def aclose(self) -> None:
        """Release it, under the name that the asynchronous client has for that."""
        self._wrapped.close()


async def _iterate(values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


def open_client(base_url: str, *, asynchronous: bool, **options: Any) -> Any:
    """Return a client with the face of AsyncClient: itself, or the blocking one in its guise."""
    if asynchronous:
        return AsyncClient(base_url, **options)
    return Awaited(Client(base_url, **options))


def begin(stream: Any, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """Begin what uses `stream` while the caller does something else: a blocking stream needs a thread for that."""
    if isinstance(stream, Awaited):
        return asyncio.ensure_future(asyncio.to_thread(asyncio.run, work))
    return asyncio.ensure_future(work)
