"""The store port: what every backend can do. Knows objects, conditions and failures; nothing of streams.

What a caller can rely on, whatever the backend:

* A write with a condition is atomic: of any number of racing `put(..., IfAbsent())` of one key, one succeeds.
* Reads and lists are consistent: what a put returned for is seen by every later get, head and list.
* Keys are ASCII and are listed in byte order.
* An ETag is a hash of the body and ignores metadata: equal bodies are one version. Whoever changes an object by
  `IfMatch` puts a fresh id into the body.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import msgspec

LIST_LIMIT = 1000  # what S3 returns in one page at most
LONGEST_KEY_BYTES = 1024  # S3's limit, with the store's own prefix; every backend keeps it, so that data can be moved

NO_METADATA: Mapping[str, str] = {}


class StoreError(Exception):
    """A store that could not do what was asked. Its text names the store, the verb and the key."""


class StoreUnavailable(StoreError):
    """Nothing was written (or read): the request did not reach the store, or was turned away. Trying again may help."""


class StoreRefused(StoreError):
    """Nothing was written (or read), and trying again will not help: credentials, a missing bucket, a key too long."""


class KeyRefused(StoreRefused):
    """Nothing was written (or read): the store takes no such key. A shorter one may do."""


class OutcomeUnknown(StoreError):
    """The write may have happened, may happen later, or never: a timeout, a reset, a 5xx, a 409. Read first."""


class IfAbsent(msgspec.Struct, frozen=True):
    """Write only where there is no object (`If-None-Match: *`)."""


class IfMatch(msgspec.Struct, frozen=True):
    """Write only over the object whose ETag this is (`If-Match`)."""

    etag: str


class Always(msgspec.Struct, frozen=True):
    """Write over whatever is there."""


Condition = IfAbsent | IfMatch | Always


class Head(msgspec.Struct, frozen=True):
    """What a store knows of an object besides its bytes. `size` is of the whole body in bytes."""

    etag: str
    size: int
    modified_ms: int  # since the epoch, by the store's clock; S3 has whole seconds
    content_type: str
    metadata: Mapping[str, str]


class Object(msgspec.Struct, frozen=True):
    """An object, or the range of it that was asked for; `head.size` is of the whole."""

    body: bytes
    head: Head


class Arriving(msgspec.Struct, frozen=True):
    """An object, or the range of it that was asked for, on its way; `head.size` is of the whole.

    `parts` come as they arrive, and may raise StoreUnavailable. Whoever does not read them to their end closes them.
    """

    head: Head
    parts: AsyncGenerator[bytes]


class Entry(msgspec.Struct, frozen=True):
    """One line of a listing. `size` in bytes."""

    key: str
    etag: str
    size: int
    modified_ms: int


class Objects(Protocol):
    """A bucket, or a prefix of one. Every method may raise StoreUnavailable or StoreRefused."""

    @property
    def name(self) -> str:
        """How the store is called in messages, such as `s3://bucket/prefix`."""
        ...

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        """Return the object's bytes from `start`, at most `length` of them; None where there is no object.

        A range that begins at or beyond the end is empty.
        """
        ...

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        """Return the same as `get` as soon as the store answers: what is long can be handed on while it comes.

        A reader that pauses makes the store pause.
        """
        ...

    async def head(self, key: str) -> Head | None:
        """Return what is known of the object, None where there is none."""
        ...

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
        """Write the object and return its ETag; None if the condition did not hold (nothing was written).

        `metadata`: lower-case ASCII names, printable ASCII values. Never retried by the backend.
        Raises OutcomeUnknown where the write may have happened.
        """
        ...

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        """Return the first `limit` (at most 1,000) objects whose key begins with `prefix` and sorts above `after`."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object if there is one. Raises OutcomeUnknown where that may have happened or not."""
        ...

    async def aclose(self) -> None:
        """Let go of connections, files and threads."""
        ...


def arrived(found: Object | None) -> Arriving | None:
    """Return an object that is here already as one that arrives."""

    async def parts(body: bytes) -> AsyncGenerator[bytes]:
        yield body

    return None if found is None else Arriving(found.head, parts(found.body))
