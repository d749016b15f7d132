r"""Frame server-sent events. Section 5.8, and the event stream format of HTML. Knows nothing of connections.

A line ends at CR LF, CR or LF, whichever comes, so a payload is cut at all three and cannot open an event of its own.
There is no space after `data:`: a reader strips one if there is, and a text may begin with its own.
"""

import re
from base64 import b64encode

import msgspec

from handler.core import names

_LINE_END = re.compile(rb"\r\n|\r|\n")
_CONTROL = f"event: {names.EVENT_CONTROL}\ndata:".encode()
_DATA = f"event: {names.EVENT_DATA}\n".encode()


class Control(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "next_offset": names.SSE_NEXT_OFFSET,
        "cursor": names.SSE_CURSOR,
        "up_to_date": names.SSE_UP_TO_DATE,
        "closed": names.SSE_CLOSED,
    },
):
    """What a control event says."""

    next_offset: str
    cursor: str | None = None
    up_to_date: bool = False
    closed: bool = False


_encode = msgspec.json.Encoder().encode


def needs_base64(media_type: str) -> bool:
    """Say whether a stream's bytes are no text that an event could carry."""
    return not (media_type.startswith("text/") or media_type == names.JSON_TYPE)


def frame_data(payload: bytes, *, base64: bool) -> bytes:
    """Return one data event."""
    if base64:
        return _DATA + b"data:" + b64encode(payload) + b"\n\n"
    return _DATA + b"data:" + b"\ndata:".join(_LINE_END.split(payload)) + b"\n\n"


def frame_control(control: Control) -> bytes:
    """Return one control event."""
    return _CONTROL + _encode(control) + b"\n\n"


def whole_characters(text: bytes) -> int:
    """Return how many of the bytes make whole UTF-8 characters: an event that ended within one would be damaged."""
    for back in range(1, min(4, len(text) + 1)):
        byte = text[-back]
        if byte & 0b1100_0000 != 0b1000_0000:  # the first byte of a character, which says how many it has
            length = 4 if byte >= 0b1111_0000 else 3 if byte >= 0b1110_0000 else 2 if byte >= 0b1100_0000 else 1
            return len(text) if length <= back else len(text) - back
    return len(text)
