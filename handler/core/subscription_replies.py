"""Build the answers of subscriptions. Sections 6 and 7: an error also carries `error: {code, …}`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import assert_never

import msgspec

from handler.core import names
from handler.core.fields import Unacceptable
from handler.core.problems import BASE, NOT_STORED, Reply, header
from handler.core.webhook_signature import ALGORITHM, JWKS_CACHE_CONTROL, JWKS_TYPE, JwkSet, public_jwk
from storage.core.lease import (
    AlreadyClaimed,
    Fenced,
    InvalidOffset,
    NoPendingWork,
    TokenExpired,
    TokenInvalid,
    WrongKind,
)
from storage.core.subscription import Kind, Subscription, control_url
from storage.listing import Listed
from storage.subscriptions.courier import Delivery, StreamStatus, statuses
from storage.subscriptions.leases import Acknowledged
from storage.subscriptions.registry import ConfigDiffers, NoSubscription

_encode = msgspec.json.Encoder().encode


class _Link(msgspec.Struct):
    path: str
    link_type: str
    acked_offset: str


class _Signing(msgspec.Struct):
    alg: str
    kid: str
    jwks_url: str


class _Webhook(msgspec.Struct):
    url: str
    signing: _Signing


class _Subscription(msgspec.Struct):
    id: str
    subscription_id: str
    type: str
    pattern: str | None
    streams: list[_Link]
    webhook: _Webhook | None
    wake_stream: str | None
    lease_ttl_ms: int
    created_at: str
    status: str
    description: str | None


class _Notification(msgspec.Struct):
    subscription_id: str
    wake_id: str
    generation: int
    streams: list[StreamStatus]
    callback_url: str
    callback_token: str


class _Claimed(msgspec.Struct):
    wake_id: str
    generation: int
    token: str
    streams: list[StreamStatus]
    lease_ttl_ms: int


class _Applied(msgspec.Struct, omit_defaults=True):
    ok: bool
    next_wake: bool
    token: str = ""


class _Error(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    current_holder: str | None = None
    generation: int | None = None


class _Problem(msgspec.Struct, omit_defaults=True):
    title: str
    status: int
    code: str
    detail: str
    error: _Error
    field: str = ""


class _Stream(msgspec.Struct):
    path: str


class _Streams(msgspec.Struct):
    streams: list[_Stream]
    next: str | None


def reply_subscription(subscription: Subscription, status: int, base: str, seed: bytes | None) -> Reply:
    """Return what a subscription is. `base`: of this request; `seed`: of the key that signs now, for webhooks."""
    config = subscription.config
    webhook = None
    if config.webhook_url is not None and seed is not None:
        jwks_url = f"{control_url(base, subscription.root)}/jwks.json"
        webhook = _Webhook(config.webhook_url, _Signing(ALGORITHM, public_jwk(seed).kid, jwks_url))
    return _reply(
        status,
        _Subscription(
            id=subscription.name,
            subscription_id=subscription.name,
            type=config.kind.value,
            pattern=config.pattern,
            streams=[_Link(line.path, line.link_type, line.acked_offset) for line in statuses(subscription)],
            webhook=webhook,
            wake_stream=config.wake_stream,
            lease_ttl_ms=config.lease_ms,
            created_at=_iso(subscription.created_ms),
            status="failed" if subscription.failures else "active",
            description=config.description,
        ),
    )


def encode_notification(delivery: Delivery, token: str) -> bytes:
    """Return the body of a webhook. Section 7.1."""
    subscription, wake = delivery.subscription, delivery.subscription.wake
    assert wake is not None
    return _encode(
        _Notification(
            subscription_id=subscription.name,
            wake_id=wake.id,
            generation=subscription.generation,
            streams=delivery.streams,
            callback_url=f"{subscription.url}/callback",
            callback_token=token,
        )
    )


def reply_claimed(subscription: Subscription, token: str) -> Reply:
    """Return the lease that a worker was given."""
    wake = subscription.wake
    assert wake is not None
    lease_ms = subscription.config.lease_ms
    return _reply(200, _Claimed(wake.id, subscription.generation, token, statuses(subscription), lease_ms))


def reply_acknowledged(applied: Acknowledged, token: str) -> Reply:
    """Return that acks were applied. `token`: a new one, where the old one's end is near."""
    return _reply(200, _Applied(True, applied.next_wake, token))


