"""What a stream is: the one object that says which generation of a path lives. Knows its codec and its states.

    absent ──► creating(g) ──► live(g) ──► soft(g) ──► deleted(g)
       └──────────────────────►  ▲  └────────────────────►  │
                                 └──── creating(g') ◄───────┘   g' > g

It is changed only by compare-and-swap and never removed. `creation` is the creation's id and stays for the whole
generation: equal clocks give two creators one number. `write_id` is fresh in every version, because an ETag is a hash
of the body and equal bodies are one version.
"""

from enum import Enum

import msgspec

from storage.core.lineage import Lineage, Segment


class DamagedRoot(ValueError):
    """An object under `root/` that cannot be read."""


class State(Enum):
    """Where a generation stands."""

    CREATING = "creating"  # absent to readers and appenders
    LIVE = "live"
    SOFT = "soft"  # deleted, kept for its forks
    DELETED = "deleted"


class Config(msgspec.Struct, frozen=True):
    """What a creation asks for and a repeated one must match. Section 5.1."""

    content_type: str
    ttl_seconds: int | None = None
    expires_at_ms: int | None = None
    expires_at: str | None = None  # as the client wrote it


class Origin(msgspec.Struct, frozen=True):
    """Where a fork left its source, as it was asked for: a repeated creation must ask for the same. Section 4.2."""

    path: str
    generation: int
    anchor: int  # the position of `Stream-Fork-Offset`
    sub_offset: int  # messages or bytes behind it
    own_lifetime: bool  # the request named a TTL or an expiry; else the source's was inherited


class Root(msgspec.Struct, frozen=True):
    """One version of a root."""

    generation: int
    state: State
    creation: str
    write_id: str
    born: bool  # the generation has been live
    first: bool  # it was created together with a chunk
    created_ms: int
    config: Config
    lineage: Lineage
    origin: Origin | None = None
    retained: int = 0  # nothing before this position is readable any more

    @property
    def own(self) -> Segment:
        """The segment that grows."""
        return self.lineage[-1]

    @property
    def is_json(self) -> bool:
        """Section 9.1 applies."""
        return media_type(self.config.content_type) == "application/json"


_decode = msgspec.json.Decoder(Root).decode
encode_root = msgspec.json.Encoder().encode


def decode_root(body: bytes) -> Root:
    """Read a root. Raises DamagedRoot."""
    try:
        root = _decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedRoot(str(error)) from error
    if not root.lineage:
        raise DamagedRoot("its lineage is empty")
    return root


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case: what is compared and decides on JSON mode."""
    return content_type.partition(";")[0].strip().lower()


def next_generation(now_ms: int, *earlier: int) -> int:
    """Return the generation of a creation: microseconds, and above every earlier one (of the path, of the sources)."""
    return max(1, now_ms * 1000, *(generation + 1 for generation in earlier))
