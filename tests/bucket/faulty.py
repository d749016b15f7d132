"""A store that fails the ways S3 fails, by seed or by plan. Knows the port only.

before        the answer is a timeout, and nothing happened
after         the answer is a timeout, and it happened
later         the answer is a timeout, and it happens a few requests later
conflict      409: another conditional write was under way; nothing happened
unavailable   503 that is known to have turned the request away
torn          a read whose connection breaks half-way
slow          it takes a while
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from enum import Enum
from random import Random
from typing import TypeVar

from storage.objects import (
    LIST_LIMIT,
    NO_METADATA,
    Arriving,
    Condition,
    Entry,
    Head,
    Object,
    Objects,
    OutcomeUnknown,
    StoreUnavailable,
)

SLOW_SECONDS = 0.005
LATE_BY = 3  # how many other requests are made before a late effect arrives


class Fault(Enum):
    """What may go wrong with one request."""

    BEFORE = "before"
    AFTER = "after"
    LATER = "later"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    TORN = "torn"
    SLOW = "slow"


OF_WRITES = (Fault.BEFORE, Fault.AFTER, Fault.LATER, Fault.CONFLICT, Fault.UNAVAILABLE, Fault.SLOW)
OF_READS = (Fault.UNAVAILABLE, Fault.TORN, Fault.SLOW)

_Answer = TypeVar("_Answer")
Plan = Callable[[str, str], Fault | None]  # verb, key → what happens to this request


def no_faults(verb: str, key: str) -> Fault | None:
    """Let every request pass."""
    return None


def by_seed(seed: int, rate: float) -> Plan:
    """Return a plan by which a share of `rate` of the requests fails; the same seed gives the same faults in order."""
    chance = Random(seed)

    def choose(verb: str, key: str) -> Fault | None:
        if chance.random() >= rate:
            return None
        return chance.choice(OF_WRITES if verb in ("put", "delete") else OF_READS)

    return choose


class FaultyObjects:
    """Passes requests on, except those that the plan has something else in store for."""

    def __init__(self, inner: Objects, plan: Plan = no_faults) -> None:
        self.name = inner.name
        self._inner = inner
        self._plan = plan
        self._requests = 0
        self._late: list[tuple[int, Callable[[], Awaitable[object]]]] = []

    async def settle(self) -> None:
        """Let all that is still under way towards the store arrive, oldest first."""
        while self._late:
            await self._late.pop(0)[1]()

    async def _next(self, verb: str, key: str) -> Fault | None:
        """Let what is due arrive, then return what happens to the request that is made now."""
        self._requests += 1
        while self._late and self._late[0][0] <= self._requests:
            await self._late.pop(0)[1]()
        return self._plan(verb, key)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> Object | None:
        await self._fail_a_read("get", key)
        return await self._inner.get(key, start=start, length=length)

    async def get_parts(self, key: str, *, start: int = 0, length: int | None = None) -> Arriving | None:
        fault = await self._next("get", key)
        if fault is Fault.TORN:
            found = await self._inner.get(key, start=start, length=length)
            return None if found is None else Arriving(found.head, self._torn(key, found.body))
        await self._fail(fault, "get", key)
        return await self._inner.get_parts(key, start=start, length=length)

    async def _torn(self, key: str, body: bytes) -> AsyncGenerator[bytes]:
        yield body[: len(body) // 2]
        await self._fail(Fault.TORN, "get", key)

    async def head(self, key: str) -> Head | None:
        await self._fail_a_read("head", key)
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
        async def write() -> str | None:
            return await self._inner.put(
                key, body, condition, content_type=content_type, cache_control=cache_control, metadata=metadata
            )

        return await self._write("put", key, write)

    async def list(self, prefix: str, *, after: str = "", limit: int = LIST_LIMIT) -> list[Entry]:
        await self._fail_a_read("list", prefix)
        return await self._inner.list(prefix, after=after, limit=limit)

    async def delete(self, key: str) -> None:
        async def remove() -> None:
            await self._inner.delete(key)

        await self._write("delete", key, remove)

    async def aclose(self) -> None:
        await self.settle()
        await self._inner.aclose()

    async def _write(self, verb: str, key: str, effect: Callable[[], Awaitable[_Answer]]) -> _Answer:
        where = f"{self.name}: {verb} of {key!r}"
        match await self._next(verb, key):
            case Fault.UNAVAILABLE:
                raise StoreUnavailable(f"{where}: 503")
            case Fault.CONFLICT:
                raise OutcomeUnknown(f"{where}: 409")
            case Fault.BEFORE:
                raise OutcomeUnknown(f"{where}: timed out before it had an effect")
            case Fault.LATER:
                self._late.append((self._requests + LATE_BY, effect))
                raise OutcomeUnknown(f"{where}: timed out, and its effect is yet to come")
            case Fault.AFTER:
                await effect()
                raise OutcomeUnknown(f"{where}: timed out after it had its effect")
            case Fault.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
            case Fault.TORN | None:
                pass
        return await effect()

    async def _fail_a_read(self, verb: str, key: str) -> None:
        await self._fail(await self._next(verb, key), verb, key)

    async def _fail(self, fault: Fault | None, verb: str, key: str) -> None:
        where = f"{self.name}: {verb} of {key!r}"
        match fault:
            case Fault.TORN:
                raise StoreUnavailable(f"{where}: the connection broke half-way")
            case Fault.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
            case None:
                pass
            case _:
                raise StoreUnavailable(f"{where}: 503")
