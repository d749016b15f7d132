"""Plan which chunks a page needs and cut them to it. Section 5.6. Knows nothing of stores.

Positions are payload bytes; a JSON body carries its payload in brackets, and each message counts one more for its
comma, so the message at position p of a chunk at q begins at byte 1 + p - q of the body.
"""

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from storage.core.json_mode import boundaries

LONG = 64 * 1024  # bytes of a part that is better passed on as it is


class NotABoundary(ValueError):
    """A position inside a JSON message."""


class Piece(msgspec.Struct, frozen=True):
    """The part of a chunk's body that goes into a page: payload positions from `low` to `high`.

    Of JSON its `parts` together are messages with the commas between them, without a bracket.
    """

    parts: tuple[bytes | memoryview, ...]
    low: int
    high: int
    is_cut: bool = False  # more of the chunk follows, for which there was no room


class Named(msgspec.Struct, frozen=True):
    """A chunk known from a listing."""

    position: int
    size: int  # bytes of its body


def cut(body: bytes, position: int, low: int, high: int, room: int, *, is_json: bool) -> Piece:
    """Take from the chunk at `position` what lies between `low` and `high`, and no more than `room` bytes of it.

    At least one byte or one message is taken, whatever the room. Raises NotABoundary.
    """
    if not is_json:
        end = min(high, low + max(room, 1))
        return Piece((_part(body, low - position, end - position),), low, end, end < high)
    end = high
    if low != position or high - low > room:
        starts = boundaries(body)
        at = bisect_right(starts, low - position) - 1
        if starts[at] != low - position:
            raise NotABoundary(f"{low} is inside the message at {position + starts[at]}")
        if high - low > room:
            fitting = starts[max(at + 1, bisect_right(starts, low - position + room) - 1)]
            end = min(position + fitting, high)
    return Piece((_part(body, 1 + low - position, end - position),), low, end, end < high)


def _part(body: bytes, low: int, high: int) -> bytes | memoryview:
    return body if (low, high) == (0, len(body)) else memoryview(body)[low:high]


def join(pieces: Sequence[Piece], *, is_json: bool) -> tuple[bytes, ...]:
    """Return the body of a page, in few parts: what is long is not copied."""
    parts: list[bytes] = []
    short: list[bytes | memoryview] = []  # one after the other
    for n, piece in enumerate(pieces):
        if is_json:
            short.append(b"," if n else b"[")
        for part in piece.parts:
            if len(part) < LONG:
                short.append(part)
                continue
            if short:
                parts.append(b"".join(short))
                short.clear()
            parts.append(bytes(part))  # which is no copy of what is bytes already
    if is_json:
        short.append(b"]" if pieces else b"[]")
    if short or not parts:
        parts.append(b"".join(short))
    return tuple(parts)


def plan_page(named: Sequence[Named], start: int, room: int, *, is_json: bool) -> list[int]:
    """Choose, from chunks in ascending order, those that hold what follows `start`: at least one, up to `room` bytes.

    A chunk that lies inside a superset before it is passed over. The plan ends where the listing has a gap.
    """
    chosen: list[int] = []
    reached = start
    for chunk in named:
        end = chunk.position + chunk.size - is_json
        if chunk.position > reached or reached - start >= room:
            break
        if end > reached:
            chosen.append(chunk.position)
            reached = end
    return chosen
