"""Read what is asked of subscriptions: control paths and JSON bodies. Sections 6 and 7. Knows nothing of stores.

Paths in bodies are relative to the root and written as in a URL; escapes are normalised here, once, as for streams.
"""

from enum import Enum
from urllib.parse import parse_qsl, unquote

import msgspec

from handler.core import names
from handler.core.fields import Unacceptable
from handler.core.webhook_url import UrlRejected, judge_url
from storage.core.keys import PathTooLong, encode_path, normalise_path
from storage.core.subscription import Config, Kind, stream_path
from storage.subscriptions.leases import Ack

LEASE_MS, SHORTEST_LEASE_MS, LONGEST_LEASE_MS = 30_000, 1_000, 600_000  # section 6.2
DESCRIPTION_CHARACTERS = 4_096
WORKER_CHARACTERS = 512
LISTED, MOST_LISTED = 100, 1_000  # streams in a page of a listing

INVALID = "INVALID_REQUEST"
REJECTED = "WEBHOOK_URL_REJECTED"


class Action(Enum):
    """What a control path is for."""

    SUBSCRIPTION = "subscription"
    STREAMS = "streams"
    STREAM = "stream"
    CALLBACK = "callback"
    CLAIM = "claim"
    ACK = "ack"
    RELEASE = "release"
    JWKS = "jwks.json"
    LISTING = "listing"


class Control(msgspec.Struct, frozen=True):
    """A control path: what it is for, and below which root."""

    root: str
    action: Action
    id: str = ""
    stream: str = ""

    @property
    def has_own_token(self) -> bool:
        """Whether the server's own authorisation is not asked: a token of the wake is, or what is told is public."""
        return self.action in (Action.CALLBACK, Action.ACK, Action.RELEASE, Action.JWKS)


class Listing(msgspec.Struct, frozen=True):
    """Which streams are listed; `prefix` and `after` include the root."""

    prefix: str
    after: str
    limit: int


def parse_control(path: str) -> Control | None:
    """Read a path with a `__ds` segment, normalised; None where it is for nothing that is known here."""
    segments = path.split("/")
    at = segments.index(names.RESERVED)
    root, rest = "/".join(segments[:at]), segments[at + 1 :]
    match rest:
        case ["jwks.json"]:
            return Control(root, Action.JWKS)
        case ["streams"]:
            return Control(root, Action.LISTING)
        case ["subscriptions", id_] if id_:
            return Control(root, Action.SUBSCRIPTION, id_)
        case ["subscriptions", id_, "streams"] if id_:
            return Control(root, Action.STREAMS, id_)
        case ["subscriptions", id_, "streams", *stream] if id_ and any(stream):
            # Section 6.4: the path is escaped as a whole, on top of its own escapes, or not at all.
            return Control(root, Action.STREAM, id_, normalise_path(unquote("/".join(stream)).strip("/")))
        case ["subscriptions", id_, ("callback" | "claim" | "ack" | "release") as action] if id_:
            return Control(root, Action(action), id_)
        case _:
            return None


# -- bodies


class _Webhook(msgspec.Struct):
    url: str


class _Create(msgspec.Struct):
    type: str
    pattern: str | None = None
    streams: list[str] | None = None
    webhook: _Webhook | None = None
    wake_stream: str | None = None
    lease_ttl_ms: int = LEASE_MS
    description: str | None = None


class _Streams(msgspec.Struct):
    streams: list[str]


class _Claim(msgspec.Struct):
    worker: str


class _OneAck(msgspec.Struct):
    offset: str
    stream: str = ""
    path: str = ""  # what the reference server takes too


class _Ack(msgspec.Struct):
    wake_id: str | None = None
    generation: int | None = None
    acks: list[_OneAck] | None = None
    done: bool | None = None


_decode_create = msgspec.json.Decoder(_Create).decode
_decode_streams = msgspec.json.Decoder(_Streams).decode
_decode_claim = msgspec.json.Decoder(_Claim).decode
_decode_ack = msgspec.json.Decoder(_Ack).decode


