"""Stores that look right and are not: each breaks one promise of the port, as some server out there does."""

from collections.abc import Mapping

from storage.objects import (
    LIST_LIMIT,
    NO_METADATA,
    Always,
    Arriving,
    Condition,
    Entry,
    Head,
    IfAbsent,
    IfMatch,
    Object,
    Objects,
)


class StandIn:
    """A store that keeps its promises; the others change one method each."""

    def __init__(self, inner: Objects) -> None:
        self.name = "stand-in:"
        self._inner = inner

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        return await self._inner.get(key, start=start, length=length)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        return await self._inner.get_parts(key, start=start, length=length)

    async def head(self, key: str) -> Head | None:
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
        return await self._inner.put(key, body, condition, content_type=content_type, metadata=metadata)

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        return await self._inner.list(prefix, after=after, limit=limit)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Putting(StandIn):
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
        return await self._decide(key, body, condition)

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        raise NotImplementedError


class IgnoresIfNoneMatch(_Putting):
    """Writes over whatever is there, as servers do that do not know the header."""

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        return await self._inner.put(key, body, Always() if isinstance(condition, IfAbsent) else condition)


class IgnoresIfMatch(_Putting):
    """Knows If-None-Match only."""

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        return await self._inner.put(key, body, Always() if isinstance(condition, IfMatch) else condition)


class LooksThenWrites(_Putting):
    """Checks the condition, then writes, with no lock between the two."""

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        head = await self._inner.head(key)
        if isinstance(condition, IfAbsent) and head is not None:
            return None
        if isinstance(condition, IfMatch) and (head is None or head.etag != condition.etag):
            return None
        return await self._inner.put(key, body, Always())


class LooksThenWritesOverAVersion(LooksThenWrites):
    """Is right about creating, but checks a version and then writes with no lock between the two."""

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        if isinstance(condition, IfMatch):
            return await super()._decide(key, body, condition)
        return await self._inner.put(key, body, condition)


class RefusesWhatItWrote(_Putting):
    """Answers 412 even to the one that won."""

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        await self._inner.put(key, body, condition)
        return None


class KeepsTheLast(_Putting):
    """Tells one that it won, and keeps what the last one brought."""

    async def _decide(self, key: str, body: bytes, condition: Condition) -> str | None:
        etag = await self._inner.put(key, body, condition)
        await self._inner.put(key, body, Always())
        return etag


class _Listing(StandIn):
    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        entries = await self._inner.list("")
        return self._choose([entry for entry in entries if entry.key.startswith(prefix)], after, limit)

    def _choose(self, entries: "Entries", after: str, limit: int) -> "Entries":
        raise NotImplementedError


Entries = list[Entry]


class ListsInNoOrder(_Listing):
    """Has every key, the last written first, as directory buckets may."""

    def _choose(self, entries: Entries, after: str, limit: int) -> Entries:
        return [entry for entry in reversed(entries) if entry.key > after][:limit]


class ListsLikeADictionary(_Listing):
    """Puts `a` before `B`."""

    def _choose(self, entries: Entries, after: str, limit: int) -> Entries:
        return [entry for entry in sorted(entries, key=lambda entry: entry.key.lower()) if entry.key > after][:limit]


class ListsLikeATree(_Listing):
    """Sorts by path segment, as a walk over folders does: `c/d` before `c-d`."""

    def _choose(self, entries: Entries, after: str, limit: int) -> Entries:
        return [entry for entry in sorted(entries, key=lambda entry: entry.key.split("/")) if entry.key > after][:limit]


class IgnoresStartAfter(_Listing):
    """Always begins at the beginning."""

    def _choose(self, entries: Entries, after: str, limit: int) -> Entries:
        return entries[:limit]


class StartsAtInsteadOfAfter(_Listing):
    """Includes the key that it was to start after."""

    def _choose(self, entries: Entries, after: str, limit: int) -> Entries:
        return [entry for entry in entries if entry.key >= after][:limit]


class IgnoresMaxKeys(_Listing):
    """Returns all there is."""

    def _choose(self, entries: Entries, after: str, limit: int) -> Entries:
        return [entry for entry in entries if entry.key > after]


class DecodesEscapes(StandIn):
    """Takes `%2F` for a slash, so that two keys become one."""

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
        return await self._inner.put(key.replace("%2F", "/"), body, condition)
