"""Gather single messages into batches: how much, how many, for how long. Knows neither numbers nor requests."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """How messages become requests.

    `linger_seconds` None: batches are cut by size alone (and by a flush), so that the same input gives the same
    batches.
    """

    linger_seconds: float | None = 0.005  # how long the first message of a batch waits for company
    max_batch_bytes: int = 1024 * 1024
    max_batch_items: int = 10_000
    max_in_flight: int = 4
    max_buffered_bytes: int = 16 * 1024 * 1024  # what may wait for its acknowledgement before `append` waits, too

    def __post_init__(self) -> None:
        if self.linger_seconds is not None and self.linger_seconds < 0:
            raise ValueError("linger_seconds must not be negative")
        for name in ("max_batch_bytes", "max_batch_items", "max_in_flight", "max_buffered_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")


PRODUCER_LIMITS = Limits()


@dataclass(slots=True)
class Gathered:
    """Messages that will travel together.

    `size` in bytes, a separator for each included; `since` in the caller's clock.
    """

    messages: list[bytes] = field(default_factory=list)
    size: int = 0
    since: float = 0.0


class Gathering:
    """What is on its way to become a batch, in order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open = Gathered()
        self._cut: deque[Gathered] = deque()

    def add(self, message: bytes, now: float) -> bool:
        """Take a message; tell whether a batch was cut, or the first one of a batch arrived and begins to wait."""
        limits, gathered = self._limits, self._open
        size = len(message) + 1
        news = False
        if gathered.messages and gathered.size + size > limits.max_batch_bytes:
            self.cut()
            gathered = self._open
        if not gathered.messages:
            gathered.since = now
            news = True
        gathered.messages.append(message)
        gathered.size += size
        if gathered.size >= limits.max_batch_bytes or len(gathered.messages) >= limits.max_batch_items:
            self.cut()
            news = True
        return news

    def cut(self) -> None:
        """End the batch that is open, which has a message."""
        self._cut.append(self._open)
        self._open = Gathered()

    def wait_seconds(self, now: float, *, flushing: bool) -> float | None:
        """Return how long until a batch is due: 0 for now, None for as long as nothing else happens."""
        if self._cut:
            return 0.0
        if not self._open.messages:
            return None
        if flushing:
            return 0.0
        linger = self._limits.linger_seconds
        return None if linger is None else max(0.0, self._open.since + linger - now)

    def pop(self) -> Gathered:
        """Return the next batch. One must be due."""
        if not self._cut:
            self.cut()
        return self._cut.popleft()

    def clear(self) -> list[bytes]:
        """Forget everything, and return it."""
        messages = [message for gathered in (*self._cut, self._open) for message in gathered.messages]
        self._cut.clear()
        self._open = Gathered()
        return messages

    def __bool__(self) -> bool:
        return bool(self._cut or self._open.messages)
