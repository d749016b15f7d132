"""Server-Sent Events: bytes to events, events to pages. Section 5.8 and the HTML standard, 9.2. Knows no reader.

Line ends are CR, LF and CRLF only: U+0085, U+2028 and U+2029 are data. An event counts once the blank line after it
arrived, so what a broken connection cut off is never seen.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from durable_streams_client.core import names
from durable_streams_client.core.batch import join_deliveries
from durable_streams_client.core.replies import Page
from durable_streams_client.errors import MalformedReply


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type (`message` where none was given) and its data lines joined by LF."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """Where the reader stands after the data events before this one."""

    next_offset: str
    cursor: str | None
    up_to_date: bool
    closed: bool


class Decoder:
    """Turn bytes, cut anywhere, into events."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # a line that has not ended yet, in the pieces it came in
        self._after_cr = False  # a CR ended the last piece: an LF at the start of the next belongs to it
        self._at_start = True
        self._kind = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        if self._after_cr and piece:
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        # bytes.splitlines knows exactly the line ends of SSE; str.splitlines knows more.
        lines = piece.splitlines(keepends=True)
        events = []
        for line in lines:
            if not line.endswith((b"\n", b"\r")):
                self._rest.append(line)
                break
            whole = line.rstrip(b"\r\n")
            if self._rest:
                self._rest.append(whole)
                whole = b"".join(self._rest)
                self._rest = []
            event = self._take_line(whole)
            if event is not None:
                events.append(event)
        return events

    def _take_line(self, line: bytes) -> Event | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._finish_event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")  # one space, not more
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value
        # Comments (an empty name), `id`, `retry` and unknown fields say nothing to this protocol.
        return None

    def _finish_event(self) -> Event | None:
        event = None
        if self._data:
            event = Event(self._kind.decode("utf-8", "replace") or "message", b"\n".join(self._data))
        self._kind = b""
        self._data = []
        return event


class PageDecoder:
    """Turn what one connection brings into pages: data events, and the control event after them.

    `headers` are the response's, names in lower case; `events` counts all that were complete.
    """

    def __init__(self, headers: Mapping[str, str], *, json: bool) -> None:
        self.events = 0
        self._headers = headers
        self._json = json
        self._encoded = headers.get(names.STREAM_SSE_DATA_ENCODING.lower(), "").strip().lower() == names.SSE_BASE64
        self._decoder = Decoder()
        self._deliveries: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Page]:
        """Return the pages that these bytes complete. Raise MalformedReply."""
        for event in self._decoder.feed(piece):
            self.events += 1
            if event.kind == names.EVENT_DATA:
                self._deliveries.append(decode_data(event, encoded=self._encoded))
            elif event.kind == names.EVENT_CONTROL:
                control = parse_control(event)
                deliveries, self._deliveries = self._deliveries, []
                yield Page(
                    join_deliveries(deliveries, json=self._json),
                    control.next_offset,
                    control.cursor,
                    control.up_to_date,
                    control.closed,
                    200,
                    self._headers,
                )


def decode_data(event: Event, *, encoded: bool) -> bytes:
    """Return the payload of a data event, `encoded` meaning base64 over any number of lines. Raise MalformedReply."""
    if not encoded:
        return event.data
    text = event.data.replace(b"\n", b"").replace(b"\r", b"")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedReply(f"a data event is not base64: {error}") from error


def parse_control(event: Event) -> Control:
    """Return what a control event says. Raise MalformedReply if it is not JSON or lacks the offset."""
    try:
        fields = json.loads(event.data)
    except ValueError as error:
        raise MalformedReply(f"a control event is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedReply("a control event is not a JSON object")
    next_offset = fields.get(names.SSE_NEXT_OFFSET)
    cursor = fields.get(names.SSE_CURSOR)
    if not isinstance(next_offset, str) or not next_offset:
        raise MalformedReply(f"a control event lacks {names.SSE_NEXT_OFFSET}")
    if cursor is not None and not isinstance(cursor, str):
        raise MalformedReply(f"{names.SSE_CURSOR} of a control event is not a string")
    closed = fields.get(names.SSE_CLOSED) is True
    return Control(
        next_offset=next_offset,
        cursor=cursor,
        up_to_date=closed or fields.get(names.SSE_UP_TO_DATE) is True,
        closed=closed,
    )