def parse_config(body: bytes, root: str, *, allow_loopback: bool) -> Config:
    """Read the body of a PUT. Raises Unacceptable."""
    try:
        asked = _decode_create(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _invalid("body", f"The body is not as it should be: {error}") from None
    try:
        kind = Kind(asked.type)
    except ValueError:
        raise _invalid("type", f"type {asked.type[:40]!r} is unknown; accepted are webhook and pull-wake") from None
    pattern = _parse_pattern(asked.pattern) if asked.pattern else None
    streams = tuple(sorted({_parse_stream("streams", path, root) for path in asked.streams or ()}))
    if pattern is None and not streams:
        raise _invalid("pattern", "Neither pattern nor streams is there; send at least one of them")
    if not SHORTEST_LEASE_MS <= asked.lease_ttl_ms <= LONGEST_LEASE_MS:
        accepted = f"accepted is {SHORTEST_LEASE_MS} to {LONGEST_LEASE_MS}"
        raise _invalid("lease_ttl_ms", f"lease_ttl_ms {asked.lease_ttl_ms} is out of range; {accepted}")
    if len(asked.description or "") > DESCRIPTION_CHARACTERS:
        raise _invalid("description", f"description is too long; accepted are {DESCRIPTION_CHARACTERS} characters")
    url = wake_stream = None
    if kind is Kind.WEBHOOK:
        if asked.webhook is None:
            raise _invalid("webhook", "webhook.url is missing; a webhook subscription needs one")
        url = asked.webhook.url
        try:
            judge_url(url, allow_loopback=allow_loopback)
        except UrlRejected as error:
            raise Unacceptable(REJECTED, "webhook.url", f"No webhook is sent to {url[:200]!r}: {error}") from None
    else:
        if not asked.wake_stream:
            raise _invalid("wake_stream", "wake_stream is missing; a pull-wake subscription needs one")
        wake_stream = _parse_stream("wake_stream", asked.wake_stream, root)
        if wake_stream in streams:
            raise _invalid("streams", "streams names the wake stream; the subscription would wake itself for ever")
    return Config(kind, pattern, streams, url, wake_stream, asked.lease_ttl_ms, asked.description)


def parse_streams(body: bytes, root: str) -> list[str]:
    """Read the body of a POST of explicit streams. Raises Unacceptable."""
    try:
        asked = _decode_streams(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _invalid("streams", f"The body is not as it should be: {error}") from None
    return [_parse_stream("streams", path, root) for path in asked.streams]


def parse_worker(body: bytes) -> str:
    """Read the body of a claim. Raises Unacceptable."""
    try:
        worker = _decode_claim(body).worker
    except (msgspec.MsgspecError, ValueError) as error:
        raise _invalid("worker", f"The body is not as it should be: {error}") from None
    if not 0 < len(worker) <= WORKER_CHARACTERS:
        raise _invalid("worker", f"worker has {len(worker)} characters; accepted are 1 to {WORKER_CHARACTERS}")
    return worker


def parse_ack(body: bytes) -> Ack:
    """Read the body of a callback, an ack or a release. Raises Unacceptable."""
    try:
        asked = _decode_ack(body or b"{}")
    except (msgspec.MsgspecError, ValueError) as error:
        raise _invalid("body", f"The body is not as it should be: {error}") from None
    acks = tuple((_relative(ack.stream or ack.path), ack.offset) for ack in asked.acks or ())
    return Ack(asked.wake_id, asked.generation, acks, asked.done is True)


def parse_bearer(headers: dict[bytes, bytes]) -> str:
    """Return the bearer token, empty where there is none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def parse_listing(query: bytes, root: str) -> Listing:
    """Read the query of a listing. Raises Unacceptable."""
    parameters = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    prefix = normalise_path(parameters.get("prefix", ""))
    after = normalise_path(parameters.get("after", ""))
    text = parameters.get("limit", str(LISTED))
    if not (text.isdecimal() and text.isascii() and 0 < int(text[:9]) <= MOST_LISTED):
        raise _invalid("limit", f"limit {text[:40]!r} is no size of a page; accepted is 1 to {MOST_LISTED}")
    return Listing(stream_path(root, prefix), stream_path(root, after) if after else "", int(text))


def _relative(path: str) -> str:
    return normalise_path(path.strip("/"))


def _parse_stream(field: str, path: str, root: str) -> str:
    relative = _relative(path)
    if not relative or names.RESERVED in relative.split("/"):
        raise _invalid(field, f"{field}: {path[:80]!r} is no stream; accepted is a path relative to the root")
    try:
        encode_path(stream_path(root, relative))
    except PathTooLong:
        raise _invalid(field, f"{field}: {path[:80]!r} is longer than a stream's path can be") from None
    return relative


def _parse_pattern(pattern: str) -> str:
    segments = [segment for segment in pattern.split("/") if segment]
    if not segments:
        raise _invalid("pattern", "pattern is empty; accepted are segments, * for any one, ** for any number")
    if len(pattern) > 1_024:
        raise _invalid("pattern", "pattern is too long; accepted are 1024 characters")
    return "/".join(normalise_path(segment) for segment in segments)


def _invalid(field: str, sentence: str) -> Unacceptable:
    return Unacceptable(INVALID, field, sentence)
