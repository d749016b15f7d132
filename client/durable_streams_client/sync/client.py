"""Streams and their operations with a blocking client. Builds conversations, runs them, decides nothing."""

import random
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx

from durable_streams_client.core import names, operations
from durable_streams_client.core.batch import encode_json, frame_json, is_json
from durable_streams_client.core.cdn import Cdn
from durable_streams_client.core.exchange import Flow, Pace
from durable_streams_client.core.gathering import PRODUCER_LIMITS, Limits
from durable_streams_client.core.operations import Expiry, Message
from durable_streams_client.core.producer import ErrorCallback, ProducerCore
from durable_streams_client.core.reading import Reading
from durable_streams_client.models import (
    FOLLOW_RETRY,
    PRODUCER_RETRY,
    REQUEST_RETRY,
    TIMEOUTS,
    Appended,
    Closed,
    Created,
    Head,
    Live,
    Position,
    Retry,
    Timeouts,
)
from durable_streams_client.sync.producer import Producer
from durable_streams_client.sync.reader import Reader
from durable_streams_client.sync.wire import Wire
from durable_streams_client.wire import LIMITS, Deadline, SyncValues, join_url

T = TypeVar("T")


class Client:
    """Reach the streams of a server.

    `headers` and `params` go with every request; a value may be a function, which is called for every attempt (fresh
    tokens). `retry` governs single requests, `follow_retry` a live read that lost its server. With `cdn`, a base URL
    or a `Cdn`, reads catch up through it. A given `http_client` is used as it is and stays open; otherwise the client
    has one of its own, and is to be closed or used as a context manager. Safe to share between threads.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        headers: SyncValues | None = None,
        params: SyncValues | None = None,
        cdn: str | Cdn | None = None,
        retry: Retry = REQUEST_RETRY,
        follow_retry: Retry = FOLLOW_RETRY,
        timeouts: Timeouts = TIMEOUTS,
        http_client: httpx.Client | None = None,
    ) -> None:
        self.base_url = base_url
        self.headers: SyncValues = headers or {}
        self.params: SyncValues = params or {}
        self.cdn = Cdn(cdn) if isinstance(cdn, str) else cdn
        self.retry = retry
        self.follow_retry = follow_retry
        self.timeouts = timeouts
        self._own_http = http_client is None
        self.http = http_client or httpx.Client(limits=LIMITS, timeout=None)

    def stream(self, path: str, *, headers: SyncValues | None = None, params: SyncValues | None = None) -> "Stream":
        """Name a stream: by its path under `base_url`, or by its URL. Sends nothing."""
        return Stream(self, join_url(self.base_url, path), headers or {}, params or {})

    def list_streams(self, prefix: str = "", *, total_seconds: float | None = None) -> Iterator[str]:
        """Iterate over the paths of streams that begin with `prefix`, in order.

        An extension of the project's own server. Raise NotSupported where the server has no such thing.
        """
        root = self.stream("")
        after: str | None = None
        deadline = Deadline(total_seconds)
        while True:
            flow = operations.list_streams(
                root.url, self.pace(), prefix=prefix, after=after, limit=operations.LIST_PAGE_SIZE
            )
            paths, after = root.wire(deadline).run(flow)
            yield from paths
            if after is None:
                return

    def pace(self, retry: Retry | None = None) -> Pace:
        """Return how to try again."""
        return Pace(retry or self.retry, random.random)

    def close(self) -> None:
        """Close the HTTP client, unless it was given."""
        if self._own_http:
            self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Stream:
    """One stream, by its URL. Keeps nothing but its content type, learnt from the first answer that tells it.

    `total_seconds` of a call bounds it with all its retries: TimedOut. What else can go wrong is in `errors`.
    """

    def __init__(self, client: Client, url: str, headers: SyncValues, params: SyncValues) -> None:
        self.client = client
        self.url = url
        self.content_type: str | None = None
        self._headers = {**client.headers, **headers}
        self._params = {**client.params, **params}

    def create(
        self,
        content_type: str | None = None,
        *,
        data: Message | None = None,
        ttl_seconds: int | None = None,
        expires_at: datetime | str | None = None,
        closed: bool = False,
        total_seconds: float | None = None,
    ) -> Created:
        """Create the stream, or make sure that it is there with this configuration. Raise Conflict if it is there
        with another.

        `data` is its first content (on a JSON stream the text of a message, or of an array of messages); with
        `closed` it is all of it. `ttl_seconds` counts from the last read or write, `expires_at` is a moment with a
        time zone; not both.
        """
        created = self._run(
            operations.create(
                self.url,
                self.client.pace(),
                content_type=content_type,
                expiry=Expiry(ttl_seconds, expires_at),
                closed=closed,
                body=None if data is None else operations.encode_message(data),
            ),
            total_seconds,
        )
        self.content_type = created.content_type
        return created

    def fork(
        self,
        path: str,
        *,
        offset: str | None = None,
        sub_offset: int = 0,
        content_type: str | None = None,
        ttl_seconds: int | None = None,
        expires_at: datetime | str | None = None,
        total_seconds: float | None = None,
    ) -> Created:
        """Create another stream that begins with this one's data up to `offset`, or all of it. Section 4.2.

        `sub_offset` goes past the offset by so many messages (JSON) or bytes. `path` is relative to the client's base
        URL.
        """
        flow = operations.fork(
            self.url,
            join_url(self.client.base_url, path),
            self.client.pace(),
            offset=offset,
            sub_offset=sub_offset,
            content_type=content_type,
            expiry=Expiry(ttl_seconds, expires_at),
        )
        return self._run(flow, total_seconds)

    def append(
        self,
        *messages: Message,
        seq: str | None = None,
        content_type: str | None = None,
        total_seconds: float | None = None,
    ) -> Appended:
        """Append messages in one request: bytes, or text as UTF-8; on a JSON stream each is JSON text and stays one
        message.

        `seq` must be greater, as a string, than that of the append before: else SequenceConflict. If the answer is
        lost the append may or may not have happened: AmbiguousWrite. For writes that may be repeated there is
        `producer`.
        """
        content_type = content_type or self._learn_content_type(total_seconds)
        body = operations.compose_body(messages, content_type)
        return self._append(body, content_type, seq, total_seconds)

    def append_json(self, *values: object, seq: str | None = None, total_seconds: float | None = None) -> Appended:
        """Append values as messages of a JSON stream, in one request.

        See `append`. Raise TypeError for another type.
        """
        if self.content_type is not None and not is_json(self.content_type):
            raise TypeError(f"the stream is {self.content_type}, not {names.JSON_TYPE}")
        body = frame_json(map(encode_json, values))
        return self._append(body, self.content_type or names.JSON_TYPE, seq, total_seconds)

    def close(self, *messages: Message, content_type: str | None = None, total_seconds: float | None = None) -> Closed:
        """Close the stream for good, with last messages in the same step if there are any. See `append`.

        Closing again is fine without messages, StreamClosed with some.
        """
        content_type = content_type or (self._learn_content_type(total_seconds) if messages else names.BINARY_TYPE)
        body = operations.compose_body(messages, content_type) if messages else None
        return self._run(
            operations.close(self.url, self.client.pace(), body=body, content_type=content_type), total_seconds
        )

    def delete(self, *, total_seconds: float | None = None) -> None:
        """Delete the stream and all its data. Raise NotFound if there is none."""
        self._run(operations.delete(self.url, self.client.pace()), total_seconds)
        self.content_type = None

    def head(self, *, total_seconds: float | None = None) -> Head:
        """Ask where the tail is, and what else is known of the stream, without its data."""
        head = self._run(operations.head(self.url, self.client.pace()), total_seconds)
        self.content_type = head.content_type
        return head

    def read(
        self,
        start: str | Position = names.OFFSET_BEGINNING,
        *,
        live: Live = False,
        cdn: str | Cdn | None = None,
        total_seconds: float | None = None,
    ) -> Reader:
        """Read from an offset, a position or its text; from the beginning, or from `now`. Sends nothing before it is
        iterated.

        `live`: False ends at the tail; "long-poll" and "sse" go on in that mode; True takes SSE and falls back to
        long-poll, which it takes at once for text/*, because SSE does not keep line ends. With `total_seconds` it
        raises TimedOut when they are over, its position intact.
        """
        if live not in (False, True, names.LIVE_LONG_POLL, names.LIVE_SSE):
            raise ValueError(f"live must be False, True, 'long-poll' or 'sse', not {live!r}")
        position = Position.parse(start) if isinstance(start, str) else start
        reading = Reading(
            self.url,
            live,
            self.client.pace(),
            self.client.pace(self.client.follow_retry),
            clock=time.monotonic,
            nonce=lambda: uuid.uuid4().hex,
            cdn=(Cdn(cdn) if isinstance(cdn, str) else cdn) or self.client.cdn,
        )
        return Reader(self.wire(Deadline(total_seconds)), reading, position)

    def producer(
        self,
        producer_id: str | None = None,
        *,
        epoch: int = 0,
        seq: int = 0,
        auto_claim: bool = False,
        limits: Limits = PRODUCER_LIMITS,
        retry: Retry = PRODUCER_RETRY,
        content_type: str | None = None,
        on_error: ErrorCallback | None = None,
    ) -> Producer:
        """Make an idempotent producer. Sends nothing before the first message.

        Its id is its identity across restarts: a program that starts again uses the next `epoch`, or `auto_claim` to
        take it from the server, and then whoever used the id before is Fenced. The same epoch again means the same
        batches again: the server drops what it has. Without an id it gets a random one. `seq` goes on within an epoch
        (`Producer.settled`). `on_error(error, messages)` is called from a thread of the producer.
        """
        core = ProducerCore(
            self.url,
            uuid.uuid4().hex if producer_id is None else producer_id,
            epoch=epoch,
            seq=seq,
            auto_claim=auto_claim,
            limits=limits,
            pace=self.client.pace(retry),
        )
        return Producer(
            core, lambda: self.wire(Deadline(None)), lambda: content_type or self._learn_content_type(None), on_error
        )

    def wire(self, deadline: Deadline) -> Wire:
        """Return what carries out one conversation with this stream."""
        return Wire(self.client.http, self._headers, self._params, self.client.timeouts, deadline)

    def _run(self, flow: Flow[T], total_seconds: float | None) -> T:
        return self.wire(Deadline(total_seconds)).run(flow)

    def _append(self, body: bytes, content_type: str, seq: str | None, total_seconds: float | None) -> Appended:
        flow = operations.append(self.url, self.client.pace(), body=body, content_type=content_type, seq=seq)
        return self._run(flow, total_seconds)

    def _learn_content_type(self, total_seconds: float | None) -> str:
        if self.content_type is None:
            self.head(total_seconds=total_seconds)
        assert self.content_type is not None
        return self.content_type
