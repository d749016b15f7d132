"""Name the objects of a bucket. Knows where everything lies; nothing of what is in it.

`<path>` is one segment: whatever follows it in a key cannot be confused with a longer path. Numbers in chunk keys
are the nine's complement, because a store lists only upwards and a log asks for the last chunk at or before.
"""

import re
from hashlib import blake2b
from urllib.parse import quote, unquote_to_bytes

from storage.core.offset import LARGEST, WIDTH

KEY_BYTES = 1024  # S3's limit for a key
# The longest key that a path leads to is a fork's marker: `fork/<source>/<gen>/<digest>/<gen>`; `state/…` with two
# numbers and a write id is a little shorter. What is left of KEY_BYTES is the path's.
PATH_BYTES = KEY_BYTES - 128

# Unreserved in a URL, and harmless in the keys of every store.
_PLAIN = "-._~"
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")


class PathTooLong(ValueError):
    """A path whose keys would be longer than a store allows."""


def normalise_path(raw: str) -> str:
    """Return the path as it came over the wire with its percent-escapes normalised (RFC 3986, 6.2.2).

    Escapes of unreserved characters are decoded, all others are upper case; `%2F` stays different from `/`.
    One leading slash is dropped.
    """
    raw = raw.removeprefix("/")
    if raw.isascii() and raw.replace("/", "").replace("-", "").replace("_", "").isalnum():
        return raw
    parts = []
    end = 0
    data = raw.encode("utf-8", "surrogateescape")
    for match in _ESCAPE.finditer(data):
        parts.append(quote(data[end : match.start()], safe=_PLAIN + "/!$&'()*+,;=:@"))
        parts.append(quote(unquote_to_bytes(match[0]), safe=_PLAIN))
        end = match.end()
    parts.append(quote(data[end:], safe=_PLAIN + "/!$&'()*+,;=:@"))
    return "".join(parts)


def encode_path(path: str) -> str:
    """Return the one key segment that stands for a normalised path. Raises PathTooLong."""
    segment = quote(path, safe=_PLAIN)
    if not segment:
        return "%"  # never the beginning of an escape, so no other path's
    if not segment.strip("."):
        segment = segment.replace(".", "%2E")  # `.` and `..` are no names for an object
    if len(segment) > PATH_BYTES:
        raise PathTooLong(path)
    return segment


def decode_path(segment: str) -> str:
    """Return the path that `encode_path` made the segment of."""
    return "" if segment == "%" else unquote_to_bytes(segment).decode("ascii")


def complement(number: int) -> str:
    """Return the digit-wise nine's complement: later numbers sort first."""
    return f"{LARGEST - number:0{WIDTH}d}"


def root_key(path: str) -> str:
    """Return where the stream's root is."""
    return f"root/{encode_path(path)}"


def chunks_of_path(path: str) -> str:
    """Return the prefix of every chunk of every generation of a path, newest generation first."""
    return f"chunk/{encode_path(path)}/"


def chunks_of_generation(path: str, generation: int) -> str:
    """Return the prefix of a generation's chunks, the newest first."""
    return f"chunk/{encode_path(path)}/{complement(generation)}/"


def parse_chunk_key(key: str) -> tuple[int, int]:
    """Return the generation and the key position that a chunk's key names."""
    _, generation, position = key.rsplit("/", 2)
    return LARGEST - int(generation), LARGEST - int(position)


def states_of_generation(path: str, generation: int) -> str:
    """Return the prefix of a generation's spilled producer tables."""
    return f"state/{encode_path(path)}/{complement(generation)}/"


def touch_key(path: str, generation: int) -> str:
    """Return where the last access of a stream with a sliding TTL is kept."""
    return f"touch/{encode_path(path)}/{generation:0{WIDTH}d}"


def marker_key(source: str, generation: int, fork: str, fork_generation: int) -> str:
    """Return where it says that a fork depends on a generation. Two paths would not fit, hence the digest."""
    digest = blake2b(fork.encode(), digest_size=16).hexdigest()
    return f"{markers_of(source, generation)}{digest}/{fork_generation:0{WIDTH}d}"


def markers_of(path: str, generation: int) -> str:
    """Return the prefix of the markers of the forks that depend on a generation."""
    return f"fork/{encode_path(path)}/{generation:0{WIDTH}d}/"
