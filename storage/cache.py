"""Chunks that this process has seen, bounded in bytes.

The bytes at a position never change, so nothing ever has to be invalidated; what is here may be the beginning of what
is in the store by now.
"""

from collections import OrderedDict

import msgspec

from storage.core.chunk import Chunk


class Cached(msgspec.Struct, frozen=True):
    """A chunk and its body, or the beginning of its body."""

    chunk: Chunk
    body: bytes
    etag: str = ""  # of the version that is here; empty where it is not known
    content_type: str = ""
    size: int = 0  # bytes of the whole body


class ChunkCache:
    """The least recently used chunks go first. Keys are object keys."""

    _OVERHEAD_BYTES = 1024  # of an entry, besides its body

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._entries: OrderedDict[str, Cached] = OrderedDict()

    def get(self, key: str) -> Cached | None:
        """Return the chunk if it is here."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def drop(self, key: str) -> None:
        """Forget a chunk of which there may be more by now."""
        old = self._entries.pop(key, None)
        if old is not None:
            self._size -= len(old.body) + self._OVERHEAD_BYTES

    def put(self, key: str, entry: Cached) -> None:
        """Keep a chunk, unless it would push out most of the others."""
        cost = len(entry.body) + self._OVERHEAD_BYTES
        if cost > self._limit // 4:
            return
        self.drop(key)
        self._entries[key] = entry
        self._size += cost
        while self._size > self._limit:
            _, gone = self._entries.popitem(last=False)
            self._size -= len(gone.body) + self._OVERHEAD_BYTES
