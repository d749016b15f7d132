"""Time and chance, as the log is given them. Knows the machine; tests bring their own."""

import asyncio
import os
import random
import sys
import time

_ID_BYTES = 12


class Clock:
    """The wall, a clock that no suspension stops, and sleep."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def steady(self) -> float:
        """Return seconds of a clock that counts suspension: a frozen sandbox that wakes up sees that time went by."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class Chance:
    """Ids and jitter. Nothing is drawn before it is needed: a snapshot of a process may be started many times."""

    def __init__(self) -> None:
        self._drawn = b""
        self._used = 0
        self._drawn_by = 0  # whose bytes they are: a fork must not use its parent's

    def new_id(self) -> str:
        """Return an id that nobody else has: 24 hexadecimal digits."""
        process = os.getpid()
        if self._used >= len(self._drawn) or process != self._drawn_by:
            # Many at once: asking the kernel can cost more than all else that an append does.
            self._drawn, self._used, self._drawn_by = os.urandom(_ID_BYTES * 256), 0, process
        start, self._used = self._used, self._used + _ID_BYTES
        return self._drawn[start : self._used].hex()

    def jitter(self, seconds: float) -> float:
        """Return a pause of half to all of `seconds`."""
        return seconds * (0.5 + random.SystemRandom().random() / 2)
