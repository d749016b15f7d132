"""What can go wrong, sorted by what the caller can do about it.

    DurableStreamError
    ├── RetryLater             the call was right: make it again, later
    │   ├── RateLimited        429, or a Retry-After longer than the client waits
    │   ├── Unavailable        5xx, after the last retry
    │   ├── ConnectionFailed   no connection, or it broke, after the last retry
    │   └── TimedOut           the time given to the call is up
    ├── AmbiguousWrite         the answer to a write was lost: read before writing it again
    ├── WrongCall              change the call
    │   ├── InvalidOffset      400 on a read
    │   ├── BadRequest         400 elsewhere
    │   ├── Unauthorized       401, 403
    │   ├── Conflict           409: other configuration, other content type
    │   │   └── SequenceConflict   409: Stream-Seq not above the last one, or a gap in Producer-Seq
    │   ├── TooLarge           413
    │   ├── NotSupported       405, 501: this server does not do that
    │   └── UnexpectedStatus   any other
    ├── StreamOver             this stream cannot serve the call any more: stop, or begin anew
    │   ├── NotFound           404
    │   ├── Gone               410: deleted, but forks still read it
    │   │   └── OffsetGone     410 on a read: that part of the stream is gone
    │   └── StreamClosed       409 with Stream-Closed: `offset` is the end
    ├── Fenced                 another producer took over this id: stop, or claim a newer epoch
    └── BadAnswer              the server, or a cache before it, breaks the protocol
        ├── MalformedReply
        └── StaleCache

Wrong arguments are `ValueError` and `TypeError`, raised before anything is sent.
"""

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "AmbiguousWrite",
    "BadAnswer",
    "BadRequest",
    "Conflict",
    "ConnectionFailed",
    "DurableStreamError",
    "Fenced",
    "Gone",
    "InvalidOffset",
    "MalformedReply",
    "NotFound",
    "NotSupported",
    "OffsetGone",
    "RateLimited",
    "RetryLater",
    "SequenceConflict",
    "StaleCache",
    "StreamClosed",
    "StreamOver",
    "TimedOut",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedStatus",
    "WrongCall",
]


class DurableStreamError(Exception):
    """Say what went wrong with which URL; the base of every error of this package.

    `code` is one word per class, stable, for logs and scripts. `status` and `headers` (lower-case names) are those of
    the response that caused the error, None and empty where none did. `offset` is the stream's tail where the server
    told it (`Stream-Next-Offset`), else the offset that was asked for, else None.
    """

    code: ClassVar[str] = "ERROR"

    def __init__(
        self,
        message: str,
        *,
        url: str = "",
        status: int | None = None,
        offset: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.url = url
        self.status = status
        self.offset = offset
        self.headers: Mapping[str, str] = headers or {}

    def __str__(self) -> str:
        return f"{self.message} ({self.url})" if self.url else self.message


class RetryLater(DurableStreamError):
    """Nothing is known to be wrong with the call; it may pass later."""

    code = "RETRY_LATER"


class RateLimited(RetryLater):
    """The server asks for patience: `retry_after_seconds`, where it said how much."""

    code = "RATE_LIMITED"
    retry_after_seconds: float | None = None


class Unavailable(RetryLater):
    """The server failed, and went on failing for as long as was retried."""

    code = "UNAVAILABLE"


class ConnectionFailed(RetryLater):
    """No connection came about, or each one broke."""

    code = "CONNECTION_FAILED"


class TimedOut(RetryLater):
    """The total time given to the call is up."""

    code = "TIMED_OUT"


class AmbiguousWrite(DurableStreamError):
    """A write may or may not have happened, and writing it again could double it."""

    code = "AMBIGUOUS_WRITE"


class WrongCall(DurableStreamError):
    """The same call will be refused again."""

    code = "WRONG_CALL"


class InvalidOffset(WrongCall):
    """The server does not know the offset that was asked for."""

    code = "INVALID_OFFSET"


class BadRequest(WrongCall):
    """The server calls the request malformed."""

    code = "BAD_REQUEST"


class Unauthorized(WrongCall):
    """Credentials are missing, wrong, or not sufficient."""

    code = "UNAUTHORIZED"


class Conflict(WrongCall):
    """The stream's configuration or state does not admit the call."""

    code = "CONFLICT"


class SequenceConflict(Conflict):
    """The sequence number is not the next one. Section 5.2."""

    code = "SEQUENCE_CONFLICT"


class TooLarge(WrongCall):
    """The body is larger than the server accepts."""

    code = "TOO_LARGE"


class NotSupported(WrongCall):
    """This server does not offer the operation."""

    code = "NOT_SUPPORTED"


class UnexpectedStatus(WrongCall):
    """A status that the protocol does not foresee here."""

    code = "UNEXPECTED_STATUS"


class StreamOver(DurableStreamError):
    """The stream cannot serve this call any more."""

    code = "STREAM_OVER"


class NotFound(StreamOver):
    """No such stream, or it was deleted, or it expired."""

    code = "NOT_FOUND"


class Gone(StreamOver):
    """The stream was deleted while forks still read from it. Section 4.2."""

    code = "GONE"


class OffsetGone(Gone):
    """What was at this offset is not retained any more, or belonged to a stream that was deleted."""

    code = "OFFSET_GONE"


class StreamClosed(StreamOver):
    """The stream is closed; `offset` is its end. Section 4.1."""

    code = "STREAM_CLOSED"


class Fenced(DurableStreamError):
    """Another producer claimed this id with a newer epoch: `current_epoch`. Section 5.2.1."""

    code = "FENCED"
    current_epoch: int | None = None


class BadAnswer(DurableStreamError):
    """What came back is not what the protocol promises."""

    code = "BAD_ANSWER"


class MalformedReply(BadAnswer):
    """A header, body or event cannot be understood."""

    code = "MALFORMED_REPLY"


class StaleCache(BadAnswer):
    """Something between client and server keeps answering with old responses, whatever is asked."""

    code = "STALE_CACHE"
