"""Build the replies that are no answer of a stream: errors, refusals, the preflight. Knows nothing of streams.

An error's body is `application/problem+json` (RFC 9457): one sentence for people, a stable code for programs, and the
field that is wrong.
"""

from http import HTTPStatus

import msgspec

from handler.core import names
from handler.core.caching import NO_STORE
from handler.core.fields import Unacceptable
from storage.errors import AmbiguousWriteError, ContentionError, LogError, RefusedPathError, UnavailableError

RawHeaders = list[tuple[bytes, bytes]]

RETRY_SECONDS = 1  # after a store that did not answer: its own backoff has been tried before


class Reply(msgspec.Struct, frozen=True):
    """What is sent."""

    status: int
    headers: RawHeaders
    body: bytes = b""
    more: tuple[bytes, ...] = ()  # of the body, to be sent after it


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header as ASGI has it."""
    return name.lower().encode(), value.encode("latin-1")


# Section 12.7: on every answer.
BASE: RawHeaders = [
    header(names.X_CONTENT_TYPE_OPTIONS, "nosniff"),
    header(names.CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
]
# For scripts of other origins; on reads always, because what a cache keeps cannot depend on a request's Origin.
CORS: RawHeaders = [
    header(names.ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    header(names.ACCESS_CONTROL_EXPOSE_HEADERS, ", ".join(names.READ)),
]
NOT_STORED = header(names.CACHE_CONTROL, NO_STORE)
_PROBLEM = header(names.CONTENT_TYPE, names.PROBLEM_TYPE)
_ALLOW = header(names.ALLOW, ", ".join(names.METHODS))

_encode = msgspec.json.Encoder().encode


class _Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457, with a code for programs."""

    title: str
    status: int
    code: str
    detail: str
    field: str = ""


def reply_problem(status: int, code: str, sentence: str, field: str = "", *extra: tuple[bytes, bytes]) -> Reply:
    """Return an error: one sentence for people, a code for programs, and the field that is wrong."""
    problem = _Problem(HTTPStatus(status).phrase, status, code, sentence, field)
    body = _encode(problem)
    length = header(names.CONTENT_LENGTH, str(len(body)))
    return Reply(status, [*BASE, _PROBLEM, NOT_STORED, length, *extra], body)


def reply_unacceptable(error: Unacceptable) -> Reply:
    """Return what a request that is wrong by itself gets."""
    return reply_problem(400, error.code, f"{error.sentence}.", error.field)


def reply_error(error: LogError) -> Reply:
    """Return what the log's failures become: whether a write may have happened is what the code says."""
    retry = header(names.RETRY_AFTER, str(RETRY_SECONDS))
    if isinstance(error, ContentionError):
        sentence = "Other writers were faster; nothing was written, and trying again will help."
        return reply_problem(503, "contention", sentence, "", retry)
    if isinstance(error, RefusedPathError):
        sentence = (
            "The path is longer than this server's store takes; accepted is a shorter one (by MinIO 255 bytes, "
            "with all but letters, digits and -._~ escaped)."
        )
        return reply_problem(400, "path-too-long", sentence, "path")
    if isinstance(error, UnavailableError):
        sentence = "The store does not answer as it should; nothing was written. Try again later."
        return reply_problem(503, "store-unavailable", sentence, "", retry)
    if isinstance(error, AmbiguousWriteError):
        sentence = (
            "The store did not confirm the write, which may have happened or may happen later; "
            "read before trying again, or try again with the same producer headers."
        )
        return reply_problem(503, "outcome-unknown", sentence, "", retry)
    return reply_problem(500, "damaged", "An object of this stream in the store is damaged; the server's log names it.")


def reply_path_too_long(limit: int) -> Reply:
    """Return what a path gets whose objects could not be named."""
    sentence = (
        f"The path is too long; accepted are at most {limit} bytes with all but letters, digits and -._~ escaped."
    )
    return reply_problem(400, "path-too-long", sentence, "path")


def reply_method_not_allowed(method: str) -> Reply:
    """Return what a method that streams do not have gets."""
    sentence = f"{method[:20]} is no method of a stream; accepted are {', '.join(names.METHODS)}."
    return reply_problem(405, "method-not-allowed", sentence, "method", _ALLOW)


def reply_preflight() -> Reply:
    """Return what lets a browser's script send everything that the protocol has."""
    return _PREFLIGHT


_PREFLIGHT = Reply(
    204,
    [
        *BASE,
        *CORS,
        _ALLOW,
        header(names.STREAM_EXTENSIONS, ", ".join(names.EXTENSIONS)),
        header(names.ACCESS_CONTROL_ALLOW_METHODS, ", ".join(names.METHODS)),
        header(names.ACCESS_CONTROL_ALLOW_HEADERS, ", ".join(names.SENT)),
        header(names.ACCESS_CONTROL_MAX_AGE, "86400"),
    ],
)
