"""Decide what may be appended to a stream, in the protocol's order. Section 5.2. Knows nothing of stores or time.

A Draft is the next chunk while it forms: every append that arrived is judged, in order, against the state that the
one before leaves, and those that pass become one chunk.
"""

from collections.abc import Mapping

import msgspec

from storage.core.chunk import Chunk, Kind
from storage.core.lineage import Lineage, token_at
from storage.core.producers import (
    Claim,
    Duplicate,
    EpochNotAtZero,
    Fresh,
    Record,
    SequenceGap,
    StaleEpoch,
    judge,
    record_of,
)


class Tail(msgspec.Struct, frozen=True):
    """The end of a generation: what the next append is judged against and where it is written."""

    generation: int
    position: int  # the public tail
    key: int  # the key position of the next chunk, which is the lock
    index: int  # of the next chunk
    at_ms: int  # of the last commit; 0 where there is none
    closed: bool
    closer: Claim | None
    sequence: str | None
    producers: Mapping[str, Record]
    table: str  # see Chunk.table
    unspilled: Mapping[str, Record]  # what has changed since `table`
    deleted: bool = False  # the last chunk is a tombstone


def first_tail(generation: int, position: int) -> Tail:
    """Return the tail of a generation without a chunk: an empty stream's, or a fork's at its fork point."""
    return Tail(generation, position, position, 0, 0, False, None, None, {}, "", {})


def tail_after(generation: int, chunk: Chunk, table: Mapping[str, Record]) -> Tail:
    """Return the tail that a chunk leaves. `table` is the spilled one that it names, or empty."""
    return Tail(
        generation=generation,
        position=chunk.next,
        key=chunk.successor,
        index=chunk.index + 1,
        at_ms=chunk.at_ms,
        closed=chunk.closed,
        closer=chunk.closer,
        sequence=chunk.sequence,
        producers={**table, **chunk.producers} if chunk.table else chunk.producers,
        table=chunk.table,
        unspilled=chunk.producers,
        deleted=chunk.kind is Kind.TOMBSTONE,
    )


class Append(msgspec.Struct, frozen=True):
    """What a POST asks for. `payload` is the body, or a JSON body's messages joined by commas."""

    payload: bytes
    media_type: str = ""  # without parameters, in lower case; empty where the request had none
    close: bool = False
    sequence: str | None = None
    claim: Claim | None = None
    expected: int | None = None  # append only if the tail is at this position
    expected_in: int | None = None  # and its offset is of this generation
    invalid: str = ""  # why the body is no JSON, to be said when nothing else comes first


class Appended(msgspec.Struct, frozen=True):
    """Committed (or, from a Draft, part of the chunk that will be)."""

    position: int  # the tail behind this append's bytes
    closed: bool
    claim: Claim | None


class Repeated(msgspec.Struct, frozen=True):
    """Committed before, by the same producer with the same seq. Section 5.2.1."""

    position: int
    closed: bool
    epoch: int
    seq: int


class AlreadyClosed(msgspec.Struct, frozen=True):
    """A close of a stream that was closed: a success that writes nothing. Section 5.3."""

    position: int


class StreamClosed(msgspec.Struct, frozen=True):
    """The stream takes no more appends."""

    position: int


class MediaTypeDiffers(msgspec.Struct, frozen=True):
    """The request's content type is not the stream's."""

    expected: str


class SequenceRegression(msgspec.Struct, frozen=True):
    """`Stream-Seq` is not above the last one."""

    last: str


class TailMoved(msgspec.Struct, frozen=True):
    """The tail is not where the request expected it."""

    position: int


class InvalidBody(msgspec.Struct, frozen=True):
    """The body is not JSON, or an empty array."""

    why: str


Refusal = (
    StreamClosed
    | MediaTypeDiffers
    | SequenceRegression
    | TailMoved
    | InvalidBody
    | StaleEpoch
    | SequenceGap
    | EpochNotAtZero
)
Verdict = Appended | Repeated | AlreadyClosed | Refusal


