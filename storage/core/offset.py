"""Read and write the public offset: a generation and a position in one token. Section 8. Knows nothing of keys."""

import re
from enum import Enum

import msgspec

WIDTH = 16  # digits: they hold 2**53 - 1, and a fixed width makes byte order numeric order
LARGEST = 10**WIDTH - 1


class MalformedOffset(ValueError):
    """A text that no server of this kind has handed out as an offset."""


class Sentinel(Enum):
    """The places that are named by a word instead of a token."""

    START = "-1"
    NOW = "now"


class Offset(msgspec.Struct, frozen=True, order=True):
    """A position (payload bytes from the stream's start) under a generation of the stream."""

    generation: int
    position: int

    def __str__(self) -> str:
        return f"{self.generation:0{WIDTH}d}_{self.position:0{WIDTH}d}"


_TOKEN = re.compile(rf"([0-9]{{{WIDTH}}})_([0-9]{{{WIDTH}}})", re.ASCII)


def parse_offset(text: str) -> Offset | Sentinel:
    """Read an offset as a client sends it; the all-zero token is the start. Raises MalformedOffset."""
    if text == "-1":
        return Sentinel.START
    if text == "now":
        return Sentinel.NOW
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise MalformedOffset(text)
    offset = Offset(int(match[1]), int(match[2]))
    return offset if offset.generation or offset.position else Sentinel.START
