"""An object store in a dictionary, with S3's semantics to the letter. Knows nothing of streams or of time passing.

Its verbs are plain functions: each is one indivisible effect. `world.py` decides when they happen.
"""

from collections.abc import Callable, Mapping
from hashlib import md5

from storage.objects import LIST_LIMIT, Always, Condition, Entry, Head, IfAbsent, IfMatch, Object, StoreRefused

KEY_BYTES = 1024
METADATA_BYTES = 2048


class Bucket:
    """Objects by key. An ETag is a hash of the body alone; last-modified has whole seconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.objects: dict[str, Object] = {}
        self.now_ms = now_ms
        self.observe: Callable[[str, Object | None], None] = lambda key, found: None  # called after each write
        self._sorted: list[str] | None = []

    def get(self, key: str, start: int = 0, length: int | None = None) -> Object | None:
        found = self.objects.get(key)
        if found is None or (start == 0 and length is None):
            return found
        return Object(found.body[start : None if length is None else start + length], found.head)

    def head(self, key: str) -> Head | None:
        found = self.objects.get(key)
        return None if found is None else found.head

    def put(
        self, key: str, body: bytes, condition: Condition, content_type: str, metadata: Mapping[str, str]
    ) -> str | None:
        if len(key.encode()) > KEY_BYTES:
            raise StoreRefused(f"put of {key}: the key is too long")
        if sum(map(len, metadata)) + sum(map(len, metadata.values())) > METADATA_BYTES:
            raise StoreRefused(f"put of {key}: the metadata is too long")
        present = self.objects.get(key)
        match condition:
            case IfAbsent():
                holds = present is None
            case IfMatch():
                holds = present is not None and present.head.etag == condition.etag
            case Always():
                holds = True
        if not holds:
            return None
        etag = f'"{md5(body, usedforsecurity=False).hexdigest()}"'
        modified_ms = self.now_ms() // 1000 * 1000
        self.objects[key] = Object(body, Head(etag, len(body), modified_ms, content_type, dict(metadata)))
        if present is None:
            self._sorted = None
        self.observe(key, self.objects[key])
        return etag

    def list(self, prefix: str, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        keys, low, high = self._sorted, 0, len(self._sorted)
        while low < high:
            middle = (low + high) // 2
            if keys[middle] <= after or keys[middle] < prefix:
                low = middle + 1
            else:
                high = middle
        entries: list[Entry] = []
        while low < len(keys) and len(entries) < min(limit, LIST_LIMIT) and keys[low].startswith(prefix):
            head = self.objects[keys[low]].head
            entries.append(Entry(keys[low], head.etag, head.size, head.modified_ms))
            low += 1
        return entries

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self._sorted = None
            self.observe(key, None)