class Judged(msgspec.Struct, frozen=True):
    """A verdict, and the lineage of the stream it was given on: what turns its position into an offset."""

    verdict: Verdict
    lineage: Lineage


class Draft:
    """The chunk that a group of appends becomes."""

    def __init__(self, tail: Tail, media_type: str, now_ms: int, lineage: Lineage = ()) -> None:
        self._tail = tail
        self._lineage = lineage
        self._media_type = media_type
        self._is_json = media_type == "application/json"
        self._now_ms = now_ms
        self._closed = tail.closed
        self._closer = tail.closer
        self._sequence = tail.sequence
        self._payloads: list[bytes] = []
        self.position = tail.position
        self.changed: dict[str, Record] = {}
        self.writes = False

    def admit(self, append: Append) -> Verdict:
        """Judge one append; Appended means that it is part of the draft now."""
        claim = append.claim
        if self._closed:
            return self._judge_closed(append)
        if append.payload or append.invalid:
            if append.media_type != self._media_type:
                return MediaTypeDiffers(self._media_type)
            if append.invalid:
                return InvalidBody(append.invalid)
        if claim is not None:
            record = self.changed.get(claim.producer) or self._tail.producers.get(claim.producer)
            verdict = judge(claim, record)
            if isinstance(verdict, Duplicate):
                return Repeated(self.position, self._closed, verdict.epoch, verdict.seq)
            if not isinstance(verdict, Fresh):
                return verdict
        if append.expected is not None and not self._is_expected(append):
            return TailMoved(self.position)
        if append.sequence is not None:
            if self._sequence is not None and append.sequence <= self._sequence:
                return SequenceRegression(self._sequence)
            self._sequence = append.sequence
        if claim is not None:
            self.changed[claim.producer] = record_of(claim, self._now_ms)
        if append.payload:
            self._payloads.append(append.payload)
            # A JSON message counts its comma, or for the last one its bracket.
            self.position += len(append.payload) + self._is_json
        if append.close:
            self._closed = True
            self._closer = claim
        self.writes = True
        return Appended(self.position, self._closed, claim)

    def _is_expected(self, append: Append) -> bool:
        if append.expected != self.position:
            return False
        if append.expected_in is None or append.expected_in == self._tail.generation:
            return True
        # At its fork point a fork's offset is its source's.
        return bool(self._lineage) and token_at(self._lineage, self.position).generation == append.expected_in

    def _judge_closed(self, append: Append) -> Verdict:
        claim = append.claim
        if claim is not None and claim == self._closer:
            return Repeated(self.position, True, claim.epoch, claim.seq)
        if append.close and not append.payload and not append.invalid and claim is None:
            return AlreadyClosed(self.position)
        return StreamClosed(self.position)

    def body(self) -> bytes:
        """Return the chunk's body: exactly what a GET from its position answers."""
        if self._is_json:
            return b"[" + b",".join(self._payloads) + b"]"
        return self._payloads[0] if len(self._payloads) == 1 else b"".join(self._payloads)

    def chunk(self, write_id: str) -> Chunk:
        """Return the chunk."""
        tail = self._tail
        return Chunk(
            position=tail.position,
            next=self.position,
            kind=Kind.DATA if self._payloads else Kind.CLOSE,
            write_id=write_id,
            index=tail.index,
            at_ms=self._now_ms,
            closed=self._closed,
            closer=self._closer,
            sequence=self._sequence,
            producers={**tail.unspilled, **self.changed} if self.changed else tail.unspilled,
            table=tail.table,
        )


def tombstone(tail: Tail, write_id: str, now_ms: int) -> Chunk:
    """Return the chunk that deletes a generation, to be written at the tail's key."""
    return Chunk(
        position=tail.position,
        next=tail.position,
        kind=Kind.TOMBSTONE,
        write_id=write_id,
        index=tail.index,
        at_ms=now_ms,
        closed=tail.closed,
        closer=tail.closer,
        sequence=tail.sequence,
        producers={},
        table="",
    )
