"""What the next reader or writer must know of a chunk, as the metadata of its object. Knows nothing of who reads it.

The body is exactly what a GET from the chunk's position answers, so everything else stands here.
"""

from collections.abc import Mapping
from enum import Enum
from urllib.parse import unquote

import msgspec

from storage.core.offset import WIDTH, Offset
from storage.core.producers import Claim, Record, decode_line, encode_line, quote_id

METADATA_BYTES = 1800  # and a checksum: S3 allows 2,048 and counts names and values; test doubles do not count at all


class DamagedChunk(ValueError):
    """An object under a chunk's key whose metadata cannot be read."""


class Kind(Enum):
    """What a chunk does to its stream."""

    DATA = "data"
    CLOSE = "close"  # nothing but the end of the stream; data that closes is DATA with `closed`
    TOMBSTONE = "tombstone"  # the generation is deleted


class Chunk(msgspec.Struct, frozen=True):
    """One commit, or a superset of several that begins where the first did."""

    position: int
    next: int  # the position behind the last byte
    kind: Kind
    write_id: str
    index: int  # how many chunks are before it in the chain; of a superset: before its last
    at_ms: int  # commit time by the writer's clock
    closed: bool
    closer: Claim | None  # the producer's request that closed the stream
    sequence: str | None  # the last `Stream-Seq`
    producers: Mapping[str, Record]  # all of them, or what has changed since `table`
    table: str  # `<~key>/<write id>` of the spilled table under `state/…`; empty where there is none
    count: int = 1  # chunks that it holds; more in a superset, whose `index` is its last one's
    cuts: tuple[int, ...] = ()  # positions in a superset of JSON where a message begins, ascending; some of many

    @property
    def successor(self) -> int:
        """The key at which the next chunk would be: an empty close is not followed by a chunk at its own key."""
        return self.next + (self.kind is Kind.CLOSE)


def encode_chunk(chunk: Chunk, generation: int) -> dict[str, str]:
    """Return the metadata. May be longer than METADATA_BYTES allows: see `fits`."""
    metadata = {
        "next": str(Offset(generation, chunk.next)),
        "kind": chunk.kind.value,
        "write-id": chunk.write_id,
        "index": str(chunk.index),
        "at": str(chunk.at_ms),
    }
    if chunk.closed:
        metadata["closed"] = "true"
    if chunk.closer is not None:
        metadata["closer"] = f"{quote_id(chunk.closer.producer)}:{chunk.closer.epoch:x}:{chunk.closer.seq:x}"
    if chunk.sequence is not None:
        metadata["seq"] = f"={quote_id(chunk.sequence)}"  # a value may be empty, a header of S3's may not
    if chunk.producers:
        metadata["producers"] = encode_line(chunk.producers.items())
    if chunk.table:
        metadata["table"] = chunk.table
    if chunk.count > 1:
        metadata["count"] = str(chunk.count)
    if chunk.cuts:
        with_cuts = metadata | {"cuts": ",".join(f"{cut - chunk.position:x}" for cut in chunk.cuts)}
        if fits(with_cuts):
            return with_cuts  # else they are found by looking
    return metadata


def fits(metadata: Mapping[str, str]) -> bool:
    """Say whether every store will keep this much metadata."""
    return sum(map(len, metadata)) + sum(map(len, metadata.values())) <= METADATA_BYTES


def decode_chunk(position: int, metadata: Mapping[str, str]) -> Chunk:
    """Return the chunk at a key position. Raises DamagedChunk."""
    try:
        end = int(metadata["next"][WIDTH + 1 :])
        closer = metadata.get("closer")
        sequence = metadata.get("seq")
        kind = Kind(metadata["kind"])
        return Chunk(
            # A tombstone after an empty close stands at the successor key, one above the tail's position.
            position=min(position, end),
            next=end,
            kind=kind,
            write_id=metadata["write-id"],
            index=int(metadata["index"]),
            at_ms=int(metadata["at"]),
            closed="closed" in metadata,
            closer=None if closer is None else _decode_claim(closer),
            sequence=None if sequence is None else unquote(sequence[1:]),
            producers=decode_line(metadata.get("producers", "")),
            table=metadata.get("table", ""),
            count=int(metadata.get("count", "1")),
            cuts=_decode_cuts(position, metadata.get("cuts", "")),
        )
    except (KeyError, ValueError) as error:
        raise DamagedChunk(f"{type(error).__name__}: {error}") from error


def _decode_cuts(position: int, text: str) -> tuple[int, ...]:
    return tuple(position + int(cut, 16) for cut in text.split(",")) if text else ()


def _decode_claim(text: str) -> Claim:
    producer, epoch, seq = text.split(":")
    return Claim(unquote(producer), int(epoch, 16), int(seq, 16))
