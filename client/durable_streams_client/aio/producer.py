"""A producer on asyncio: carries out `core.producer`, a task per batch in flight. Decides nothing.

Everything happens on one loop, so nothing is locked; who waits (flush, back-pressure, turns) looks again after every
change.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from durable_streams_client.aio.wire import AsyncWire
from durable_streams_client.core.batch import check_json, encode_json, is_json
from durable_streams_client.core.exchange import Pause, Turn
from durable_streams_client.core.operations import Message, encode_message
from durable_streams_client.core.producer import ErrorCallback, ProducedBatch, ProducerCore
from durable_streams_client.errors import AmbiguousWrite, TimedOut
from durable_streams_client.models import Appended, Closed

# A loop that only appends would keep the requests from going out: let others run once in so many messages.
BREATHE_EVERY = 64


class AsyncProducer:
    """Write to a stream without waiting for each message, each one once. Section 5.2.1.

    `append` gathers messages into batches that go out in the background, up to `max_in_flight` at a time, and waits
    only when too much is unacknowledged. What could not be written is told to the callback at once, and raised by the
    next `flush`, `close` or `detach`. Leaving it as a context manager detaches; cancelled, it leaves no task behind.
    """

    def __init__(
        self,
        core: ProducerCore,
        make_wire: Callable[[], AsyncWire],
        learn_content_type: Callable[[], Awaitable[str]],
        on_error: ErrorCallback | None,
    ) -> None:
        self._core = core
        self._make_wire = make_wire
        self._learn_content_type = learn_content_type
        self._on_error = on_error
        self._waiters: set[asyncio.Future[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._starting = asyncio.Lock()
        self._appends = 0
        self._sealed = False  # takes no more messages
        self._closed: Closed | None = None

    @property
    def producer_id(self) -> str:
        """The id that the server knows this producer by."""
        return self._core.producer_id

    @property
    def epoch(self) -> int:
        """The epoch: the one it was made with, or a later one that it claimed."""
        return self._core.epoch

    @property
    def settled(self) -> tuple[int, int]:
        """How many messages, from the first one on, are acknowledged, and the `seq` for a successor to go on with."""
        return self._core.settled

    @property
    def last(self) -> Appended | None:
        """The latest acknowledgement, None before the first."""
        return self._core.last

    async def append(self, message: Message) -> None:
        """Take one message: bytes, or text as UTF-8; on a JSON stream, JSON text. Raise ValueError if it is not JSON
        there.

        Returns at once, or when there is room. Raises what the producer failed of, if it has.
        """
        data = encode_message(message)
        if self._core.content_type is None:
            await self._start()
        if self._core.json:
            check_json(data)
        elif not data:
            raise ValueError("a message must not be empty")
        await self._add(data)

    async def append_json(self, value: object) -> None:
        """Take one value as a message of a JSON stream. Raise TypeError or ValueError if JSON cannot say it."""
        data = encode_json(value)
        if self._core.content_type is None:
            await self._start()
        if not self._core.json:
            raise TypeError(f"the stream is {self._core.content_type}, not application/json")
        await self._add(data)

    async def flush(self, *, total_seconds: float | None = None) -> None:
        """Wait until everything appended so far is acknowledged.

        Raise what could not be written, TimedOut if time is up.
        """
        core = self._core
        appended = core.appended
        core.flushing += 1
        self._pump()
        try:
            async with asyncio.timeout(total_seconds):
                await self._wait_for(lambda: core.is_settled(appended))
        except TimeoutError:
            raise TimedOut("not everything is acknowledged yet", url=core.url) from None
        finally:
            core.flushing -= 1
        self._raise_errors()

    async def close(self, message: Message | None = None, *, total_seconds: float | None = None) -> Closed:
        """Flush, then close the stream, with a last message in the same step if there is one; then stop.

        Closing again returns what the first time did, whatever the message. The stream stays open if anything before
        failed.
        """
        if self._closed is not None:
            return self._closed
        if self._core.content_type is None:
            await self._start()
        data = None if message is None else encode_message(message)
        if data is not None and self._core.json:
            check_json(data)
        self._sealed = True
        try:
            await self.flush(total_seconds=total_seconds)
        except Exception:
            self._sealed = False
            raise
        await self._carry(self._core.take_last(data or None))
        self._raise_errors()
        last = self._core.last
        assert last is not None, "the last batch was acknowledged"
        self._closed = Closed(last.offset, last.status, last.headers)
        return self._closed

    async def detach(self, *, total_seconds: float | None = None) -> None:
        """Flush and stop, and leave the stream open. Raise what could not be written; stopped it is all the same."""
        try:
            if not self._sealed:
                await self.flush(total_seconds=total_seconds)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Stop at once. What is not acknowledged may or may not be written; the callback is told of it."""
        self._sealed = True
        if not self._core.idle:
            self._core.fail(AmbiguousWrite("the producer was abandoned before its flush", url=self._core.url))
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ring()
        self._tell()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.detach()
        elif not isinstance(error, Exception):  # cancelled: waiting is not what was asked for
            await self.abandon()
        else:
            try:
                await self.detach()
            except Exception as lost:
                error.add_note(f"and the producer could not write everything: {lost!r}")

    async def _start(self) -> None:
        async with self._starting:
            if self._core.content_type is None:
                self._core.content_type = await self._learn_content_type()
                self._core.json = is_json(self._core.content_type)

    async def _add(self, data: bytes) -> None:
        core = self._core
        self._appends += 1
        if not self._appends % BREATHE_EVERY:
            await asyncio.sleep(0)
        if not core.has_room:
            await self._wait_for(lambda: core.has_room)
        if core.failure is not None:
            raise core.failure
        if self._sealed:
            raise RuntimeError("the producer has stopped")
        if core.add(data, time.monotonic()):
            self._pump()

    def _pump(self) -> None:
        """Send what is due, and come back when the next batch will be."""
        now = time.monotonic()
        while (batch := self._core.take(now)) is not None:
            task = asyncio.create_task(self._carry(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait_seconds = self._core.wait_seconds(now)
        if wait_seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._pump)

    async def _carry(self, batch: ProducedBatch) -> None:
        """Carry out the delivery of one batch."""
        wire = self._make_wire()
        flow = self._core.deliver(batch)
        outcome: Any = None
        error: Exception | None = None
        try:
            while True:
                step = flow.send(outcome) if error is None else flow.throw(error)
                self._ring()
                outcome, error = None, None
                if isinstance(step, Turn):
                    await self._wait_for(lambda turn=step: self._core.is_turn(turn))  # type: ignore[misc]
                elif isinstance(step, Pause):
                    try:
                        async with asyncio.timeout(step.seconds):
                            await self._wait_for(lambda: self._core.failure is not None)
                    except TimeoutError:
                        pass
                    outcome = True
                else:
                    try:
                        outcome = await wire.carry_out(step)
                    except Exception as raised:  # by a function that computes a header: the flow judges it
                        error = raised
        except StopIteration:
            pass
        finally:
            flow.close()
            self._ring()
            self._tell()

    def _ring(self) -> None:
        """Let everybody who waits look again, and send what became due."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        if self._core.failure is None:
            self._pump()

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def _raise_errors(self) -> None:
        self._tell()
        error = self._core.take_errors()
        if error is not None:
            raise error

    def _tell(self) -> None:
        news = self._core.news
        while news:
            error, messages = news.popleft()
            if self._on_error is not None:
                try:
                    self._on_error(error, messages)
                except Exception as raised:  # a callback that fails is not a reason to lose its error
                    self._core.errors.append(raised)
