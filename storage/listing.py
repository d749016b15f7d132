"""List the streams of a store by prefix. An extension, and how a subscription finds what its pattern matches.

The bucket lists roots, in the order of their keys; whether a stream lives stands in the root.
"""

import asyncio
from urllib.parse import quote

import msgspec

from storage.bucket import Bucket, reading
from storage.core import keys, lifetime
from storage.core.root import Root, State
from storage.objects import LIST_LIMIT

_PREFIX = "root/"


class Listed(msgspec.Struct, frozen=True):
    """One page. `next` is what to continue after, None where nothing follows."""

    paths: list[str]
    next: str | None


def prefix_key(prefix: str) -> str:
    """Return what the root keys of all paths with this prefix begin with: escaping goes character by character."""
    return _PREFIX + quote(prefix, safe="")


async def every_path(bucket: Bucket, prefix: str) -> list[str]:
    """Return every path with the prefix that has ever been a stream. One LIST per thousand."""
    paths: list[str] = []
    after = ""
    while True:
        entries = await reading(bucket.objects.list(prefix_key(prefix), after=after))
        paths += [keys.decode_path(entry.key.removeprefix(_PREFIX)) for entry in entries]
        if len(entries) < LIST_LIMIT:
            return paths
        after = entries[-1].key


class Lister:
    """Lists streams."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def page(self, prefix: str, after: str, limit: int) -> Listed:
        """Return up to `limit` paths of streams that live, in key order. Raises PathTooLong, LogError."""
        bucket = self._bucket
        start = keys.root_key(after) if after else ""
        paths: list[str] = []
        while len(paths) < limit:
            # One more than is wanted, so that a page that is just full knows whether it is the last.
            wanted = min(limit - len(paths) + 1, LIST_LIMIT)
            entries = await reading(bucket.objects.list(prefix_key(prefix), after=start, limit=wanted))
            names = [keys.decode_path(entry.key.removeprefix(_PREFIX)) for entry in entries]
            for path, is_live in zip(names, await self._live(names), strict=True):
                if len(paths) == limit:
                    return Listed(paths, paths[-1])
                if is_live:
                    paths.append(path)
            if len(entries) < wanted:
                return Listed(paths, None)
            start = entries[-1].key
        return Listed(paths, keys.decode_path(start.removeprefix(_PREFIX)))

    async def _live(self, paths: list[str]) -> list[bool]:
        gate = asyncio.Semaphore(self._bucket.settings.parallel_gets)

        async def is_live(path: str) -> bool:
            async with gate:
                found = await self._bucket.read_root(keys.root_key(path))
            return found is not None and self._is_live(found.root)

        return list(await asyncio.gather(*map(is_live, paths)))

    def _is_live(self, root: Root) -> bool:
        if root.state is not State.LIVE:
            return False
        # A sliding expiry needs the tail: such a stream is listed until somebody has seen that its time is over.
        expires = None if root.config.ttl_seconds is not None else lifetime.expiry_ms(root.config, 0)
        return expires is None or self._bucket.clock.now_ms() < expires
