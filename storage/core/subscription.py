"""What a subscription is: one object, changed by compare-and-swap, never removed. Sections 6 and 7. Knows its codec.

`generation` only grows, over deletions too, so that no token of an earlier subscription of the same id fits a later
one. `write_id` is fresh in every version, because an ETag is a hash of the body and equal bodies are one version.
What happens to a wake is decided in `wake.py`.
"""

from enum import Enum
from hashlib import sha256
from urllib.parse import unquote

import msgspec

from storage.core.glob import matches
from storage.core.keys import decode_path, encode_path
from storage.core.offset import WIDTH

PREFIX = "subscription/"
ID_BYTES = 320  # of an id in its key: due keys hold it together with the root
ROOT_BYTES = 640

START_TOKEN = "-1"  # a stream that was found later: everything in it is new
ZERO_TOKEN = f"{0:0{WIDTH}d}_{0:0{WIDTH}d}"  # a stream that does not exist yet; reads from its start as well


class DamagedSubscription(ValueError):
    """An object under `subscription/` that cannot be read."""


class NameTooLong(ValueError):
    """An id, or the root before it, that leaves no room in a key."""


class Kind(Enum):
    """How workers are woken."""

    WEBHOOK = "webhook"
    PULL_WAKE = "pull-wake"


class Config(msgspec.Struct, frozen=True):
    """What a PUT asks for, normalised; a repeated one must have the same hash. Paths are relative to the root."""

    kind: Kind
    pattern: str | None
    streams: tuple[str, ...]  # sorted, each once
    webhook_url: str | None
    wake_stream: str | None
    lease_ms: int
    description: str | None


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """A place in a stream. Positions of one incarnation (a root's generation) are comparable, of two they are not."""

    incarnation: int  # 0: of a stream that did not exist
    position: int
    token: str


class Link(msgspec.Struct, frozen=True, array_like=True):
    """A stream of the subscription: added by name, or else found by the pattern."""

    explicit: bool
    cursor: Cursor  # last processed, inclusive


class Phase(Enum):
    """Where a wake stands."""

    SENDING = "sending"  # a process delivers it, and has until `timer_ms`
    RETRYING = "retrying"  # it could not be delivered; at `timer_ms` somebody tries again
    SENT = "sent"  # delivered: the lease of a webhook runs, a wake event waits for a claim
    CLAIMED = "claimed"  # by a worker


class Wake(msgspec.Struct, frozen=True):
    """The wake in flight. Times in milliseconds since the epoch."""

    id: str
    stream: str  # the one whose pending work caused it
    phase: Phase
    attempt: str  # the id of the delivery, or of the claim, that was last begun
    snapshot: dict[str, Cursor]  # tails when it was minted (claimed), of the streams that existed
    timer_ms: int | None = None
    lease_ms: int | None = None  # when the lease ends; None where there is none
    holder: str = ""


class Subscription(msgspec.Struct, frozen=True):
    """One version of a subscription."""

    root: str  # the path that its streams are relative to
    id: str  # as in a URL; `name` is how clients wrote it
    incarnation: str
    write_id: str
    config: Config
    base: str  # scheme and authority that its URLs are given with
    created_ms: int
    generation: int
    links: dict[str, Link]
    wake: Wake | None = None
    failures: int = 0  # deliveries in a row that failed
    scans: tuple[int, ...] = ()  # when its streams are looked for again, ascending
    deleted: bool = False

    @property
    def key(self) -> str:
        """Where the object is."""
        return subscription_key(self.root, self.id)

    @property
    def name(self) -> str:
        """The id without escapes."""
        return unquote(self.id)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{control_url(self.base, self.root)}/subscriptions/{self.id}"


_decode = msgspec.json.Decoder(Subscription).decode
encode_subscription = msgspec.json.Encoder().encode


def decode_subscription(body: bytes) -> Subscription:
    """Read a subscription. Raises DamagedSubscription."""
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedSubscription(str(error)) from error


def subscription_key(root: str, id_: str) -> str:
    """Return where a subscription is. Both are normalised, as in a URL. Raises NameTooLong."""
    root_segment, id_segment = encode_path(root), encode_path(id_)
    if len(root_segment) > ROOT_BYTES or len(id_segment) > ID_BYTES:
        raise NameTooLong(id_)
    return f"{PREFIX}{root_segment}/{id_segment}"


def parse_subscription_key(key: str) -> tuple[str, str]:
    """Return the root and the id that a key names."""
    _, root, id_ = key.split("/")
    return decode_path(root), decode_path(id_)


def control_url(base: str, root: str) -> str:
    """Return the URL of what is reserved below a root. `base` is a scheme and an authority."""
    return f"{base}/{root}/__ds" if root else f"{base}/__ds"


def config_hash(config: Config) -> str:
    """Return the hash of a normalised configuration: what makes a repeated PUT the same one."""
    return sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()


def stream_path(root: str, relative: str) -> str:
    """Return the path of a stream that a subscription of this root names."""
    return f"{root}/{relative}" if root else relative


def relative_path(root: str, path: str) -> str | None:
    """Return how subscriptions of this root name a stream; None if it is not below the root."""
    if not root:
        return path or None
    return path[len(root) + 1 :] or None if path.startswith(root + "/") else None


def is_matched(config: Config, relative: str) -> bool:
    """Say whether the pattern matches. The subscription's own wake stream is never matched: it would wake itself."""
    return config.pattern is not None and relative != config.wake_stream and matches(config.pattern, relative)


def tombstone(subscription: Subscription) -> Subscription:
    """Return what is left of a subscription when it is deleted."""
    return msgspec.structs.replace(subscription, links={}, wake=None, failures=0, scans=(), deleted=True)
