"""Judge what workers ask of a wake: claim, ack, release. Sections 7.2 and 7.3. Knows tokens' contents, not their form.

A lease that has ended is worth nothing from that millisecond on, whether or not anybody has cleared it yet.
"""

from collections.abc import Mapping

import msgspec

from storage.core.subscription import Cursor, Kind, Link, Phase, Subscription
from storage.core.wake import advanced, idle, minted, pending, with_wake


class Credential(msgspec.Struct, frozen=True):
    """What a bearer token whose signature is right says. Section 12.9."""

    subject: str  # the subscription's key
    incarnation: str
    generation: int
    expires_ms: int


class WrongKind(msgspec.Struct, frozen=True):
    """The request is for the other kind of subscription."""

    kind: Kind


class TokenInvalid(msgspec.Struct, frozen=True):
    """No token, none of this server, or one of another subscription."""


class TokenExpired(msgspec.Struct, frozen=True):
    """The token's time is over."""


class Fenced(msgspec.Struct, frozen=True):
    """The wake is not in flight any more, or its lease is over."""

    generation: int


class AlreadyClaimed(msgspec.Struct, frozen=True):
    """A worker holds the lease."""

    holder: str
    generation: int


class NoPendingWork(msgspec.Struct, frozen=True):
    """Nothing to claim."""


class InvalidOffset(msgspec.Struct, frozen=True):
    """An ack that names no linked stream, or no place between its cursor and its tail."""

    stream: str
    why: str


Refusal = WrongKind | TokenInvalid | TokenExpired | Fenced


def judge_holder(
    subscription: Subscription,
    kind: Kind,
    credential: Credential | None,
    wake_id: str | None,
    generation: int | None,
    now_ms: int,
) -> Refusal | None:
    """Say what speaks against a callback, an ack or a release; None if its sender holds the wake. Section 7.3."""
    if subscription.config.kind is not kind:
        return WrongKind(subscription.config.kind)
    if credential is None or credential.subject != subscription.key:
        return TokenInvalid()
    if credential.expires_ms <= now_ms:
        return TokenExpired()
    wake = subscription.wake
    if (
        wake is None
        or credential.incarnation != subscription.incarnation
        or credential.generation != subscription.generation
        or generation != subscription.generation
        or wake_id != wake.id
        or wake.lease_ms is None  # a wake event that nobody has claimed
        or wake.lease_ms <= now_ms
    ):
        return Fenced(subscription.generation)
    return None


def judge_claim(subscription: Subscription, now_ms: int) -> AlreadyClaimed | WrongKind | None:
    """Say what speaks against a claim before the tails are looked at; None if nothing does."""
    if subscription.config.kind is not Kind.PULL_WAKE:
        return WrongKind(subscription.config.kind)
    wake = subscription.wake
    if wake is not None and wake.phase is Phase.CLAIMED and wake.lease_ms is not None and now_ms < wake.lease_ms:
        return AlreadyClaimed(wake.holder, subscription.generation)
    return None


def claimed(
    subscription: Subscription, tails: Mapping[str, Cursor], worker: str, attempt: str, now_ms: int
) -> Subscription | NoPendingWork:
    """Give the wake to a worker; a new one where none is in flight or the last one's lease is over."""
    wanted = pending(subscription, tails)
    if not wanted:
        return NoPendingWork()
    if subscription.wake is None or subscription.wake.phase is Phase.CLAIMED:
        subscription = minted(subscription, tails, wanted[0], attempt, now_ms)
    wake = subscription.wake
    assert wake is not None
    wake = msgspec.structs.replace(
        wake,
        phase=Phase.CLAIMED,
        attempt=attempt,
        snapshot={path: tails[path] for path in subscription.links if path in tails},
        timer_ms=None,
        lease_ms=now_ms + subscription.config.lease_ms,
        holder=worker,
    )
    return with_wake(msgspec.structs.replace(subscription, failures=0), wake)


def acknowledged(subscription: Subscription, acks: Mapping[str, Cursor], *, done: bool, now_ms: int) -> Subscription:
    """Apply acks that were judged; finish the wake, or extend its lease. Section 7.2."""
    subscription = advanced(subscription, acks)
    if done:
        return idle(msgspec.structs.replace(subscription, failures=0))
    wake = subscription.wake
    assert wake is not None
    # A callback proves that the delivery arrived, even if its answer got lost or is not there yet.
    phase = Phase.SENT if wake.phase is Phase.RETRYING else wake.phase
    timer = wake.timer_ms if phase is Phase.SENDING else None
    failures = 0 if phase is Phase.SENT else subscription.failures
    wake = msgspec.structs.replace(wake, phase=phase, timer_ms=timer, lease_ms=now_ms + subscription.config.lease_ms)
    return with_wake(msgspec.structs.replace(subscription, failures=failures), wake)


def judge_ack(
    link: Link | None, stream: str, ack: Cursor | None, tail: Cursor | None, why: str = "it is no offset of the stream"
) -> InvalidOffset | None:
    """Judge one ack: `ack` is the place that it names (None: none), `tail` the stream's end (None: no stream)."""
    if link is None:
        return InvalidOffset(stream, "it is no stream of this subscription")
    if ack is None:
        return InvalidOffset(stream, why)
    if link.cursor.incarnation == ack.incarnation and ack.position < link.cursor.position:
        return InvalidOffset(stream, "it is before what was acknowledged already")
    if tail is not None and tail.incarnation == ack.incarnation and ack.position > tail.position:
        return InvalidOffset(stream, "it is beyond the end of the stream")
    return None
