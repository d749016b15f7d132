"""Judge whether an answer to a read can be true, given what was asked. Section 10.1. Knows no requests.

Between client and server stand caches. A broken one ignores the query and answers every offset with the first page,
or serves an old empty answer for ever. Offsets and cursors only move forward, and that is enough to notice.
"""

from enum import Enum

from durable_streams_client.core import names


class Progress(Enum):
    """What an answer is worth."""

    FORWARD = "new data, or a later position"
    STILL = "nothing new, the position is the one that was asked for"
    STALE = "data from before the position that was asked for, or a position before it: not to be delivered"


def judge_progress(asked: str, next_offset: str, *, has_data: bool) -> Progress:
    """Judge an answer to a read from offset `asked`. Offsets compare as strings; data always moves them. Section 8."""
    if asked == names.OFFSET_BEGINNING:  # no token, and before every one
        return Progress.FORWARD if has_data else Progress.STILL
    if next_offset < asked or (has_data and next_offset == asked):
        return Progress.STALE
    return Progress.FORWARD if has_data or next_offset > asked else Progress.STILL


def is_cursor_stale(sent: str | None, received: str | None) -> bool:
    """Tell whether a cursor did not move on from the one that was echoed, which servers never do and looping caches
    always.

    Cursors are decimal numbers by the protocol; of other text only a repetition is known to be stale.
    """
    if sent is None or received is None:
        return False
    if all(text.isascii() and text.isdigit() for text in (sent, received)):
        return int(received) <= int(sent)
    return received == sent
