"""Mint the cursor of a live answer. Section 10.1. Knows no clock and no randomness: both are arguments."""

from zlib import crc32

EPOCH_SECONDS = 1_728_432_000  # 2024-10-09T00:00:00Z
INTERVAL_SECONDS = 20
JITTER_SECONDS = 3600  # the most that a repeated cursor is moved on

_DIGITS = 18  # a cursor with more of them is none of ours, and would make an integer of any size


def cursor_at(now_seconds: float, echoed: str | None, jitter_seconds: int) -> str:
    """Return the number of the current interval, or one beyond what the client echoed if that is not behind it.

    `jitter_seconds`: 1 to 3,600, how far beyond. An echo that no server of this kind has sent counts as none.
    """
    current = max(0, int(now_seconds - EPOCH_SECONDS) // INTERVAL_SECONDS)
    if echoed is None or not (echoed.isascii() and echoed.isdigit() and len(echoed) <= _DIGITS):
        return str(current)
    before = int(echoed)
    if before < current:
        return str(current)
    return str(before + max(1, jitter_seconds // INTERVAL_SECONDS))


def jitter_of(*url: str) -> int:
    """Return the jitter for a URL, in seconds: the same for all who wait with it, so that a cache can collapse them."""
    return 1 + crc32("\0".join(url).encode("utf-8", "surrogateescape")) % JITTER_SECONDS
