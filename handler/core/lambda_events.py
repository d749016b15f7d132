"""Read and fit what Lambda passes around: the path as it came, an answer that is small enough. Knows no application.

Four kinds of events bring requests: Function URLs and HTTP APIs (payload 2.0), REST APIs (1.0), load balancers.
"""

from base64 import b64encode
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

from handler.core import names

ANSWER_BYTES = 6 * 1024 * 1024  # what Lambda passes on of a buffered answer: all of its JSON
HEADERS_BYTES = 16 * 1024  # what is left for everything but the body
# Text becomes a JSON string, in which one byte takes up to six; base64 takes four for three, whatever the bytes are.
PLAIN_BYTES = (ANSWER_BYTES - HEADERS_BYTES) // 6
PAGE_BYTES = 4 * 1024 * 1024  # of a page, and so of a message too, which cannot be split: 5.6 MB in base64

_KEPT = "/%!$&'()*+,;=:@-._~"  # an HTTP API decodes the path; what a URL cannot have in it is encoded again

Event = Mapping[str, Any]


def raw_path(event: Event) -> bytes:
    """Return the path as it came over the wire: Mangum decodes it, and `%2F` is not `/` here."""
    path: str = event.get("rawPath") or event.get("path") or "/"
    stage = event.get("requestContext", {}).get("stage", "$default")
    if "rawPath" in event and stage != "$default" and (path + "/").startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :] or "/"
    return quote(path, safe=_KEPT).encode()


def is_event_stream(query_string: bytes) -> bool:
    """Say whether a request asks for server-sent events."""
    return f"{names.LIVE}={names.LIVE_SSE}".encode() in query_string.split(b"&")


def fit(answer: MutableMapping[str, Any], *, has_type: bool) -> MutableMapping[str, Any] | None:
    """Return the answer as Lambda accepts it, None if it does not. `has_type`: the application gave a Content-Type."""
    body: str = answer.get("body") or ""
    if not answer.get("isBase64Encoded") and len(text := body.encode()) > PLAIN_BYTES:
        answer["body"] = body = b64encode(text).decode()
        answer["isBase64Encoded"] = True
    headers = answer.get("headers")
    if headers and not has_type:
        headers.pop("content-type", None)  # which Mangum says to be JSON, also of nothing
    return answer if len(body) <= ANSWER_BYTES - HEADERS_BYTES else None
