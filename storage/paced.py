"""A store whose requests are counted and kept to a rate. Knows the port and the time; nothing of what is asked for."""

from collections.abc import Mapping

from storage.clock import Clock
from storage.objects import LIST_LIMIT, NO_METADATA, Arriving, Condition, Entry, Head, Object, Objects

Entries = list[Entry]  # within the class, `list` is the verb


class Paced:
    """Passes requests on, at most so many per second."""

    def __init__(self, objects: Objects, clock: Clock, per_second: float) -> None:
        """`per_second`: 0 for no limit."""
        self._objects = objects
        self._clock = clock
        self._interval = 1 / per_second if per_second else 0.0
        self._free_at = clock.steady()
        self.requests = 0

    @property
    def name(self) -> str:
        return self._objects.name

    async def _wait(self) -> None:
        self.requests += 1
        now = self._clock.steady()
        self._free_at = max(self._free_at, now) + self._interval
        ahead = self._free_at - self._interval - now
        if ahead > 0:
            await self._clock.sleep(ahead)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        await self._wait()
        return await self._objects.get(key, start=start, length=length)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        await self._wait()
        return await self._objects.get_parts(key, start=start, length=length)

    async def head(self, key: str) -> Head | None:
        await self._wait()
        return await self._objects.head(key)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition,
        *,
        content_type: str = "application/octet-stream",
        cache_control: str = "",
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> str | None:
        await self._wait()
        return await self._objects.put(
            key, body, condition, content_type=content_type, cache_control=cache_control, metadata=metadata
        )

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> Entries:
        await self._wait()
        return await self._objects.list(prefix, after=after, limit=limit)

    async def delete(self, key: str) -> None:
        await self._wait()
        await self._objects.delete(key)

    async def aclose(self) -> None:
        """Leave the store open: it is somebody else's."""
