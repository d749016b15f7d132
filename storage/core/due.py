"""Name the work that is due: `due/<utc minute>/<kind>/<what>`. Knows the names and the minutes; nothing of the work.

A due object is a hint and never a fact: it says that somebody should look at something no later than a minute. Whoever
looks finds what there is to do in the object that the work belongs to, and takes it by a conditional write there. So
one hint too many costs a look, and each is written *before* the change (or the append) that it stands for.
"""

from datetime import UTC, datetime
from enum import Enum

import msgspec

PREFIX = "due/"
MINUTE_MS = 60_000
# A hint is written right before the write that it stands for, and that write is sent again while its fate is unknown:
# 12 tries of 20 seconds each, and as many reads. No hint is removed before its minute is over by this much.
GRACE_MS = 15 * MINUTE_MS

_FORMAT = "%Y%m%dT%H%M"


class Kind(Enum):
    """What there is to look at."""

    APPEND = "append"  # a stream that subscriptions match: its path, in one segment
    SUBSCRIPTION = "subscription"  # a subscription with a lease, a retry or a scan ahead: its root and id, in two


class Due(msgspec.Struct, frozen=True):
    """A hint. `what` is the rest of a key, already encoded."""

    minute_ms: int  # at which the minute begins
    kind: Kind
    what: str


def due_at(at_ms: int, kind: Kind, what: str) -> Due:
    """Return the hint for a moment."""
    return Due(at_ms // MINUTE_MS * MINUTE_MS, kind, what)


def encode_due(due: Due) -> str:
    """Return the key."""
    return f"{minute_prefix(due.minute_ms)}{due.kind.value}/{due.what}"


def minute_prefix(at_ms: int) -> str:
    """Return the prefix of everything that is due within the minute of a moment."""
    return f"{PREFIX}{datetime.fromtimestamp(at_ms // MINUTE_MS * 60, UTC).strftime(_FORMAT)}/"


def parse_due(key: str) -> Due | None:
    """Read a key; None where it is of a kind that is not known here."""
    parts = key.split("/", 3)
    if len(parts) < 4 or parts[0] != "due":
        return None
    try:
        begins = datetime.strptime(parts[1], _FORMAT).replace(tzinfo=UTC)
        return Due(int(begins.timestamp()) * 1000, Kind(parts[2]), parts[3])
    except ValueError:
        return None


def is_over(due: Due, now_ms: int) -> bool:
    """Say whether the minute is over for so long that nothing which the hint stands for can still be under way."""
    return now_ms >= due.minute_ms + MINUTE_MS + GRACE_MS
