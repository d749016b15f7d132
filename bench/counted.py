"""Run the server with its requests to the store counted. Takes the server's own arguments.

At SIGUSR2 the counts so far are written, as JSON, to the file that DURABLE_STREAMS_BENCH_COUNTS names.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from handler import local
from handler.__main__ import main
from handler.settings import ServerSettings
from storage.objects import LIST_LIMIT, NO_METADATA, Arriving, Condition, Entry, Head, Object, Objects

FILE = "DURABLE_STREAMS_BENCH_COUNTS"

_counts: Counter[str] = Counter()
_open_store = local.open_store


class Counted:
    """A store that counts verbs and does nothing else, so that it costs next to nothing."""

    def __init__(self, inner: Objects) -> None:
        self.name = inner.name
        self._inner = inner

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        """Count a get."""
        _counts["get"] += 1
        return await self._inner.get(key, start=start, length=length)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        """Count a get."""
        _counts["get"] += 1
        return await self._inner.get_parts(key, start=start, length=length)

    async def head(self, key: str) -> Head | None:
        """Count a head."""
        _counts["head"] += 1
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
        """Count a put."""
        _counts["put"] += 1
        return await self._inner.put(
            key, body, condition, content_type=content_type, cache_control=cache_control, metadata=metadata
        )

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        """Count a list."""
        _counts["list"] += 1
        return await self._inner.list(prefix, after=after, limit=limit)

    async def delete(self, key: str) -> None:
        """Count a delete."""
        _counts["delete"] += 1
        await self._inner.delete(key)

    async def aclose(self) -> None:
        """Close the store."""
        await self._inner.aclose()


async def open_counted(settings: ServerSettings) -> Objects:
    """Open the server's store behind a counter."""
    return Counted(await _open_store(settings))


def tell(*_: object) -> None:
    """Write the counts, whole or not at all."""
    file = Path(os.environ[FILE])
    file.with_suffix(".new").write_bytes(msgspec.json.encode(dict(_counts)))
    file.with_suffix(".new").replace(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, tell)
    local.open_store = open_counted
    sys.exit(main())
