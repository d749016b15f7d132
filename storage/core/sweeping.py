"""Decide what of a bucket may go. Knows roots, names, sizes and ages; nothing of how anything is deleted.

Nothing goes before it is older than the grace: far longer than any process trusts a tail that it remembers, so nobody
can still be about to write at a key that is free again (invariant 6). Of a generation that may still be read nothing
goes but what a superset holds too, or what lies before the beginning that retention has moved.
"""

from collections.abc import Iterable

import msgspec

from storage.core.root import Root, State

DAY_SECONDS = 86_400.0


class DamagedCursor(ValueError):
    """An object that does not say where the last pass ended."""


class Sweeping(msgspec.Struct, frozen=True):
    """How the sweeper goes about it. Times in seconds."""

    grace_seconds: float = DAY_SECONDS  # invariant 6: far above `tail_seconds` and the life of a signature
    creating_seconds: float = 900.0  # a creation takes seconds; one that is fenced only has to be tried again
    cycle_seconds: float = DAY_SECONDS  # the whole bucket is looked at once in so long
    requests: int = 2000  # of one pass, about
    seconds: float = 0.0  # of one pass, about; 0: as many as it takes
    requests_per_second: float = 200.0
    parallel: int = 16
    names: int = 1000  # of one listing, at most


class Cursor(msgspec.Struct, frozen=True):
    """Where a pass ended and the next one goes on."""

    step: str = ""  # empty: a cycle has come to its end
    after: str = ""  # the last key that was dealt with
    position: int | None = None  # in the generation that follows `after`, if it was left in the middle
    cycle_began_ms: int = 0
    write_id: str = ""


_decode = msgspec.json.Decoder(Cursor).decode
encode_cursor = msgspec.json.Encoder().encode


def decode_cursor(body: bytes) -> Cursor:
    """Read a cursor. Raises DamagedCursor."""
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedCursor(str(error)) from error


class Named(msgspec.Struct, frozen=True):
    """A chunk as a listing tells of it."""

    key: str
    position: int
    end: int  # where its bytes end, by its size
    size: int
    modified_ms: int


class Covered(msgspec.Struct, frozen=True):
    """A chunk that lies inside a superset."""

    chunk: Named
    by: Named


class Layers:
    """Tells, of chunks in ascending order, which are the chain and which lie inside one that is."""

    def __init__(self) -> None:
        self.top: Named | None = None  # the last one of the chain

    def sort(self, named: Iterable[Named]) -> tuple[list[Named], list[Covered]]:
        """Return the links of the chain, and what lies inside them."""
        chain: list[Named] = []
        covered: list[Covered] = []
        for chunk in named:
            top = self.top
            # An empty close or a tombstone stands where its predecessor ends, and is no part of it.
            if top is not None and top.position < chunk.position < top.end and chunk.end <= top.end:
                covered.append(Covered(chunk, top))
            else:
                chain.append(chunk)
                self.top = chunk
        return chain, covered


def is_dead(root: Root, generation: int) -> bool:
    """Say whether nobody can ever read or write a generation again. One that is kept for its forks is not dead."""
    return generation < root.generation or (generation == root.generation and root.state is State.DELETED)


def is_marker_void(root: Root, generation: int) -> bool:
    """Say whether the fork that a marker names is gone for good: deleted, fenced, or overtaken."""
    return is_dead(root, generation)


def is_reclaimable(covered: Covered, newest: str, aged_before_ms: int) -> bool:
    """Say whether what lies inside a superset may go.

    The newest chunk stays, whatever holds it: a cold writer takes the newest for the tail, and what would become the
    newest in its place is the middle of a group.
    """
    return (
        covered.chunk.key != newest
        and covered.chunk.modified_ms < aged_before_ms
        and covered.by.modified_ms < aged_before_ms
    )


def is_dropped(chunk: Named, retained: int, newest: str, aged_before_ms: int) -> bool:
    """Say whether a chunk of the chain lies wholly before what is kept."""
    return chunk.size > 0 and chunk.end <= retained and chunk.key != newest and chunk.modified_ms < aged_before_ms
