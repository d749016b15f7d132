"""Decide who may do what. Section 12.1 leaves it to the server: a hook, and one that asks for a bearer token."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum

import msgspec


class Access(Enum):
    """What a hook says of a request."""

    ALLOWED = "allowed"
    UNAUTHENTICATED = "unauthenticated"  # 401: nobody we know
    FORBIDDEN = "forbidden"  # 403: somebody we know, who may not


class Asked(msgspec.Struct, frozen=True):
    """What a hook is asked about. A fork is also asked about as a GET of its source."""

    method: str
    path: str  # of the stream, normalised; below `/__ds/` the request's own
    headers: Mapping[bytes, bytes]  # names in lower case


Authorize = Callable[[Asked], Access | Awaitable[Access]]


def require_token(tokens: Sequence[str]) -> Authorize:
    """Return a hook that lets in whoever sends `Authorization: Bearer` with one of the tokens."""
    digests = [_digest(token.encode()) for token in tokens]

    def authorize(asked: Asked) -> Access:
        scheme, _, token = asked.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return Access.UNAUTHENTICATED
        given = _digest(token.strip())
        # All are compared, and digests of one length, so that the time tells nothing of a token.
        matches = [hmac.compare_digest(given, digest) for digest in digests]
        return Access.ALLOWED if any(matches) else Access.UNAUTHENTICATED

    return authorize


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
