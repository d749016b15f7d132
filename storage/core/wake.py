"""Decide what becomes of a subscription's wake. Section 7. Knows tails, times and tokens as arguments; touches nothing.

    idle ──mint──► SENDING ──delivered──► SENT ──claim──► CLAIMED          (claims: pull-wake only)
      ▲               │ ▲                   │                │
      │            failed again             └──── done, released, lease over ───► idle
      │               ▼ │                                                          │
      │            RETRYING ── lease over ─────────────────────────────────────────┤
      └──────────────────────────── nothing pending ◄── the tails are read after ──┘

Whoever lets a subscription go idle reads the tails *afterwards*, and whoever appends reads the subscription
*afterwards*: one of the two sees the other, so no pending work stays without a wake.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec

from storage.core.subscription import Cursor, Kind, Link, Phase, Subscription, Wake, is_matched

ATTEMPT_MS = 30_000  # what one delivery may take at most; less if the lease ends before
TAKEOVER_MS = 1_000  # how much later another process concludes that the one that delivered is gone
FIRST_RETRY_MS, LAST_RETRY_MS = 1_000, 60_000  # section 7.1
RETRY_JITTER = 0.2


class Seen(msgspec.Struct, frozen=True):
    """A stream as it is now: where reading it begins, and where it ends."""

    start: Cursor
    tail: Cursor


# -- streams


def with_tails(subscription: Subscription, seen: Mapping[str, Seen | None]) -> Subscription:
    """Take over what the linked streams are now (None: there is none).

    A cursor of an earlier incarnation, or of data that is not kept any more, goes to the start; a glob link of a
    stream that is gone goes with it, an explicit one waits for a new stream.
    """
    links = {}
    for path, link in subscription.links.items():
        now = seen.get(path)
        if now is not None:
            links[path] = msgspec.structs.replace(link, cursor=_within(link.cursor, now))
        elif path not in seen or link.explicit:
            links[path] = link
    return msgspec.structs.replace(subscription, links=links)


def _within(cursor: Cursor, now: Seen) -> Cursor:
    if cursor.incarnation != now.tail.incarnation or cursor.position < now.start.position:
        return now.start
    return cursor


def linked(subscription: Subscription, path: str, cursor: Cursor, *, explicit: bool) -> Subscription:
    """Link a stream; one that is linked keeps its cursor, and by name takes precedence."""
    there = subscription.links.get(path, Link(False, cursor))
    link = Link(there.explicit or explicit, there.cursor)
    return msgspec.structs.replace(subscription, links={**subscription.links, path: link})


def unlinked(subscription: Subscription, path: str) -> Subscription:
    """Take back a link by name; the stream stays linked if the pattern matches it."""
    links = dict(subscription.links)
    link = links.pop(path, None)
    if link is not None and is_matched(subscription.config, path):
        links[path] = Link(False, link.cursor)
    return msgspec.structs.replace(subscription, links=links)


def pending(subscription: Subscription, tails: Mapping[str, Cursor]) -> list[str]:
    """Return the streams whose tail is beyond their cursor, in the order of their links."""
    return [
        path
        for path, link in subscription.links.items()
        if path in tails and tails[path].position > link.cursor.position
    ]


# -- time


class Due(Enum):
    """What a subscription asks of whoever looks at it."""

    NOTHING = "nothing"  # a wake is in flight and has time
    TAILS = "tails"  # no wake is in flight: is there pending work?
    AGAIN = "again"  # deliver the wake once more
    OVER = "over"  # its lease has ended: fence it, then as for TAILS


def judge_due(subscription: Subscription, now_ms: int) -> Due:
    """Say what is to be done now."""
    wake = subscription.wake
    if wake is None:
        return Due.TAILS
    is_over = wake.lease_ms is not None and wake.lease_ms <= now_ms
    if wake.phase in (Phase.SENT, Phase.CLAIMED):
        return Due.OVER if is_over else Due.NOTHING
    # A lease that ends before the next try does not hurry it: the backoff holds for the endpoint, not for the wake.
    if now_ms < _retry_ms(wake):
        return Due.NOTHING
    return Due.OVER if is_over else Due.AGAIN


def _retry_ms(wake: Wake) -> int:
    return (wake.timer_ms or 0) + (TAKEOVER_MS if wake.phase is Phase.SENDING else 0)


def next_look_ms(subscription: Subscription) -> int | None:
    """Return when somebody has to look at the subscription again, if nothing happens before."""
    times = list(subscription.scans[:1])
    wake = subscription.wake
    if wake is not None:
        if wake.phase in (Phase.SENDING, Phase.RETRYING):
            times.append(_retry_ms(wake))
        elif wake.lease_ms is not None:
            times.append(wake.lease_ms)
    return min(times, default=None)


# -- a wake's way


def minted(
    subscription: Subscription, tails: Mapping[str, Cursor], stream: str, attempt: str, now_ms: int
) -> Subscription:
    """Begin a new generation; whoever writes this delivers it. `attempt` is a fresh id."""
    lease = now_ms + subscription.config.lease_ms if subscription.config.kind is Kind.WEBHOOK else None
    wake = Wake(
        id=f"w_{attempt}",
        stream=stream,
        phase=Phase.SENDING,
        attempt=attempt,
        snapshot={path: tails[path] for path in subscription.links if path in tails},
        timer_ms=_deadline_ms(now_ms, lease),
        lease_ms=lease,
    )
    return msgspec.structs.replace(subscription, generation=subscription.generation + 1, wake=wake)


def _deadline_ms(now_ms: int, lease_ms: int | None) -> int:
    return now_ms + ATTEMPT_MS if lease_ms is None else min(lease_ms, now_ms + ATTEMPT_MS)


def sent_again(subscription: Subscription, attempt: str, now_ms: int) -> Subscription:
    """Take the next delivery of the wake in flight."""
    wake = subscription.wake
    assert wake is not None
    timer = _deadline_ms(now_ms, wake.lease_ms)
    return with_wake(subscription, msgspec.structs.replace(wake, phase=Phase.SENDING, attempt=attempt, timer_ms=timer))


def idle(subscription: Subscription) -> Subscription:
    """Clear the wake: its holder, its tokens and its lease are worth nothing any more."""
    return msgspec.structs.replace(subscription, wake=None)


def is_attempt(subscription: Subscription, wake_id: str, attempt: str) -> bool:
    """Say whether this delivery is the one that the subscription waits for."""
    wake = subscription.wake
    return wake is not None and wake.id == wake_id and wake.attempt == attempt and wake.phase is Phase.SENDING


def delivered(subscription: Subscription, *, done: bool, now_ms: int) -> Subscription:
    """Enter that a delivery has arrived. `done`: the worker has finished what was in the snapshot. Section 7.1."""
    wake = subscription.wake
    assert wake is not None
    subscription = msgspec.structs.replace(subscription, failures=0)
    if done and (wake.lease_ms is None or now_ms < wake.lease_ms):
        return idle(advanced(subscription, wake.snapshot))
    return with_wake(subscription, msgspec.structs.replace(wake, phase=Phase.SENT, timer_ms=None))


def failed(subscription: Subscription, now_ms: int, chance: float) -> Subscription:
    """Enter that a delivery has failed, and when the next one is. `chance`: from 0 to 1."""
    wake = subscription.wake
    assert wake is not None
    failures = subscription.failures + 1
    timer = now_ms + retry_ms(failures, chance)
    subscription = msgspec.structs.replace(subscription, failures=failures)
    return with_wake(subscription, msgspec.structs.replace(wake, phase=Phase.RETRYING, timer_ms=timer))


def retry_ms(failures: int, chance: float) -> int:
    """Return the pause after so many failures in a row: doubling, with 20 % jitter either way. Section 7.1."""
    pause = min(LAST_RETRY_MS, FIRST_RETRY_MS << min(failures - 1, 16))
    return round(pause * (1 + RETRY_JITTER * (2 * chance - 1)))


def advanced(subscription: Subscription, cursors: Mapping[str, Cursor]) -> Subscription:
    """Move cursors forward, none backward."""
    links = dict(subscription.links)
    for path, cursor in cursors.items():
        link = links.get(path)
        if link is None:
            continue
        old = link.cursor
        if old.incarnation == cursor.incarnation and old.position >= cursor.position:
            continue
        if old.incarnation <= cursor.incarnation:
            links[path] = msgspec.structs.replace(link, cursor=cursor)
    return msgspec.structs.replace(subscription, links=links)


def with_wake(subscription: Subscription, wake: Wake) -> Subscription:
    """Return the subscription with another wake in flight."""
    return msgspec.structs.replace(subscription, wake=wake)