def reply_nothing() -> Reply:
    """Return that something was done, and there is nothing to say of it."""
    return Reply(204, [*BASE, NOT_STORED])


def reply_jwks(seeds: Sequence[bytes]) -> Reply:
    """Return the public keys."""
    body = _encode(JwkSet([public_jwk(seed) for seed in seeds]))
    return Reply(
        200,
        [
            *BASE,
            header(names.CACHE_CONTROL, JWKS_CACHE_CONTROL),
            header(names.CONTENT_TYPE, JWKS_TYPE),
            header(names.CONTENT_LENGTH, str(len(body))),
        ],
        body,
    )


def reply_listing(listed: Listed, root: str) -> Reply:
    """Return a page of streams, as they are called below the root."""
    skip = len(root) + 1 if root else 0
    after = None if listed.next is None else listed.next[skip:]
    return _reply(200, _Streams([_Stream(path[skip:]) for path in listed.paths], after))


Refusal = (
    NoSubscription
    | ConfigDiffers
    | WrongKind
    | TokenInvalid
    | TokenExpired
    | Fenced
    | AlreadyClaimed
    | NoPendingWork
    | InvalidOffset
)


def reply_refused(refusal: Refusal) -> Reply:
    """Return why something was not done."""
    match refusal:
        case NoSubscription():
            return _refused(404, _Error("SUBSCRIPTION_NOT_FOUND", "There is no subscription of this id."))
        case ConfigDiffers():
            sentence = "A subscription of this id is configured otherwise; delete it first, or take another id."
            return _refused(409, _Error("SUBSCRIPTION_ALREADY_EXISTS", sentence))
        case WrongKind():
            ways = "POST callback" if refusal.kind is Kind.WEBHOOK else "POST claim, ack and release"
            return _refused(400, _Error("INVALID_REQUEST", f"This is a {refusal.kind.value} subscription: {ways}."))
        case TokenInvalid():
            sentence = "The bearer token is missing, or is none of this subscription's."
            challenge = header(names.WWW_AUTHENTICATE, 'Bearer error="invalid_token"')
            return _refused(401, _Error("TOKEN_INVALID", sentence), names.AUTHORIZATION, challenge)
        case TokenExpired():
            challenge = header(names.WWW_AUTHENTICATE, 'Bearer error="invalid_token"')
            return _refused(401, _Error("TOKEN_EXPIRED", "The token's time is over."), names.AUTHORIZATION, challenge)
        case Fenced():
            sentence = "This wake is not in flight any more; nothing was changed."
            return _refused(409, _Error("FENCED", sentence, generation=refusal.generation))
        case AlreadyClaimed():
            error = _Error("ALREADY_CLAIMED", "A worker holds the lease.", refusal.holder, refusal.generation)
            return _refused(409, error)
        case NoPendingWork():
            return _refused(409, _Error("NO_PENDING_WORK", "Everything is acknowledged."))
        case InvalidOffset():
            sentence = f"The ack of {refusal.stream[:200]!r} is not accepted: {refusal.why}."
            return _refused(409, _Error("INVALID_OFFSET", sentence), "acks")
        case _:
            assert_never(refusal)


def reply_invalid(error: Unacceptable) -> Reply:
    """Return what is wrong with a request by itself."""
    return _refused(400, _Error(error.code, f"{error.sentence}."), error.field)


def _refused(status: int, error: _Error, field: str = "", *extra: tuple[bytes, bytes]) -> Reply:
    code = error.code.lower().replace("_", "-")
    return _reply(status, _Problem(HTTPStatus(status).phrase, status, code, error.message, error, field), *extra)


def _reply(status: int, value: msgspec.Struct, *extra: tuple[bytes, bytes]) -> Reply:
    body = _encode(value)
    kind = names.PROBLEM_TYPE if isinstance(value, _Problem) else names.JSON_TYPE
    length = header(names.CONTENT_LENGTH, str(len(body)))
    return Reply(status, [*BASE, header(names.CONTENT_TYPE, kind), NOT_STORED, length, *extra], body)


def _iso(at_ms: int) -> str:
    whole = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{at_ms % 1000:03d}Z"
