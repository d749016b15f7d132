"""An idempotent producer: the numbers of batches, and what every answer to them means. Section 5.2.1. Does no I/O.

A batch gets the next number of the epoch and keeps it through every attempt, so that the server can tell a copy from
news. Several may be in flight; where they overtake each other on the way, the server refuses the later one as a gap
(409), and it waits its turn. The first batch of an epoch travels alone: a new epoch must begin with 0, and anything
else is refused for good (400).

Renumbering. When a batch is refused for its content, or the epoch is claimed anew, the batches behind it need other
numbers. A new *era* begins: batches of an older one wait until all before them are settled, and are numbered again in
order. Only what was definitely refused may be: a batch of which a copy may have arrived could be doubled, so the
producer fails instead and says so.

Shells call every method, and advance every flow, under one lock (or on one loop); only the steps are carried out
outside of it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from durable_streams_client.core import names
from durable_streams_client.core.batch import frame_json
from durable_streams_client.core.exchange import (
    RETRIED,
    UNKNOWN_OUTCOME,
    Flow,
    Lost,
    Pace,
    Reply,
    Request,
    Turn,
    give_time,
    judge_failure,
)
from durable_streams_client.core.gathering import Gathering, Limits
from durable_streams_client.core.replies import error_of, parse_appended, parse_count
from durable_streams_client.errors import AmbiguousWrite, BadRequest, StreamClosed, TooLarge
from durable_streams_client.models import Appended

ErrorCallback = Callable[[Exception, list[bytes]], object]
"""Told of every batch that was not, or not certainly, written, with its messages as they were to be sent."""

MAX_NUMBER = 2**53 - 1  # the largest epoch or sequence number that every implementation can count to


@dataclass(slots=True)
class ProducedBatch:
    """Messages that travel together.

    `order` counts batches, `seq` numbers them for the server within `epoch` and era.
    """

    order: int
    first: int  # how many messages came before these
    messages: list[bytes]
    size: int
    closes: bool
    epoch: int
    seq: int
    era: int
    doubt: bool = False  # a copy may have been written, though no answer said so


class ProducerCore:
    """The state of a producer.

    `epoch` and `seq` are the numbers to begin with; `content_type` is to be set before sending.
    """

    def __init__(
        self, url: str, producer_id: str, *, epoch: int, seq: int, auto_claim: bool, limits: Limits, pace: Pace
    ) -> None:
        if not producer_id:
            raise ValueError("producer_id must not be empty")
        for name, number in (("epoch", epoch), ("seq", seq)):
            if not 0 <= number <= MAX_NUMBER:
                raise ValueError(f"{name} must be between 0 and 2**53 - 1")
        self.url = url
        self.producer_id = producer_id
        self.epoch = epoch
        self.limits = limits
        self.content_type: str | None = None
        self.json = False
        self.failure: Exception | None = None
        self.errors: list[Exception] = []
        self.news: deque[tuple[Exception, list[bytes]]] = deque()  # for the callback
        self.appended = 0
        self.buffered_bytes = 0
        self.flushing = 0
        self.last: Appended | None = None
        self._auto_claim = auto_claim
        self._pace = pace
        self._gathering = Gathering(limits)
        self._in_flight: dict[int, ProducedBatch] = {}  # by order, in order
        self._next_order = 0
        self._next_message = 0
        self._next_seq = seq
        self._era = 0
        self._established = False  # whether the server has taken this epoch
        self._stopped_at: tuple[int, int] | None = None

    # Taking messages

    def add(self, message: bytes, now: float) -> bool:
        """Take a message and tell whether there may be something to do that there was not before."""
        self.appended += 1
        self.buffered_bytes += len(message) + 1
        return self._gathering.add(message, now)

    @property
    def has_room(self) -> bool:
        """Whether another message may be taken. A producer that failed has room, so that its error can be told."""
        return self.failure is not None or self.buffered_bytes < self.limits.max_buffered_bytes

    @property
    def idle(self) -> bool:
        """Whether nothing is gathered and nothing in flight."""
        return not self._gathering and not self._in_flight

    @property
    def settled(self) -> tuple[int, int]:
        """How many messages, from the first one on, are settled, and the number of the batch after them."""
        if self._stopped_at is not None:
            return self._stopped_at
        for batch in self._in_flight.values():
            return batch.first, batch.seq
        return self._next_message, self._next_seq

    def is_settled(self, appended: int) -> bool:
        """Tell whether the first `appended` messages are settled, or nothing is going to change that they are not."""
        if self.failure is not None:
            return not self._in_flight
        return self.settled[0] >= appended

    def wait_seconds(self, now: float) -> float | None:
        """Return how long until a batch can be taken: 0 for now, None for as long as nothing else happens."""
        if self.failure is not None or len(self._in_flight) >= self.limits.max_in_flight:
            return None
        if self._in_flight and (not self._established or self._renumbering):
            return None
        return self._gathering.wait_seconds(now, flushing=self.flushing > 0)

    def take(self, now: float) -> ProducedBatch | None:
        """Return the next batch, numbered, if one is due. Carry out its `deliver` at once."""
        if self.wait_seconds(now) != 0.0:
            return None
        gathered = self._gathering.pop()
        return self._number(gathered.messages, gathered.size, closes=False)

    def take_last(self, message: bytes | None) -> ProducedBatch:
        """Return the batch that closes the stream, with its last message if there is one. The producer must be idle."""
        messages = [] if message is None else [message]
        size = sum(len(message) + 1 for message in messages)
        self.buffered_bytes += size
        return self._number(messages, size, closes=True)

    def _number(self, messages: list[bytes], size: int, *, closes: bool) -> ProducedBatch:
        batch = ProducedBatch(
            self._next_order, self._next_message, messages, size, closes, self.epoch, self._next_seq, self._era
        )
        self._next_order += 1
        self._next_message += len(messages)
        self._next_seq += 1
        self._in_flight[batch.order] = batch
        return batch

    @property
    def _renumbering(self) -> bool:
        return any(batch.era != self._era for batch in self._in_flight.values())

    def is_turn(self, turn: Turn) -> bool:
        """Tell whether every batch before this one is settled, or the producer has failed."""
        return self.failure is not None or next(iter(self._in_flight), turn.order) >= turn.order

    # Delivering

    def deliver(self, batch: ProducedBatch) -> Flow[None]:
        """Send a batch until it is acknowledged, refused, or the producer fails.

        Never raises: errors are kept, to be told.
        """
        try:
            yield from self._deliver(batch)
        except (BadRequest, TooLarge) as error:
            if self.failure is None and not batch.closes:
                self._refuse(batch, error)
            else:
                self._fail(batch, error)
        except Exception as error:  # errors of the caller's own header functions come here, too
            self._fail(batch, error)
        except GeneratorExit:
            self._fail(batch, AmbiguousWrite("given up while a batch was in flight", url=self.url))
            raise
        finally:
            del self._in_flight[batch.order]
            self.buffered_bytes -= batch.size

    def _deliver(self, batch: ProducedBatch) -> Flow[None]:
        failures = 0
        while self.failure is None:
            if batch.era != self._era:
                yield Turn(batch.order)
                if self.failure is not None:
                    break
                self._renumber(batch)
                failures = 0
            request = self._compose(batch)
            alone = self.is_turn(Turn(batch.order))
            outcome = yield request
            if isinstance(outcome, Lost):
                batch.doubt = batch.doubt or outcome.sent
                failures += 1
                yield from give_time(request, self._pace, failures, judge_failure(request, outcome))
                continue
            assert isinstance(outcome, Reply)
            if outcome.status in RETRIED:
                batch.doubt = batch.doubt or outcome.status in UNKNOWN_OUTCOME or outcome.status == 500
                failures += 1
                yield from give_time(request, self._pace, failures, judge_failure(request, outcome))
            elif outcome.status in (200, 201, 204):
                appended = parse_appended(request, outcome)
                if appended.duplicate and self._auto_claim and not batch.doubt:
                    # This batch was never sent before, so it is an earlier holder of the id whose number this was.
                    self._claim(batch, self.epoch)
                    continue
                self.last = appended
                self._established = self._established or batch.era == self._era
                return
            elif outcome.status == 403 and outcome.header(names.PRODUCER_EPOCH) is not None:
                self._judge_fenced(batch, request, outcome)
            elif self._is_gap(outcome) and (batch.era != self._era or not alone):
                yield Turn(batch.order)
            else:
                # A gap with nothing before it: the server and this producer count differently, and will go on to.
                raise error_of(request, outcome)
        assert self.failure is not None
        if batch.doubt:
            raise AmbiguousWrite("a batch may have been written before the producer failed", url=self.url)
        raise self.failure

    def _compose(self, batch: ProducedBatch) -> Request:
        headers = {
            names.PRODUCER_ID: self.producer_id,
            names.PRODUCER_EPOCH: str(batch.epoch),
            names.PRODUCER_SEQ: str(batch.seq),
        }
        body = None
        if batch.messages:
            assert self.content_type is not None, "set it first"
            headers[names.CONTENT_TYPE] = self.content_type
            body = frame_json(batch.messages) if self.json else b"".join(batch.messages)
        if batch.closes:
            headers[names.STREAM_CLOSED] = names.TRUE
        return Request("POST", self.url, headers, content=body)

    @staticmethod
    def _is_gap(reply: Reply) -> bool:
        marked = reply.header(names.PRODUCER_EXPECTED_SEQ) is not None
        return reply.status == 409 and marked and not reply.says(names.STREAM_CLOSED)

    def _judge_fenced(self, batch: ProducedBatch, request: Request, reply: Reply) -> None:
        """Claim the next epoch, or raise Fenced if it is not to be claimed."""
        fenced = error_of(request, reply)
        if not self._auto_claim:
            raise fenced
        if batch.doubt:
            raise AmbiguousWrite(
                f"{fenced.message}; an earlier copy of the batch may have been written before that",
                url=self.url,
                status=reply.status,
                headers=reply.headers,
            ) from fenced
        current = parse_count(reply, names.PRODUCER_EPOCH)
        if current is None or current >= MAX_NUMBER:
            raise fenced
        self._claim(batch, current)

    def _claim(self, batch: ProducedBatch, current: int) -> None:
        """Take the epoch after the `current` one, unless that was done since the batch left."""
        if batch.era == self._era:
            self._begin_era(epoch=current + 1, seq=0)
            self._established = False

    def _begin_era(self, *, epoch: int, seq: int) -> None:
        self._era += 1
        self.epoch, self._next_seq = epoch, seq

    def _renumber(self, batch: ProducedBatch) -> None:
        if batch.doubt:
            raise AmbiguousWrite("a batch needs another number, but a copy of it may have been written", url=self.url)
        batch.epoch, batch.seq, batch.era = self.epoch, self._next_seq, self._era
        self._next_seq += 1

    def _refuse(self, batch: ProducedBatch, error: Exception) -> None:
        """Report a batch that the server will not have, and close the hole that it leaves in the numbers."""
        self.errors.append(error)
        self.news.append((error, batch.messages))
        if batch.era != self._era:
            return  # it had no number of this era yet
        if any(order > batch.order for order in self._in_flight):
            self._begin_era(epoch=self.epoch, seq=batch.seq)
        else:
            self._next_seq = batch.seq

    def _fail(self, batch: ProducedBatch, error: Exception) -> None:
        if batch.doubt and not isinstance(error, (AmbiguousWrite, StreamClosed)):
            error.add_note("an earlier copy of the batch may have been written")
        self.news.append((error, batch.messages))
        self.fail(error)

    def fail(self, error: Exception) -> None:
        """Stop for good.

        Order is part of the promise, so what comes after is not written either, and said to be lost.
        """
        if self.failure is not None:
            return
        self._stopped_at = self.settled
        self.failure = error
        self.errors.append(error)
        waiting = self._gathering.clear()
        self.buffered_bytes -= sum(len(message) + 1 for message in waiting)
        if waiting:
            self.news.append((error, waiting))

    def take_errors(self) -> Exception | None:
        """Return what was not told yet as one exception, None if all is well.

        The error that it failed of is told every time.
        """
        errors, self.errors = self.errors, []
        if self.failure is not None and self.failure not in errors:
            errors.append(self.failure)
        if len(errors) < 2:
            return errors[0] if errors else None
        return ExceptionGroup(f"{len(errors)} batches were not written", errors)
