"""Say where streams begin and end, and which place an offset names, as subscriptions count. Knows the log."""

import asyncio
from collections.abc import Iterable

from storage.core.lineage import position_of, token_at
from storage.core.offset import MalformedOffset, Offset, parse_offset
from storage.core.root import Root
from storage.core.subscription import START_TOKEN, Cursor, stream_path
from storage.core.wake import Seen
from storage.creation import Description
from storage.log import Log


class Places:
    """Looks at streams; several at once, but not too many."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gate = asyncio.Semaphore(log.settings.parallel_gets)

    async def seen(self, root: str, paths: Iterable[str]) -> dict[str, Seen | None]:
        """Return the streams as they are now, None for one that there is not. Raises LogError."""
        wanted = list(paths)
        found = await asyncio.gather(*(self._one(stream_path(root, path)) for path in wanted))
        return {path: None if stream is None else _seen(stream) for path, stream in zip(wanted, found, strict=True)}

    async def place(self, path: str, token: str) -> tuple[Cursor | None, Cursor | None]:
        """Return the place in a stream that a token names, None for none, and the stream's end, None for no stream.

        A token of a stream that is gone, or was replaced, names a place in that earlier one.
        """
        try:
            offset = parse_offset(token)
        except MalformedOffset:
            return None, None
        if not isinstance(offset, Offset):
            return None, None
        stream = await self._one(path)
        if stream is None:
            return Cursor(offset.generation, offset.position, token), None
        tail = _seen(stream).tail
        position = position_of(stream.root.lineage, offset)
        if position is not None:
            return Cursor(tail.incarnation, position, token), tail
        if offset.generation < tail.incarnation and all(s.generation != offset.generation for s in stream.root.lineage):
            return Cursor(offset.generation, offset.position, token), tail
        return None, tail

    async def _one(self, path: str) -> Description | None:
        async with self._gate:
            stream = await self._log.head(path)
        return stream if isinstance(stream, Description) else None


def _seen(stream: Description) -> Seen:
    root, generation = stream.root, stream.root.generation
    low = max(root.own.low, root.retained)
    start = Cursor(generation, low, _token(root, low) if low else START_TOKEN)
    return Seen(start, Cursor(generation, stream.tail.position, _token(root, stream.tail.position)))


def _token(root: Root, position: int) -> str:
    return str(token_at(root.lineage, position))
