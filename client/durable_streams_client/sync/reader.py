"""Read a stream with a blocking client: carries out `core.reading` and hands out what it brings. Decides nothing."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from durable_streams_client.core.batch import Batch, is_json
from durable_streams_client.core.handout import View
from durable_streams_client.core.reading import Reading
from durable_streams_client.models import Position
from durable_streams_client.sync.wire import Wire

Bytes = bytes  # within the class that name is a method


class Reader(View):
    """Read a stream from a position on. An iterator of batches; other views are methods, and all share one position.

    `position` is that after the last thing handed out. Iteration may stop anywhere and go on, even after an error,
    with the same reader or with another one begun at `position`: what was handed out is not handed out again, and
    nothing is left out. Leave it as a context manager, or `close` it, to give up its connection.
    """

    def __init__(self, wire: Wire, reading: Reading, start: Position) -> None:
        super().__init__(reading, start)
        self._wire = wire

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self) -> Iterator[Batch]:
        """Iterate over deliveries.

        One may be empty: it tells that the reader caught up, or that the stream is closed.
        """
        for batch in self._deliveries():
            yield self._handout.hand_out(batch)

    def bytes(self) -> Iterator[Bytes]:
        """Iterate over the data as it was delivered: joined, it is the stream. A JSON stream comes in whole arrays."""
        for batch in self._deliveries():
            self._handout.hand_out(batch)
            if batch.data:
                yield batch.data

    def text(self) -> Iterator[str]:
        """Iterate over the data as text, no character cut. Raise UnicodeDecodeError for what is not UTF-8."""
        for batch in self._deliveries():
            if text := self._understand(batch, self._handout.decode):
                yield text

    def items(self) -> Iterator[Bytes]:
        """Iterate over messages byte for byte; where a stream has no messages of its own, over deliveries."""
        for batch in self._deliveries():
            messages = self._understand(batch, Batch.messages)
            if is_json(batch.content_type):
                self._handout.begin(batch, len(messages))
                for self._handout.taken, message in enumerate(messages, 1):
                    yield message
            else:
                self._handout.hand_out(batch)
                yield from messages

    def json(self) -> Iterator[Any]:
        """Iterate over the parsed messages of a JSON stream. Raise TypeError if the stream is of another type."""
        for batch in self._deliveries():
            values = self._understand(batch, Batch.json)
            self._handout.begin(batch, len(values))
            for self._handout.taken, value in enumerate(values, 1):
                yield value

    def close(self) -> None:
        """Give up the connection. The position stays, and iterating again goes on from there."""
        if self._flow is not None:
            self._flow.close()
            self._flow = None
        self._wire.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _deliveries(self) -> Iterator[Batch]:
        if not self._handout.complete:  # an earlier iteration stopped within a batch: fetch the rest of it
            self.close()
        while not self._ended:
            batch = self._next()
            if batch is None:
                self._ended = True
            else:
                yield batch

    def _next(self) -> Batch | None:
        flow = self._resume()
        outcome = None
        try:
            while True:
                step = flow.send(outcome)
                if isinstance(step, Batch):
                    return step
                outcome = self._wire.carry_out(step)
        except StopIteration:
            self.close()
            return None
        except BaseException:
            self.close()
            raise
