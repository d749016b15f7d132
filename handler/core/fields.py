"""Read single header values and parameters. Sections 4.1, 5 and 8. Knows nothing of requests as a whole."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

from handler.core import names
from storage.core.offset import MalformedOffset, Offset, Sentinel, parse_offset
from storage.core.producers import ENCODED_BYTES, INTEGER_LIMIT, Claim, quote_id
from storage.core.root import media_type

CONTENT_TYPE_BYTES = 255  # precedent: what RFC 6838 allows for a type and its subtype, 127 each

Headers = Mapping[bytes, bytes]


class Unacceptable(ValueError):
    """A request that is wrong by itself: 400. `sentence` says what is wrong and what is accepted."""

    def __init__(self, code: str, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.field = field
        self.sentence = sentence


def text_of(value: bytes) -> str:
    return value.decode("latin-1").strip()


def is_true(value: bytes | None) -> bool:
    """Section 4.1: present only when its value is `true`; anything else is no error, but absence."""
    return value is not None and value.lower() == b"true"


@lru_cache(maxsize=256)
def parse_media_type(declared: bytes) -> str:
    return media_type(parse_content_type(declared))


def parse_content_type(declared: bytes) -> str:
    text = text_of(declared)
    kind, slash, rest = media_type(text).partition("/")
    printable = text.isascii() and text.isprintable()
    if not text:
        return ""
    if not (kind and slash and rest and printable) or " " in kind + rest or len(text) > CONTENT_TYPE_BYTES:
        raise Unacceptable(
            "malformed-content-type",
            names.CONTENT_TYPE,
            f"Content-Type {text[:80]!r} is no media type; accepted is type/subtype with parameters, "
            f"at most {CONTENT_TYPE_BYTES} characters of ASCII",
        )
    return text


def parse_claim(headers: Headers) -> Claim:
    for name in (names.PRODUCER_ID, names.PRODUCER_EPOCH, names.PRODUCER_SEQ):
        if name.lower().encode() not in headers:
            raise Unacceptable(
                "incomplete-producer",
                name,
                f"{name} is missing; Producer-Id, Producer-Epoch and Producer-Seq come together or not at all",
            )
    producer = text_of(headers[b"producer-id"])
    if not producer:
        raise Unacceptable("malformed-producer", names.PRODUCER_ID, "Producer-Id is empty; send at least one character")
    _check_length(names.PRODUCER_ID, producer)
    return Claim(
        producer,
        _parse_count(names.PRODUCER_EPOCH, headers[b"producer-epoch"]),
        _parse_count(names.PRODUCER_SEQ, headers[b"producer-seq"]),
    )


def parse_sequence(value: bytes) -> str:
    sequence = value.decode("latin-1")
    _check_length(names.STREAM_SEQ, sequence)
    return sequence


def _check_length(field: str, text: str) -> None:
    length = len(text) if text.isascii() and text.isalnum() else len(quote_id(text))
    if length > ENCODED_BYTES:
        raise Unacceptable(
            "too-long",
            field,
            f"{field} has {length} bytes once percent-encoded; accepted are at most {ENCODED_BYTES}",
        )


def _parse_count(field: str, value: bytes) -> int:
    if value.isdigit() and len(value) <= 16:
        number = int(value)
        if number <= INTEGER_LIMIT:
            return number
    raise Unacceptable(
        "malformed-producer",
        field,
        f"{field} {text_of(value)[:40]!r} is no integer; accepted is 0 to {INTEGER_LIMIT} in decimal digits",
    )


def parse_integer(field: str, value: bytes, meaning: str) -> int:
    """Section 5.1: decimal, without leading zeros, signs, points or exponents."""
    if value.isdigit() and len(value) <= 16 and (value == b"0" or value[:1] != b"0"):
        number = int(value)
        if number <= INTEGER_LIMIT:
            return number
    raise Unacceptable(
        "malformed-integer",
        field,
        f"{field} {text_of(value)[:40]!r} is no count of {meaning}; accepted is 0 to {INTEGER_LIMIT} "
        "in decimal digits without leading zeros",
    )


def parse_time(field: str, text: str) -> int:
    """Return milliseconds since the epoch of an RFC 3339 timestamp."""
    shape = "".join("0" if character.isdigit() and character.isascii() else character for character in text.upper())
    whole, dot, rest = shape[:19], shape[19:20] == ".", shape[19:]
    if dot:
        rest = rest[1:].lstrip("0")
    is_shaped = whole in ("0000-00-00T00:00:00", "0000-00-00 00:00:00") and rest in ("Z", "+00:00", "-00:00")
    if is_shaped and (not dot or shape[20:21] == "0"):
        with suppress(ValueError, OverflowError):
            return int(datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp() * 1000)
    raise Unacceptable(
        "malformed-time",
        field,
        f"{field} {text[:40]!r} is no time; accepted is RFC 3339, such as 2030-01-31T12:00:00Z",
    )


def parse_offset_field(field: str, token: str) -> Offset | Sentinel:
    try:
        return parse_offset(token)
    except MalformedOffset:
        raise Unacceptable(
            "malformed-offset",
            field,
            f"{field} {token[:80]!r} is no offset; accepted are -1, now, and what Stream-Next-Offset said",
        ) from None


def parse_expected(value: bytes) -> Offset:
    token = text_of(value).removeprefix('"').removesuffix('"')
    offset = parse_offset_field(names.IF_MATCH, token)
    if not isinstance(offset, Offset):
        raise Unacceptable(
            "malformed-offset",
            names.IF_MATCH,
            f"If-Match {token!r} is no place at which a tail can be; accepted is what Stream-Next-Offset said",
        )
    return offset
