"""A producer with threads of its own: carries out `core.producer`. Decides nothing.

`max_in_flight` worker threads each carry one batch at a time. The core is touched under one lock only; workers wait
on one condition, everybody else (flush, back-pressure, turns) on another over the same lock. Workers are daemons: a
program that ends without `detach` is not held up, and is warned about what it lost.
"""

import atexit
import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from durable_streams_client.core.batch import check_json, encode_json, is_json
from durable_streams_client.core.exchange import Pause, Turn
from durable_streams_client.core.operations import Message, encode_message
from durable_streams_client.core.producer import ErrorCallback, ProducedBatch, ProducerCore
from durable_streams_client.errors import AmbiguousWrite, TimedOut
from durable_streams_client.models import Appended, Closed
from durable_streams_client.sync.wire import Wire


class Producer:
    """Write to a stream without waiting for each message, each one once. Section 5.2.1.

    `append` gathers messages into batches that go out in the background, up to `max_in_flight` at a time, and waits
    only when too much is unacknowledged. What could not be written is told to the callback at once, and raised by the
    next `flush`, `close` or `detach`. Leaving it as a context manager detaches. It may be shared between threads.
    """

    def __init__(
        self,
        core: ProducerCore,
        make_wire: Callable[[], Wire],
        learn_content_type: Callable[[], str],
        on_error: ErrorCallback | None,
    ) -> None:
        self._core = core
        self._make_wire = make_wire
        self._learn_content_type = learn_content_type
        self._on_error = on_error
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._changed = threading.Condition(lock)
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sealed = False  # takes no more messages
        self._stopping = False
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
        with self._changed:
            return self._core.settled

    @property
    def last(self) -> Appended | None:
        """The latest acknowledgement, None before the first."""
        return self._core.last

    def append(self, message: Message) -> None:
        """Take one message: bytes, or text as UTF-8; on a JSON stream, JSON text. Raise ValueError if it is not JSON
        there.

        Returns at once, or when there is room. Raises what the producer failed of, if it has.
        """
        data = encode_message(message)
        if not self._threads:
            self._start()
        if self._core.json:
            check_json(data)
        elif not data:
            raise ValueError("a message must not be empty")
        self._add(data)

    def append_json(self, value: object) -> None:
        """Take one value as a message of a JSON stream. Raise TypeError or ValueError if JSON cannot say it."""
        data = encode_json(value)
        if not self._threads:
            self._start()
        if not self._core.json:
            raise TypeError(f"the stream is {self._core.content_type}, not application/json")
        self._add(data)

    def flush(self, *, total_seconds: float | None = None) -> None:
        """Wait until everything appended so far is acknowledged.

        Raise what could not be written, TimedOut if time is up.
        """
        core = self._core
        with self._changed:
            appended = core.appended
            core.flushing += 1
            self._work.notify_all()
            try:
                if not self._changed.wait_for(lambda: core.is_settled(appended), total_seconds):
                    raise TimedOut("not everything is acknowledged yet", url=core.url)
            finally:
                core.flushing -= 1
        self._raise_errors()

    def close(self, message: Message | None = None, *, total_seconds: float | None = None) -> Closed:
        """Flush, then close the stream, with a last message in the same step if there is one; then stop.

        Closing again returns what the first time did, whatever the message. The stream stays open if anything before
        failed.
        """
        if self._closed is not None:
            return self._closed
        if not self._threads:
            self._start()
        data = None if message is None else encode_message(message)
        if data is not None and self._core.json:
            check_json(data)
        self._sealed = True
        try:
            self.flush(total_seconds=total_seconds)
        except Exception:
            self._sealed = False
            raise
        with self._changed:
            batch = self._core.take_last(data or None)
        self._carry(batch)
        self._raise_errors()
        last = self._core.last
        assert last is not None, "the last batch was acknowledged"
        self._closed = Closed(last.offset, last.status, last.headers)
        self._stop()
        return self._closed

    def detach(self, *, total_seconds: float | None = None) -> None:
        """Flush and stop, and leave the stream open. Raise what could not be written; stopped it is all the same."""
        try:
            if not self._stopping:
                self.flush(total_seconds=total_seconds)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop without a flush. What is not acknowledged may or may not be written; the callback is told of it.

        Attempts that are under way are not retried, but waited for: nothing runs on afterwards.
        """
        with self._changed:
            if not self._core.idle:
                self._core.fail(AmbiguousWrite("the producer was abandoned before its flush", url=self._core.url))
        self._stop()
        self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.detach()
        elif not isinstance(error, Exception):  # interrupted: waiting is not what was asked for
            self.abandon()
        else:
            try:
                self.detach()
            except Exception as lost:
                error.add_note(f"and the producer could not write everything: {lost!r}")

    def _start(self) -> None:
        with self._starting:
            if self._stopping:
                raise RuntimeError("the producer has stopped")
            if self._core.content_type is None:
                self._core.content_type = self._learn_content_type()
                self._core.json = is_json(self._core.content_type)
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._run, daemon=True, name=f"producer {self.producer_id} {number}")
                    for number in range(self._core.limits.max_in_flight)
                ]
                for thread in self._threads:
                    thread.start()
                atexit.register(self._warn)

    def _stop(self) -> None:
        with self._changed:
            self._stopping = True
            atexit.unregister(self._warn)
            self._work.notify_all()
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _warn(self) -> None:
        if not self._core.idle:
            warnings.warn(
                "the program ends before a producer's flush: messages are lost", ResourceWarning, stacklevel=1
            )

    def _add(self, data: bytes) -> None:
        core = self._core
        with self._changed:
            while not core.has_room:
                self._changed.wait()
            if core.failure is not None:
                raise core.failure
            if self._sealed or self._stopping:
                raise RuntimeError("the producer has stopped")
            if core.add(data, time.monotonic()):
                self._work.notify()

    def _raise_errors(self) -> None:
        self._tell()
        with self._changed:
            error = self._core.take_errors()
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._work:
                batch = self._core.take(time.monotonic())
                while batch is None:
                    if self._stopping:
                        return
                    self._work.wait(self._core.wait_seconds(time.monotonic()))
                    batch = self._core.take(time.monotonic())
                self._work.notify()  # there may be another one due
            self._carry(batch)
            self._tell()

    def _carry(self, batch: ProducedBatch) -> None:
        """Carry out the delivery of one batch: the flow advances under the lock, its steps happen outside of it."""
        wire = self._make_wire()
        flow = self._core.deliver(batch)
        outcome: Any = None
        error: Exception | None = None
        while True:
            with self._changed:
                try:
                    step = flow.send(outcome) if error is None else flow.throw(error)
                except StopIteration:
                    return
                finally:
                    self._changed.notify_all()
                    self._work.notify_all()
                outcome, error = None, None
                if isinstance(step, Turn):
                    self._changed.wait_for(lambda turn=step: self._core.is_turn(turn))  # type: ignore[misc]
                    continue
                if isinstance(step, Pause):
                    self._changed.wait_for(lambda: self._core.failure is not None, step.seconds)
                    outcome = True
                    continue
            try:
                outcome = wire.carry_out(step)
            except Exception as raised:  # by a function that computes a header: the flow judges it
                error = raised

    def _tell(self) -> None:
        if self._on_error is None:
            self._core.news.clear()
            return
        while True:
            try:
                error, messages = self._core.news.popleft()
            except IndexError:
                return
            try:
                self._on_error(error, messages)
            except Exception as raised:  # a callback that fails is not a reason to lose its error
                with self._changed:
                    self._core.errors.append(raised)
