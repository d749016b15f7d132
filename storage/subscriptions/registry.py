"""Subscriptions as clients configure them: create, read, delete, link and unlink streams. Section 6.

Foreseen answers are values. Roots, ids and paths are normalised ones; stream paths are relative to the root.
"""

from collections.abc import Sequence

import msgspec

from storage.bucket import Bucket
from storage.core.subscription import (
    ZERO_TOKEN,
    Config,
    Cursor,
    Link,
    Subscription,
    config_hash,
    subscription_key,
    tombstone,
)
from storage.core.wake import linked, unlinked
from storage.errors import AmbiguousWriteError, ContentionError
from storage.subscriptions.interest import SCAN_MS
from storage.subscriptions.records import Found
from storage.subscriptions.wakes import Wakes


class NoSubscription(msgspec.Struct, frozen=True):
    """There is none of this id."""


class Made(msgspec.Struct, frozen=True):
    """The subscription is there; `created`: by this call."""

    subscription: Subscription
    created: bool


class ConfigDiffers(msgspec.Struct, frozen=True):
    """A subscription of this id is there, and is configured otherwise."""


class Registry:
    """The subscriptions of a store."""

    def __init__(self, bucket: Bucket, wakes: Wakes) -> None:
        self._bucket = bucket
        self._wakes = wakes

    async def create(self, root: str, id_: str, config: Config, base: str) -> Made | ConfigDiffers:
        """Create a subscription, or find it. `base`: scheme and authority of its URLs. Raises NameTooLong, LogError."""
        key = subscription_key(root, id_)
        incarnation = self._bucket.chance.new_id()
        for attempt in range(self._bucket.settings.tries):
            found = await self._wakes.records.read(key)
            there = None if found is None else found.subscription
            if there is not None and not there.deleted:
                if config_hash(there.config) != config_hash(config):
                    return ConfigDiffers()
                return Made(there, created=there.incarnation == incarnation)
            new = Subscription(
                root=root,
                id=id_,
                incarnation=incarnation,
                write_id="",
                config=config,
                base=base,
                created_ms=self._bucket.clock.now_ms(),
                generation=0 if there is None else there.generation,
                links={},
            )
            new = await self._backfilled(new)
            now = self._bucket.clock.now_ms()
            try:
                saved = await self._wakes.save(found, msgspec.structs.replace(new, scans=_scans(now)))
            except AmbiguousWriteError:
                saved = None
            if saved is not None:
                return Made(saved.subscription, created=True)
            await self._bucket.pause(attempt)
        raise self._contention(key)

    async def _backfilled(self, new: Subscription) -> Subscription:
        """Link what is named and what the pattern matches, each at its tail."""
        named = dict.fromkeys(new.config.streams)
        wanted = list(named | dict.fromkeys(await self._wakes.matched(new)))
        links = {}
        for path, seen in (await self._wakes.places.seen(new.root, wanted)).items():
            if seen is not None:
                links[path] = Link(path in named, seen.tail)
            elif path in named:
                links[path] = Link(True, Cursor(0, 0, ZERO_TOKEN))
        return msgspec.structs.replace(new, links=links)

    async def get(self, root: str, id_: str) -> Subscription | NoSubscription:
        """Return a subscription. Raises NameTooLong, LogError."""
        found = await self._found(subscription_key(root, id_))
        return NoSubscription() if found is None else found.subscription

    async def delete(self, root: str, id_: str) -> None:
        """Delete a subscription if it is there. Raises NameTooLong, LogError."""
        key = subscription_key(root, id_)
        for attempt in range(self._bucket.settings.tries):
            found = await self._found(key)
            if found is None:
                return
            try:
                if await self._wakes.save(found, tombstone(found.subscription)) is not None:
                    return
            except AmbiguousWriteError:
                pass  # what stands there now is looked at
            await self._bucket.pause(attempt)
        raise self._contention(key)

    async def link(self, root: str, id_: str, paths: Sequence[str]) -> Subscription | NoSubscription:
        """Link streams by name, new ones at their tails. Section 6.4. Raises NameTooLong, LogError."""
        key = subscription_key(root, id_)
        for attempt in range(self._bucket.settings.tries):
            found = await self._found(key)
            if found is None:
                return NoSubscription()
            new = there = found.subscription
            missing = [path for path in dict.fromkeys(paths) if path not in there.links]
            seen = await self._wakes.places.seen(root, missing)
            for path in paths:
                stream = seen.get(path)
                new = linked(new, path, Cursor(0, 0, ZERO_TOKEN) if stream is None else stream.tail, explicit=True)
            if new.links == there.links:
                return there
            scans = _scans(self._bucket.clock.now_ms())
            new = msgspec.structs.replace(new, scans=tuple(sorted({*there.scans[:1], *scans})))
            saved = await self._wakes.save(found, new)
            if saved is not None:
                return saved.subscription
            await self._bucket.pause(attempt)
        raise self._contention(key)

    async def unlink(self, root: str, id_: str, path: str) -> Subscription | NoSubscription:
        """Take back a link by name, if there is one. Section 6.4. Raises NameTooLong, LogError."""
        key = subscription_key(root, id_)
        for attempt in range(self._bucket.settings.tries):
            found = await self._found(key)
            if found is None:
                return NoSubscription()
            link = found.subscription.links.get(path)
            if link is None or not link.explicit:
                return found.subscription
            saved = await self._wakes.save(found, unlinked(found.subscription, path))
            if saved is not None:
                return saved.subscription
            await self._bucket.pause(attempt)
        raise self._contention(key)

    async def _found(self, key: str) -> Found | None:
        found = await self._wakes.records.read(key)
        return None if found is None or found.subscription.deleted else found

    def _contention(self, key: str) -> ContentionError:
        return ContentionError(f"{key} was changed by others {self._bucket.settings.tries} times in a row")


def _scans(now_ms: int) -> tuple[int, ...]:
    return tuple(now_ms + after for after in SCAN_MS)
