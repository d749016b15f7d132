"""Forks by reference: where one leaves its source, and who keeps whose bytes. Section 4.2.

A marker under the source keeps the source's generation readable. It is written before the source is looked at for
the last time (its tail key first, then its root): either the fork sees the deletion or the deletion sees the marker.
"""

import msgspec

from storage.core import keys
from storage.core.json_mode import boundaries
from storage.core.lineage import position_of, segment_at
from storage.core.marker import Marker, encode_marker
from storage.core.offset import Offset, Sentinel
from storage.core.root import Config, Origin, Root, State, media_type
from storage.errors import ContentionError
from storage.reader import OffsetInvalid, Page, Reader
from storage.streams import Gone, NotFound, Stream, Streams
from storage.tail import Tails


class Fork(msgspec.Struct, frozen=True):
    """What a creation says of its source: `Stream-Forked-From` and the place, None for the tail."""

    source: str
    offset: Offset | Sentinel | None = None
    sub_offset: int = 0


class SourceNotFound(msgspec.Struct, frozen=True):
    """There is no stream to fork."""


class SourceGone(msgspec.Struct, frozen=True):
    """The stream to fork is deleted and kept for its forks."""


class ForkInvalid(msgspec.Struct, frozen=True):
    """The place named by `field` is none of the source's."""

    field: str
    why: str


class SourceTypeDiffers(msgspec.Struct, frozen=True):
    """The fork asks for another content type than its source has."""

    expected: str


class Departure(msgspec.Struct, frozen=True):
    """A fork's beginning: what its root says of the source, and the position at which it goes its own way."""

    source: Stream
    root: Root  # the source's
    origin: Origin
    config: Config
    position: int


Refusal = SourceNotFound | SourceGone | ForkInvalid | SourceTypeDiffers


class Forks:
    """Finds where forks begin, and keeps and releases their sources."""

    def __init__(self, tails: Tails, streams: Streams, reader: Reader) -> None:
        self._tails = tails
        self._streams = streams
        self._reader = reader

    async def depart(self, fork: Fork, asked: Config) -> Departure | Refusal:
        """Look at the source and say where and as what the fork begins. Raises LogError."""
        tails = self._tails
        source = self._streams[fork.source]
        for _ in range(tails.settings.tries):
            ended = await tails.live(source)
            if isinstance(ended, NotFound):
                return SourceNotFound()
            if isinstance(ended, Gone):
                return SourceGone()
            await tails.confirm(source)
            root, tail = source.root, source.tail
            if root is None or tail is None or tail.deleted:
                continue
            if asked.content_type and media_type(asked.content_type) != source.media_type:
                return SourceTypeDiffers(root.config.content_type)
            anchor = _anchor(root, fork, tail.position)
            if isinstance(anchor, ForkInvalid):
                return anchor
            position = await self._position(source, root, fork, anchor, tail.position)
            if not isinstance(position, int):
                return position
            own_lifetime = asked.ttl_seconds is not None or asked.expires_at_ms is not None
            lifetime = asked if own_lifetime else root.config
            config = Config(
                content_type=asked.content_type or root.config.content_type,
                ttl_seconds=lifetime.ttl_seconds,
                expires_at_ms=lifetime.expires_at_ms,
                expires_at=lifetime.expires_at,
            )
            origin = Origin(fork.source, root.generation, anchor, fork.sub_offset, own_lifetime)
            return Departure(source, root, origin, config, position)
        raise ContentionError(f"{fork.source} was deleted and created again faster than it could be read")

    async def _position(
        self, source: Stream, root: Root, fork: Fork, anchor: int, tail: int
    ) -> int | ForkInvalid | Refusal:
        if not root.is_json:
            if anchor + fork.sub_offset > tail:
                return _overshoots(fork, tail - anchor, "bytes")
            return anchor + fork.sub_offset
        at, left = anchor, fork.sub_offset
        while at < tail:
            # Read even for no message at all: an anchor inside of one would make every later read fail.
            page = await self._reader.read(
                source, Offset(segment_at(root.lineage, at).generation, at), 1 if not left else PAGE, 0.0
            )
            if isinstance(page, OffsetInvalid):
                return ForkInvalid("Stream-Fork-Offset", page.why)
            if not isinstance(page, Page):
                return SourceNotFound()
            if not left:
                return at
            starts = boundaries(page.body)
            if left < len(starts):
                return at + starts[left]
            at, left = page.end, left - (len(starts) - 1)
        if left:
            return _overshoots(fork, fork.sub_offset - left, "messages")
        return at

    async def keep(self, departure: Departure, path: str, generation: int) -> bool:
        """Write the fork's marker, then look whether the source still lives. Raises LogError."""
        tails, source = self._tails, departure.source
        key = keys.marker_key(source.path, departure.root.generation, path, generation)
        await tails.bucket.write_once(key, encode_marker(Marker(path, generation)))
        if await tails.live(source) is not None:
            return False
        await tails.confirm(source)
        if source.tail is None or source.tail.deleted:
            return False
        at = tails.clock.steady()
        found = await tails.bucket.read_root(source.root_key)
        source.set_root(None if found is None else found.root, at)
        if found is None or found.root.generation != departure.root.generation or found.root.state is not State.LIVE:
            return False
        # What the source has dropped before the marker was there may be gone for good.
        return found.root.retained == departure.root.retained


PAGE = 1024 * 1024  # bytes of JSON read at once to count messages


def _anchor(root: Root, fork: Fork, tail: int) -> int | ForkInvalid:
    if fork.offset is None or fork.offset is Sentinel.NOW:
        return tail
    if isinstance(fork.offset, Sentinel):
        return root.retained
    position = position_of(root.lineage, fork.offset)
    if position is None:
        return ForkInvalid("Stream-Fork-Offset", "it is not an offset of the source stream")
    if position > tail:
        return ForkInvalid("Stream-Fork-Offset", "it is beyond the source stream's tail")
    if position < root.retained:
        return ForkInvalid("Stream-Fork-Offset", "the source stream does not keep it any more")
    return position


def _overshoots(fork: Fork, most: int, unit: str) -> ForkInvalid:
    return ForkInvalid(
        "Stream-Fork-Sub-Offset",
        f"{fork.sub_offset} is beyond the source stream's tail: {most} {unit} follow the fork offset",
    )
