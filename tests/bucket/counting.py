"""A store that counts what is asked of it. Knows the port only."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from storage.objects import LIST_LIMIT, NO_METADATA, Arriving, Condition, Entry, Head, Object, Objects


class CountingObjects:
    """Passes everything on, and remembers it.

    `calls`: verb and key of each request in the order they were made. `peak`: for each verb and key, how many requests
    were under way at once at most.
    """

    def __init__(self, inner: Objects) -> None:
        self.name = inner.name
        self.calls: list[tuple[str, str]] = []
        self.peak: Counter[tuple[str, str]] = Counter()
        self._inner = inner
        self._under_way: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """Return how many requests there were since the last `clear`."""
        return len(self.calls)

    @property
    def verbs(self) -> dict[str, int]:
        """How many requests there were of each verb, without those that were not used."""
        return dict(Counter(verb for verb, _ in self.calls))

    def keys(self, verb: str) -> list[str]:
        """Return the keys that the verb was used on, in order."""
        return [key for used, key in self.calls if used == verb]

    def clear(self) -> None:
        """Begin to count anew; requests under way still count towards a peak."""
        self.calls.clear()
        self.peak = self._under_way.copy()

    @contextmanager
    def _counted(self, verb: str, key: str) -> Iterator[None]:
        call = (verb, key)
        self.calls.append(call)
        self._under_way[call] += 1
        self.peak[call] = max(self.peak[call], self._under_way[call])
        try:
            yield
        finally:
            self._under_way[call] -= 1

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        with self._counted("get", key):
            return await self._inner.get(key, start=start, length=length)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        with self._counted("get", key):
            return await self._inner.get_parts(key, start=start, length=length)

    async def head(self, key: str) -> Head | None:
        with self._counted("head", key):
            return await self._inner.head(key)

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
        with self._counted("put", key):
            return await self._inner.put(
                key, body, condition, content_type=content_type, cache_control=cache_control, metadata=metadata
            )

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        with self._counted("list", prefix):
            return await self._inner.list(prefix, after=after, limit=limit)

    async def delete(self, key: str) -> None:
        with self._counted("delete", key):
            await self._inner.delete(key)

    async def aclose(self) -> None:
        await self._inner.aclose()
