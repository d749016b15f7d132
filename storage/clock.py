"""Time and chance, as the log is given them. Knows the machine; tests bring their own."""

import asyncio
import random
import secrets
import sys
import time


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

    def new_id(self) -> str:
        """Return an id that nobody else has: 24 hexadecimal digits."""
        return secrets.token_hex(12)

    def jitter(self, seconds: float) -> float:
        """Return a pause of half to all of `seconds`."""
        return seconds * (0.5 + random.SystemRandom().random() / 2)
