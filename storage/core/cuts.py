"""Find where JSON may be cut: at the commas between the messages of a long body. Section 9.1. Knows nothing of chunks.

A body of many megabytes is read in parts, and a part ends wherever it ends. To parse all that is before it would cost a
page of its own, so the structure is told from the quotes and brackets alone; the body is known to be JSON.
"""

from collections.abc import Sequence
from itertools import pairwise

from storage.core.json_mode import InvalidJson, split_body

_COMMA, _OPEN, _CLOSE = ord(","), b"[{", b"]}"


def last_comma(text: bytes) -> int:
    """Return the index of the last comma between two messages, -1 if there is none.

    `text` begins where a message begins, and ends anywhere before the end of the array that it was taken from.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    parts = text.split(b'"')  # every other one is a string, the first one is not
    outside = b"".join(parts[::2])
    depth = sum(map(outside.count, (b"[", b"{"))) - sum(map(outside.count, (b"]", b"}")))
    index = len(text)
    for n in range(len(parts) - 1, -1, -1):
        part = parts[n]
        index -= len(part)
        if n % 2 == 0:
            for at in range(len(part) - 1, -1, -1):
                byte = part[at]
                if byte == _COMMA and depth == 0:
                    return index + at
                depth += (byte in _CLOSE) - (byte in _OPEN)
        index -= 1  # the quote
    return -1


def is_between_messages(text: bytes) -> bool:
    """Say whether the last byte of `text`, which begins like a body, is a comma between two messages."""
    if text[-1:] != b",":
        return False
    try:
        split_body(text[:-1] + b"]")
    except InvalidJson:
        return False
    return True


def are_cuts(body: bytes, commas: Sequence[int]) -> bool:
    """Say whether ascending indices of a body are of commas between two messages."""
    ends = [0, *commas, len(body) - 1]
    return all(body[at : at + 1] == b"," for at in commas) and all(
        low < high and is_between_messages(b"[" + body[low + 1 : high] + b",") for low, high in pairwise(ends)
    )
