"""Say which generation holds which positions of a stream. Section 4.2. Knows nothing of how they are read.

A lineage is flat: a fork of a fork names every ancestor itself, so that reading is a lookup and not a walk.
"""

import msgspec

from storage.core.offset import Offset


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """The positions from `low` up to, not including, `high` are in chunks of this path and generation."""

    path: str
    generation: int
    low: int
    high: int | None  # None: as far as the stream itself goes


Lineage = tuple[Segment, ...]


def segment_at(lineage: Lineage, position: int) -> Segment:
    """Return the segment that holds the byte at a position; the last for the tail and beyond."""
    for segment in lineage:
        if segment.high is None or position < segment.high:
            return segment
    return lineage[-1]


def token_at(lineage: Lineage, position: int) -> Offset:
    """Return the public offset of a position.

    At a fork point it is the source's token, so that a stream and its fork hand out the same one there.
    """
    for segment in lineage:
        if segment.high is None or position <= segment.high:
            return Offset(segment.generation, position)
    raise AssertionError("the last segment of a lineage is open")


def position_of(lineage: Lineage, offset: Offset) -> int | None:
    """Return the position that an offset names here, None if its generation does not hold that position."""
    for segment in lineage:
        if segment.generation == offset.generation:
            if offset.position < segment.low or (segment.high is not None and offset.position > segment.high):
                return None
            return offset.position
    return None


def fork_at(lineage: Lineage, position: int, path: str, generation: int) -> Lineage:
    """Return the lineage of a fork that leaves this one at a position."""
    inherited = [
        Segment(segment.path, segment.generation, segment.low, min(position, segment.high or position))
        for segment in lineage
        if segment.low < position
    ]
    return (*inherited, Segment(path, generation, position, None))
