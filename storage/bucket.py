"""Requests with a known fate: reads that fail as one error, writes that are sent until it is clear what became of them.

Knows keys, conditions and failures; nothing of what streams mean. *Nothing written*, *unknown* and *it is there* are
told apart here and nowhere else.
"""

from collections.abc import Awaitable, Mapping
from typing import TypeVar

import msgspec

from storage.clock import Chance, Clock
from storage.core.checking import checksum
from storage.core.root import DamagedRoot, Root, decode_root, encode_root
from storage.errors import AmbiguousWriteError, ContentionError, DamageError, RefusedPathError, UnavailableError
from storage.objects import (
    Head,
    IfAbsent,
    IfMatch,
    KeyRefused,
    Objects,
    OutcomeUnknown,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from storage.settings import LogSettings

T = TypeVar("T")

IMMUTABLE = "public, max-age=31536000, immutable"


class Versioned(msgspec.Struct, frozen=True):
    """A root and the ETag it was read under."""

    root: Root
    etag: str


class Swapped(msgspec.Struct, frozen=True):
    """What stands where a root was to be changed."""

    present: Versioned | None
    unknown: bool  # the change may have happened, and have been replaced since


async def reading(request: Awaitable[T]) -> T:
    """Await a read of the store; its failures wrote nothing. Raises UnavailableError, RefusedPathError."""
    try:
        return await request
    except KeyRefused as error:
        raise RefusedPathError(str(error)) from error
    except StoreError as error:
        raise UnavailableError(str(error)) from error


class Bucket:
    """A store, and how often and how patiently it is asked."""

    def __init__(self, objects: Objects, settings: LogSettings, clock: Clock, chance: Chance) -> None:
        self.objects = objects
        self.settings = settings
        self.clock = clock
        self.chance = chance

    async def pause(self, attempt: int) -> None:
        """Wait before the next try."""
        settings = self.settings
        seconds = min(settings.backoff_limit_seconds, settings.backoff_seconds * 2**attempt)
        await self.clock.sleep(self.chance.jitter(seconds))

    async def read_root(self, key: str) -> Versioned | None:
        """Return the root under a key. Raises UnavailableError, DamageError."""
        found = await reading(self.objects.get(key))
        if found is None:
            return None
        try:
            return Versioned(decode_root(found.body), found.head.etag)
        except DamagedRoot as error:
            raise DamageError(f"{key} is not a root: {error}") from error

    async def swap(self, key: str, base: Versioned | None, new: Root) -> Swapped:
        """Change a root from `base` to `new`, and say what stands there afterwards.

        Raises UnavailableError and ContentionError (nothing written), AmbiguousWriteError.
        """
        unknown = False
        condition = IfAbsent() if base is None else IfMatch(base.etag)
        body = encode_root(new)
        for attempt in range(self.settings.tries):
            try:
                etag = await self.objects.put(key, body, condition, content_type="application/json")
                if etag is not None:
                    return Swapped(Versioned(new, etag), False)
            except OutcomeUnknown:
                unknown = True
            except StoreError as error:
                raise _failed(key, unknown, error) from error
            try:
                found = await self.read_root(key)
            except UnavailableError as error:
                raise _failed(key, unknown, error) from error
            if (None if found is None else found.etag) != (None if base is None else base.etag):
                return Swapped(found, unknown)
            await self.pause(attempt)
        if unknown:
            raise AmbiguousWriteError(f"the write of {key} was not confirmed")
        raise ContentionError(f"the write of {key} was refused {self.settings.tries} times for no reason to be seen")

    async def settle(
        self, key: str, body: bytes, metadata: Mapping[str, str], content_type: str, known_at: float
    ) -> Head | str:
        """Write a chunk and learn its fate: its ETag if it stands there, else the head of what stands there instead.

        The ETag is empty where the chunk has become part of a superset since. `known_at` (steady seconds): when the
        key was known to be the tail's. A machine that slept for a day does not send to it any more: what once stood
        there may be part of a superset and gone.
        Raises UnavailableError (nothing written) and AmbiguousWriteError (its fate stayed unknown).
        """
        metadata = {**metadata, "crc": checksum(body)}
        unknown = False
        failure: Exception | None = None
        for attempt in range(self.settings.tries):
            if self.clock.steady() - known_at > 2 * self.settings.tail_seconds:
                failure = TimeoutError(f"{key} was the tail's too long ago")
                break
            try:
                etag = await self.objects.put(
                    key, body, IfAbsent(), content_type=content_type, cache_control=IMMUTABLE, metadata=metadata
                )
                if etag is not None:
                    return etag
            except OutcomeUnknown as error:
                unknown, failure = True, error
            except StoreUnavailable as error:
                failure = error
                await self.pause(attempt)
                continue
            except StoreRefused as error:
                failure = error
                break
            try:
                head = await self.objects.head(key)
            except StoreError as error:
                failure = error
                head = None
            if head is not None:
                # A resend can meet its own delayed first try: that is success.
                if head.metadata.get("write-id") != metadata["write-id"]:
                    return head
                return head.etag if head.metadata == metadata else ""
            await self.pause(attempt)
        raise _failed(key, unknown, failure)

    async def write_once(self, key: str, body: bytes) -> None:
        """Write an object under a key that nobody else writes, and know that it is there. Raises UnavailableError."""
        failure: Exception | None = None
        for attempt in range(self.settings.tries):
            try:
                # To find it there is to find our own, sent before.
                await self.objects.put(key, body, IfAbsent(), content_type="application/json")
                return
            except StoreRefused as error:
                failure = error
                break
            except StoreError as error:
                failure = error
                await self.pause(attempt)
        raise _failed(key, False, failure)

    async def remove(self, key: str) -> None:
        """Delete an object and know that it is gone. Raises UnavailableError."""
        failure: Exception | None = None
        for attempt in range(self.settings.tries):
            try:
                return await self.objects.delete(key)
            except StoreRefused as error:
                failure = error
                break
            except StoreError as error:
                failure = error
                await self.pause(attempt)
        raise _failed(key, False, failure)


def _failed(key: str, unknown: bool, failure: Exception | None) -> AmbiguousWriteError | UnavailableError:
    if unknown:
        return AmbiguousWriteError(f"the write of {key} was not confirmed: {failure}")
    if isinstance(failure, KeyRefused):
        return RefusedPathError(str(failure))
    return UnavailableError(str(failure))
