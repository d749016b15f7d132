"""Every name that the protocol puts on the wire: headers, query parameters, sentinels. Knows no values and no rules.

The client has a module of the same name; a test keeps the two equal where both speak.
"""

# Section 5: position and state of a stream.
STREAM_NEXT_OFFSET = "Stream-Next-Offset"
STREAM_UP_TO_DATE = "Stream-Up-To-Date"
STREAM_CLOSED = "Stream-Closed"
STREAM_CURSOR = "Stream-Cursor"
STREAM_SEQ = "Stream-Seq"
STREAM_TTL = "Stream-TTL"
STREAM_EXPIRES_AT = "Stream-Expires-At"
STREAM_SSE_DATA_ENCODING = "Stream-SSE-Data-Encoding"
# An extension: where the page at Stream-Next-Offset may be read as an immutable object, without this server.
STREAM_CHUNKS = "Stream-Chunks"

# Section 4.2: forks.
STREAM_FORKED_FROM = "Stream-Forked-From"
STREAM_FORK_OFFSET = "Stream-Fork-Offset"
STREAM_FORK_SUB_OFFSET = "Stream-Fork-Sub-Offset"

# Extensions of this server; docs/extensions.md.
STREAM_EXTENSIONS = "Stream-Extensions"
STREAM_RETAIN_FROM = "Stream-Retain-From"
STREAM_EARLIEST_OFFSET = "Stream-Earliest-Offset"
EXTENSIONS = ("conditional-append", "retention", "listing")

# Section 5.2.1: idempotent producers.
PRODUCER_ID = "Producer-Id"
PRODUCER_EPOCH = "Producer-Epoch"
PRODUCER_SEQ = "Producer-Seq"
PRODUCER_EXPECTED_SEQ = "Producer-Expected-Seq"
PRODUCER_RECEIVED_SEQ = "Producer-Received-Seq"

# Of HTTP itself.
ACCEPT = "Accept"
ALLOW = "Allow"
AUTHORIZATION = "Authorization"
CACHE_CONTROL = "Cache-Control"
CONTENT_LENGTH = "Content-Length"
CONTENT_TYPE = "Content-Type"
ETAG = "ETag"
HOST = "Host"
IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
LOCATION = "Location"
RETRY_AFTER = "Retry-After"
WWW_AUTHENTICATE = "WWW-Authenticate"
X_FORWARDED_HOST = "X-Forwarded-Host"
X_FORWARDED_PROTO = "X-Forwarded-Proto"

# Section 12.7, and CORS.
ACCESS_CONTROL_ALLOW_HEADERS = "Access-Control-Allow-Headers"
ACCESS_CONTROL_ALLOW_METHODS = "Access-Control-Allow-Methods"
ACCESS_CONTROL_ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ACCESS_CONTROL_EXPOSE_HEADERS = "Access-Control-Expose-Headers"
ACCESS_CONTROL_MAX_AGE = "Access-Control-Max-Age"
CROSS_ORIGIN_RESOURCE_POLICY = "Cross-Origin-Resource-Policy"
X_CONTENT_TYPE_OPTIONS = "X-Content-Type-Options"

METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")

# What a browser's script may send and read across origins: all that the protocol has.
SENT = (
    ACCEPT,
    AUTHORIZATION,
    CONTENT_TYPE,
    IF_MATCH,
    IF_NONE_MATCH,
    PRODUCER_EPOCH,
    PRODUCER_ID,
    PRODUCER_SEQ,
    STREAM_CLOSED,
    STREAM_EXPIRES_AT,
    STREAM_FORK_OFFSET,
    STREAM_FORK_SUB_OFFSET,
    STREAM_FORKED_FROM,
    STREAM_RETAIN_FROM,
    STREAM_SEQ,
    STREAM_TTL,
)
READ = (
    CONTENT_TYPE,
    ETAG,
    LOCATION,
    PRODUCER_EPOCH,
    PRODUCER_EXPECTED_SEQ,
    PRODUCER_RECEIVED_SEQ,
    PRODUCER_SEQ,
    RETRY_AFTER,
    STREAM_CHUNKS,
    STREAM_CLOSED,
    STREAM_CURSOR,
    STREAM_EARLIEST_OFFSET,
    STREAM_EXPIRES_AT,
    STREAM_EXTENSIONS,
    STREAM_NEXT_OFFSET,
    STREAM_SSE_DATA_ENCODING,
    STREAM_TTL,
    STREAM_UP_TO_DATE,
)

# Query parameters of a read.
OFFSET = "offset"
LIVE = "live"
CURSOR = "cursor"

LIVE_LONG_POLL = "long-poll"
LIVE_SSE = "sse"

# Section 5.8: events and the fields of a control event.
EVENT_DATA = "data"
EVENT_CONTROL = "control"
SSE_NEXT_OFFSET = "streamNextOffset"
SSE_CURSOR = "streamCursor"
SSE_UP_TO_DATE = "upToDate"
SSE_CLOSED = "streamClosed"
SSE_BASE64 = "base64"

TRUE = "true"

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
EVENT_STREAM_TYPE = "text/event-stream"
PROBLEM_TYPE = "application/problem+json"

RESERVED = "__ds"  # section 6: a path with this segment is never a stream's
