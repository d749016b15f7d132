"""The values that go into calls and come out of them. Knows no HTTP and does nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Appended", "Closed", "Created", "Head", "Live", "Position", "Retry", "Timeouts"]

Live = Literal[False, True, "long-poll", "sse"]
"""How a read goes on after it caught up: not at all, as the client sees fit, or in the mode named."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently to try again what may pass later: 429, 5xx, broken connections.

    Waits grow from `initial_delay_seconds` by `multiplier` up to `max_delay_seconds`, and each is cut by a random
    part of at most half, so that clients which failed together do not come back together. A `Retry-After` is a lower
    bound on a wait. `max_retries` counts consecutive failures; None tries for ever.
    """

    max_retries: int | None = 5
    initial_delay_seconds: float = 0.1
    max_delay_seconds: float = 10.0
    multiplier: float = 2.0
    max_retry_after_seconds: float = 120.0  # asked to wait longer than this, say RateLimited instead

    def __post_init__(self) -> None:
        if self.max_retries is not None and self.max_retries < 0:
            raise ValueError("max_retries must not be negative")
        if self.initial_delay_seconds <= 0:
            raise ValueError("initial_delay_seconds must be positive")
        if self.max_delay_seconds < self.initial_delay_seconds:
            raise ValueError("max_delay_seconds must not be less than initial_delay_seconds")
        if self.multiplier < 1:
            raise ValueError("multiplier must be at least 1")
        if self.max_retry_after_seconds < 0:
            raise ValueError("max_retry_after_seconds must not be negative")


REQUEST_RETRY = Retry()
# A follower has nothing better to do than to wait for its server: this lasts for about two minutes of outage.
FOLLOW_RETRY = Retry(max_retries=20)
# A producer holds messages that nobody else has: about half a minute.
PRODUCER_RETRY = Retry(max_retries=12, max_delay_seconds=5.0)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for what. The total time of a call, retries and pauses included, is an argument of the call.

    `attempt_seconds` bounds one attempt of a request, from connecting to the last byte (the sync client looks at the
    clock when bytes arrive: an answer that falls silent may take up to twice as long). Requests that wait for new
    data are bounded by silence instead: `live_silence_seconds` without a byte, and the connection is given up and
    opened anew. Servers hold a long-poll for about 30 s and an SSE connection for about 60 s (section 5.8), so it
    lies above both.
    """

    connect_seconds: float = 10.0
    attempt_seconds: float = 60.0
    live_silence_seconds: float = 75.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")


TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands: `skip` messages (JSON) or bytes (other types) past an offset that the server minted.

    Offsets are opaque, so a reader that stopped in the middle of a batch names the batch's offset and what it took of
    it; bytes at an offset never change, so resuming there is exact. As text it is `offset` or `offset,skip`: a token
    never contains a comma (section 8).
    """

    offset: str = "-1"
    skip: int = 0

    def __post_init__(self) -> None:
        if not self.offset:
            raise ValueError("offset must not be empty")
        if self.skip < 0:
            raise ValueError("skip must not be negative")

    def __str__(self) -> str:
        return f"{self.offset},{self.skip}" if self.skip else self.offset

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read what `str` wrote; a bare offset is a position too. Raise ValueError for anything else."""
        offset, comma, skip = text.partition(",")
        if comma and not (skip.isascii() and skip.isdigit()):
            raise ValueError(f"not a position: {text!r}")
        return cls(offset, int(skip) if comma else 0)


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a create or fork.

    `created` is False where the stream was there already, with the same configuration.
    """

    url: str
    created: bool
    offset: str | None
    content_type: str | None
    closed: bool
    status: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append: the stream's tail after it, and whether that closed the stream.

    `offset` is None where the server does not tell it. `duplicate` is True where a producer's batch had been written
    before.
    """

    offset: str | None
    closed: bool
    duplicate: bool
    status: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """The answer to a close: where the stream ends."""

    offset: str | None
    status: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """What a stream is, without its data. `expires_at` is RFC 3339, as the server wrote it. Section 5.5."""

    offset: str
    content_type: str
    closed: bool
    ttl_seconds: int | None
    expires_at: str | None
    etag: str | None
    status: int
    headers: Mapping[str, str] = field(repr=False)
