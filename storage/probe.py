"""Try at start whether a store keeps what the log stands on. Knows the port; nothing of streams.

Some stores accept `If-None-Match` and ignore it, or look and then write without a lock in between: two writers are
both told that they won, and acknowledged data is gone without a trace. Others list in no order. A server would rather
not run on them.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from storage.objects import Always, Condition, IfAbsent, IfMatch, Objects, OutcomeUnknown, StoreError, StoreUnavailable

RACERS = 24  # a store that looks before it writes lets more than one of them through nearly every time
RACES = 3  # how often a race is run anew whose outcome the store left open

# In byte order. Capitals, escapes, and a slash among its neighbours tell it from what a dictionary or a tree would do.
NAMES = ("%2F", "10", "2", "A", "Z", "a", "a%2Fb", "c-d", "c/d", "c0", "~")

_Answer = TypeVar("_Answer")


class UnfitStore(Exception):
    """A store on which the log would lose data or go astray; the text names it and what it did."""


async def probe(objects: Objects, probe_id: str) -> None:
    """Try conditional writes by racing them, then listings; leave nothing behind.

    `probe_id`: one that nobody else uses, now or ever before. Raises UnfitStore, or what the port raises where the
    store cannot be reached or refuses.
    """
    prefix = f"probe/{probe_id}/"
    races = [f"{prefix}race/{attempt}" for attempt in range(RACES)]
    names = [f"{prefix}list/{name}" for name in NAMES]
    try:
        await _try_conditions(objects, races)
        await _try_listings(objects, names, f"{prefix}list/")
    finally:
        # By name, not by listing: a store that ignores the prefix would have us delete what is not ours.
        with suppress(StoreError):
            await _all(objects.delete(key) for key in (*races, *names))


async def _try_conditions(objects: Objects, keys: Sequence[str]) -> None:
    for key in keys:
        first = await _race(objects, key, IfAbsent(), "If-None-Match: *")
        if first is None:
            continue
        second = await _race(objects, key, IfMatch(first), "If-Match")
        if second is None:
            continue
        if await objects.put(key, b"stale", IfMatch(first)) is not None:
            raise UnfitStore(f"{objects.name} ignores If-Match: it let a write replace a version that was already gone")
        return
    raise StoreUnavailable(f"{objects.name} is too busy: {RACES} races of {RACERS} writes each were left undecided")


async def _race(objects: Objects, key: str, condition: Condition, called: str) -> str | None:
    """Let many write at once under one condition; return the winner's ETag, None where the store left the race open."""
    bodies = [f"{called}, racer {racer}".encode() for racer in range(RACERS)]

    unknown: list[bytes] = []

    async def run(body: bytes) -> str | None:
        try:
            return await objects.put(key, body, condition)
        except OutcomeUnknown:
            unknown.append(body)
            return None

    answers = await _all(run(body) for body in bodies)
    winners = [body for body, answer in zip(bodies, answers, strict=True) if answer is not None]
    if len(winners) > 1:
        raise UnfitStore(
            f"{objects.name} does not keep {called}: {len(winners)} of {RACERS} racing writes of one key were told that"
            " they had won; streams would lose acknowledged data on it"
        )
    if not winners:
        if unknown:
            return None
        raise UnfitStore(f"{objects.name} does not keep {called}: none of {RACERS} racing writes of one key won")
    found = await objects.get(key)
    if found is None or found.body != winners[0]:
        shown = "nothing" if found is None else "another writer's bytes"
        raise UnfitStore(f"{objects.name} does not keep {called}: one racing write won, and a read then found {shown}")
    return found.head.etag


async def _try_listings(objects: Objects, keys: Sequence[str], prefix: str) -> None:
    await _all(objects.put(key, b"", Always()) for key in keys)

    async def expect(expected: Sequence[str], fault: str, prefix: str, after: str = "", limit: int = 1000) -> None:
        found = [entry.key for entry in await objects.list(prefix, after=after, limit=limit)]
        if found != list(expected):
            raise UnfitStore(f"{objects.name} {fault}: it listed {found}, and {list(expected)} was to be expected")

    await expect(keys, "does not list all keys in byte order", prefix)
    await expect(keys[5:], "does not keep start-after", prefix, after=keys[4])
    await expect(keys[4:], "does not keep start-after", prefix, after=f"{prefix}B")  # which is no object's key
    await expect(keys[:1], "does not keep max-keys", prefix, limit=1)
    await expect(keys[7:10], "does not keep the prefix", f"{prefix}c")


async def _all(calls: Iterable[Coroutine[Any, Any, _Answer]]) -> list[_Answer]:
    """Run the calls at once, wait for every one of them, then raise what the first that failed raised."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
