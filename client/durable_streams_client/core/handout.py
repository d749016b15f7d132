"""Keep the position of a caller who is handed the messages of a batch one by one. Knows no requests.

A reader's position is always that after the last thing handed out: whoever stores it when done with a message resumes
with the next one, in the middle of a batch as well.
"""

import codecs
from collections.abc import Callable, Mapping
from typing import TypeVar

from durable_streams_client.core.batch import Batch
from durable_streams_client.core.exchange import Flow
from durable_streams_client.core.reading import Reading
from durable_streams_client.errors import MalformedReply
from durable_streams_client.models import Position

T = TypeVar("T")


class Handout:
    """What of the current batch was handed out: `taken` of `count` units, messages or bytes."""

    def __init__(self, start: Position) -> None:
        self._base = start
        self._end = start
        self.count = 0
        self.taken = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def position(self) -> Position:
        """Where to resume."""
        if self.taken >= self.count:
            return self._end
        if not self.taken:
            return self._base
        return Position(self._base.offset, self._base.skip + self.taken)

    @property
    def complete(self) -> bool:
        """Whether the current batch was handed out to its end, so that the next one follows without a gap."""
        return self.taken >= self.count

    def begin(self, batch: Batch, count: int) -> None:
        """Begin to hand out a batch of `count` units; set `taken` before each one."""
        self._base, self._end, self.count, self.taken = batch.start, batch.end, count, 0

    def hand_out(self, batch: Batch) -> Batch:
        """Hand out a batch as a whole."""
        self.begin(batch, 0)
        return batch

    def decode(self, batch: Batch) -> str:
        """Hand out a batch as text. A character cut at its end is kept back for the next one, and so is its position.

        Raise UnicodeDecodeError for what is not UTF-8; the position stays before it.
        """
        text = self._decoder.decode(batch.data, final=batch.closed)
        kept_back = len(self._decoder.getstate()[0])
        if text or not kept_back:
            # Only a whole batch of JSON text can be resumed from: its positions count messages, but it never cuts a
            # character.
            self.begin(batch, len(batch.data))
            self.taken = len(batch.data) - kept_back
        return text

    def restart(self) -> None:
        """Forget a character that was kept back: the next batch begins at `position`, which lies before it."""
        self._decoder.reset()
        self._base = self._end = self.position
        self.count = self.taken = 0


class View:
    """What every reader shows of a read, whichever shell carries it out."""

    def __init__(self, reading: Reading, start: Position) -> None:
        self._reading = reading
        self._handout = Handout(start)
        self._flow: Flow[None] | None = None
        self._ended = False

    @property
    def position(self) -> Position:
        """Where to resume: after the last thing that was handed out."""
        return self._handout.position

    @property
    def up_to_date(self) -> bool:
        """Whether the last delivery reached the tail, as it was then."""
        return self._reading.up_to_date

    @property
    def closed(self) -> bool:
        """Whether the end of a closed stream was reached."""
        return self._reading.closed

    @property
    def content_type(self) -> str:
        """The stream's content type, empty before the first answer."""
        return self._reading.content_type

    @property
    def status(self) -> int | None:
        """The status of the latest response, None before the first one."""
        return self._reading.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the latest response, names in lower case."""
        return self._reading.headers

    @property
    def cursor(self) -> str | None:
        """The latest cursor. The reader echoes it by itself: section 10.1."""
        return self._reading.cursor

    def _resume(self) -> Flow[None]:
        """Return the conversation to go on with: the one under way, or a new one from `position`."""
        if self._flow is None:
            self._handout.restart()
            self._flow = self._reading.flow(self._handout.position)
        return self._flow

    def _understand(self, batch: Batch, parse: Callable[[Batch], T]) -> T:
        """Parse a batch that is about to be handed out. If it cannot be parsed, the read goes back to before it."""
        try:
            return parse(batch)
        except Exception as error:
            if self._flow is not None:
                self._flow.close()
                self._flow = None
            if isinstance(error, MalformedReply):
                error.url, error.offset = self._reading.url, batch.start.offset
            raise
