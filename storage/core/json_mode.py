"""Cut a JSON body into messages, byte for byte, and join them again. Section 9.1. Knows nothing of streams.

A payload is messages joined by commas; a body is a payload in brackets. A message of n bytes counts n + 1 positions,
so a payload of k messages counts its length + 1, and positions between messages fall on the commas.
"""

import json
from collections.abc import Iterator

import msgspec

_WHITE = " \t\n\r"
_WHITE_BYTES = b" \t\n\r"


class InvalidJson(ValueError):
    """A body that is not JSON; its text says why."""


class _Strict(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(parse_constant=self._refuse, parse_int=len)  # only the cuts count, not the numbers

    @staticmethod
    def _refuse(name: str) -> object:
        raise ValueError(f"{name} is not JSON")


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one = msgspec.json.Decoder(msgspec.Raw).decode
_careful = _Strict()


def split_body(body: bytes) -> list[bytes]:
    """Return the messages of a request body: an array's elements, or the one value. Raises InvalidJson."""
    try:
        body.decode()  # msgspec.Raw would let invalid UTF-8 through, and it would poison every later read
    except UnicodeDecodeError as error:
        raise InvalidJson(f"it is not UTF-8 at byte {error.start}") from None
    stripped = body.strip(_WHITE_BYTES)
    try:
        if stripped[:1] == b"[":
            return [bytes(raw) for raw in _decode_list(stripped)]
        return [bytes(_decode_one(stripped))]
    except RecursionError:
        raise InvalidJson("it is nested too deeply") from None
    except msgspec.DecodeError:
        # Valid all the same if it holds a lone surrogate escape, which msgspec refuses (RFC 8259, 8.2).
        try:
            return list(_split_carefully(stripped.decode()))
        except RecursionError:
            raise InvalidJson("it is nested too deeply") from None
        except ValueError as error:
            raise InvalidJson(str(error)) from None


def _split_carefully(text: str) -> Iterator[bytes]:
    if text[:1] != "[":
        _, end = _careful.raw_decode(text)
        if end != len(text):
            raise ValueError(f"Extra data: character {end}")
        yield text.encode()
        return
    _careful.decode(text)  # every comma and bracket is where it belongs; below only the cuts are sought
    at = _skip(text, 1)
    while text[at] != "]":
        _, end = _careful.raw_decode(text, at)
        yield text[at:end].encode()
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at] in _WHITE:
        at += 1
    return at


def parse_payload(body: bytes) -> bytes:
    """Return the payload of a request body, empty for an empty array. Raises InvalidJson."""
    return b",".join(split_body(body))


def boundaries(body: bytes) -> list[int]:
    """Return the positions, counted from the body's start, at which its messages begin, and the one behind the last."""
    positions = [0]
    for message in split_body(body):
        positions.append(positions[-1] + len(message) + 1)
    return positions
