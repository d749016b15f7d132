"""Every name that the protocol puts on the wire: headers, query parameters, sentinels. Knows no values and no rules.

The server has a module of the same name; a test keeps the two equal where both speak.
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

# Section 5.2.1: idempotent producers.
PRODUCER_ID = "Producer-Id"
PRODUCER_EPOCH = "Producer-Epoch"
PRODUCER_SEQ = "Producer-Seq"
PRODUCER_EXPECTED_SEQ = "Producer-Expected-Seq"
PRODUCER_RECEIVED_SEQ = "Producer-Received-Seq"

# Of HTTP itself.
ACCEPT = "Accept"
ACCEPT_ENCODING = "Accept-Encoding"
CACHE_CONTROL = "Cache-Control"
CONTENT_TYPE = "Content-Type"
DATE = "Date"
ETAG = "ETag"
LOCATION = "Location"
RETRY_AFTER = "Retry-After"

# Query parameters of a read.
OFFSET = "offset"
LIVE = "live"
CURSOR = "cursor"
CACHE_BUSTER = "cache_buster"  # not of the protocol: makes a URL that no cache has seen

LIVE_LONG_POLL = "long-poll"
LIVE_SSE = "sse"

# Section 8: the two offsets that no server mints.
OFFSET_BEGINNING = "-1"
OFFSET_NOW = "now"

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

# An extension of our own server: GET {root}/__ds/streams?prefix=&after=&limit=
STREAMS_PATH = "/__ds/streams"
PREFIX = "prefix"
AFTER = "after"
LIMIT = "limit"
