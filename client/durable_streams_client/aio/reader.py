"""Read a stream on asyncio: carries out `core.reading` and hands out what it brings. Decides nothing."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from durable_streams_client.aio.wire import AsyncWire
from durable_streams_client.core.batch import Batch, is_json
from durable_streams_client.core.handout import View
from durable_streams_client.core.reading import Reading
from durable_streams_client.models import Position

Bytes = bytes  # within the class that name is a method


class AsyncReader(View):
    """Read a stream from a position on. An iterator of batches; other views are methods, and all share one position.

    `position` is that after the last thing handed out. Iteration may stop anywhere and go on, even after an error,
    with the same reader or with another one begun at `position`: what was handed out is not handed out again, and
    nothing is left out. Leave it as a context manager, or `aclose` it, to give up its connection.
    """

    def __init__(self, wire: AsyncWire, reading: Reading, start: Position) -> None:
        super().__init__(reading, start)
        self._wire = wire

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self.batches()

    async def batches(self) -> AsyncIterator[Batch]:
        """Iterate over deliveries.

        One may be empty: it tells that the reader caught up, or that the stream is closed.
        """
        async for batch in self._deliveries():
            yield self._handout.hand_out(batch)

    async def bytes(self) -> AsyncIterator[Bytes]:
        """Iterate over the data as it was delivered: joined, it is the stream. A JSON stream comes in whole arrays."""
        async for batch in self._deliveries():
            self._handout.hand_out(batch)
            if batch.data:
                yield batch.data

    async def text(self) -> AsyncIterator[str]:
        """Iterate over the data as text, no character cut. Raise UnicodeDecodeError for what is not UTF-8."""
        async for batch in self._deliveries():
            if text := self._understand(batch, self._handout.decode):
                yield text

    async def items(self) -> AsyncIterator[Bytes]:
        """Iterate over messages byte for byte; where a stream has no messages of its own, over deliveries."""
        async for batch in self._deliveries():
            messages = self._understand(batch, Batch.messages)
            if is_json(batch.content_type):
                self._handout.begin(batch, len(messages))
                for self._handout.taken, message in enumerate(messages, 1):
                    yield message
            else:
                self._handout.hand_out(batch)
                for message in messages:
                    yield message

    async def json(self) -> AsyncIterator[Any]:
        """Iterate over the parsed messages of a JSON stream. Raise TypeError if the stream is of another type."""
        async for batch in self._deliveries():
            values = self._understand(batch, Batch.json)
            self._handout.begin(batch, len(values))
            for self._handout.taken, value in enumerate(values, 1):
                yield value

    async def aclose(self) -> None:
        """Give up the connection. The position stays, and iterating again goes on from there."""
        if self._flow is not None:
            self._flow.close()
            self._flow = None
        await self._wire.hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _deliveries(self) -> AsyncIterator[Batch]:
        if not self._handout.complete:  # an earlier iteration stopped within a batch: fetch the rest of it
            await self.aclose()
        while not self._ended:
            batch = await self._next()
            if batch is None:
                self._ended = True
            else:
                yield batch

    async def _next(self) -> Batch | None:
        flow = self._resume()
        outcome = None
        try:
            while True:
                step = flow.send(outcome)
                if isinstance(step, Batch):
                    return step
                outcome = await self._wire.carry_out(step)
        except StopIteration:
            await self.aclose()
            return None
        except BaseException:
            await self.aclose()
            raise
