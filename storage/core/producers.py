"""Judge a producer's claim against what a stream remembers of it. Section 5.2.1. Knows nothing of HTTP, S3 or time."""

from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

import msgspec

INTEGER_LIMIT = 2**53 - 1  # what JavaScript counts exactly; section 5.2.1
ENCODED_BYTES = 400  # of a producer id in an object's metadata, so that a closer and a Stream-Seq fit beside it

_MINUTE_MS = 60_000


class DamagedTable(ValueError):
    """A producer table that cannot be read."""


class Claim(msgspec.Struct, frozen=True):
    """What a request says of itself: `Producer-Id`, `Producer-Epoch`, `Producer-Seq`."""

    producer: str
    epoch: int
    seq: int


class Record(msgspec.Struct, frozen=True):
    """What a stream remembers of a producer: its epoch, the last seq it accepted, when (in minutes since 1970)."""

    epoch: int
    seq: int
    minute: int


class Fresh(msgspec.Struct, frozen=True):
    """Not seen before: append it."""


class Duplicate(msgspec.Struct, frozen=True):
    """Accepted before; `seq` is the highest that was."""

    epoch: int
    seq: int


class StaleEpoch(msgspec.Struct, frozen=True):
    """A newer epoch of the producer exists: the caller is a zombie."""

    epoch: int


class SequenceGap(msgspec.Struct, frozen=True):
    """A seq before this one is missing."""

    expected: int
    received: int


class EpochNotAtZero(msgspec.Struct, frozen=True):
    """A new epoch begins with seq 0."""

    epoch: int
    seq: int


Verdict = Fresh | Duplicate | StaleEpoch | SequenceGap | EpochNotAtZero

_FRESH = Fresh()


def judge(claim: Claim, record: Record | None) -> Verdict:
    """Say whether a claim is new, seen, or out of turn."""
    if record is None:
        # A producer nobody knows may come with any epoch, but only from its beginning.
        return _FRESH if claim.seq == 0 else SequenceGap(0, claim.seq)
    if claim.epoch < record.epoch:
        return StaleEpoch(record.epoch)
    if claim.epoch > record.epoch:
        return _FRESH if claim.seq == 0 else EpochNotAtZero(claim.epoch, claim.seq)
    if claim.seq <= record.seq:
        return Duplicate(record.epoch, record.seq)
    return _FRESH if claim.seq == record.seq + 1 else SequenceGap(record.seq + 1, claim.seq)


def record_of(claim: Claim, now_ms: int) -> Record:
    """Return what is remembered of a claim that was accepted."""
    return Record(claim.epoch, claim.seq, now_ms // _MINUTE_MS)


def without_idle(table: Mapping[str, Record], now_ms: int, idle_ms: int) -> dict[str, Record]:
    """Return the producers heard of within `idle_ms`; all of them if that is 0."""
    if not idle_ms:
        return dict(table)
    oldest = (now_ms - idle_ms) // _MINUTE_MS
    return {producer: record for producer, record in table.items() if record.minute >= oldest}


def quote_id(text: str) -> str:
    """Return a producer id or a `Stream-Seq` as printable ASCII without the separators used here."""
    return text if text.isascii() and text.isalnum() else quote(text, safe="-._~")


def encode_line(table: Iterable[tuple[str, Record]]) -> str:
    """Return a table as one line of metadata."""
    return ",".join(f"{quote_id(p)}:{r.epoch:x}:{r.seq:x}:{r.minute:x}" for p, r in table)


def decode_line(line: str) -> dict[str, Record]:
    """Return the table that a line holds. Raises DamagedTable."""
    table = {}
    try:
        for item in line.split(",") if line else ():
            producer, epoch, seq, minute = item.split(":")
            table[unquote(producer)] = Record(int(epoch, 16), int(seq, 16), int(minute, 16))
    except ValueError as error:
        raise DamagedTable(line) from error
    return table


class _Spilled(msgspec.Struct):
    write_id: str
    producers: dict[str, tuple[int, int, int]]


_decode = msgspec.json.Decoder(_Spilled).decode


def encode_table(write_id: str, table: Mapping[str, Record]) -> bytes:
    """Return the body of a table's own object."""
    return msgspec.json.encode(_Spilled(write_id, {p: (r.epoch, r.seq, r.minute) for p, r in table.items()}))


def decode_table(body: bytes) -> dict[str, Record]:
    """Return the table that an object's body holds. Raises DamagedTable."""
    try:
        return {producer: Record(*fields) for producer, fields in _decode(body).producers.items()}
    except msgspec.MsgspecError as error:
        raise DamagedTable(str(error)) from error
