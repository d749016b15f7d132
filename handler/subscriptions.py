"""Subscriptions over HTTP: what is below `<root>/__ds/`, and the service behind it. Sections 6 and 7.

service = SubscriptionService(log, SubscriptionSettings(allow_loopback=True))
app = create_app(log, settings, authorize, service)
service.start()
...
await service.aclose()
"""

import time
from collections.abc import Iterable, Mapping

import msgspec

from handler.body import Receive, read_body
from handler.core.callback_token import TOKEN_MS, mint_token, read_token
from handler.core.fields import Unacceptable
from handler.core.problems import Reply, reply_method_not_allowed, reply_preflight
from handler.core.subscription_replies import (
    reply_acknowledged,
    reply_claimed,
    reply_invalid,
    reply_jwks,
    reply_listing,
    reply_nothing,
    reply_refused,
    reply_subscription,
)
from handler.core.subscription_requests import (
    INVALID,
    Action,
    Control,
    parse_ack,
    parse_bearer,
    parse_config,
    parse_listing,
    parse_streams,
    parse_worker,
)
from handler.webhooks import Webhooks
from storage.core.lease import Credential
from storage.core.subscription import Kind, NameTooLong, Subscription
from storage.keyring import Keyring
from storage.log import Log, PathTooLong
from storage.subscriptions.leases import Acknowledged
from storage.subscriptions.registry import Made
from storage.subscriptions.service import SCAN_SECONDS, Delegate, Subscriptions


class SubscriptionSettings(msgspec.Struct, frozen=True):
    """What an operator can choose. Sizes in bytes, times in seconds."""

    allow_loopback: bool = False  # webhooks to this machine, also over http: for development
    max_body_bytes: int = 1024 * 1024
    scan_seconds: float = SCAN_SECONDS  # between two looks for work that other processes left


class SubscriptionService:
    """Answers requests, and works in the background."""

    def __init__(
        self, log: Log, settings: SubscriptionSettings | None = None, delegate: Delegate | None = None
    ) -> None:
        self._log = log
        self._settings = settings or SubscriptionSettings()
        self._keyring = Keyring(log.objects)
        self._webhooks = Webhooks(self._keyring, allow_loopback=self._settings.allow_loopback)
        self._subscriptions = Subscriptions(
            log, self._webhooks, scan_seconds=self._settings.scan_seconds, delegate=delegate
        )
        log.observer = self._subscriptions

    def start(self) -> None:
        """Begin to carry on what is in the store."""
        self._subscriptions.start()

    async def sweep(self) -> None:
        """Do once what is due, for a process that does not stay. Raises LogError."""
        await self._subscriptions.sweep()

    async def look(self, appended: Mapping[str, Iterable[str]]) -> None:
        """Do what appends ask for that another process made and delegated."""
        await self._subscriptions.look(appended)

    async def settle(self) -> None:
        """Wait until what this process has begun has an end: before it is frozen, or stops."""
        await self._subscriptions.settle()

    async def aclose(self) -> None:
        """Stop; what was not done stands in the store."""
        self._log.observer = None
        await self._subscriptions.aclose()
        await self._webhooks.aclose()

    # -- requests

    async def answer(
        self, control: Control, method: str, headers: dict[bytes, bytes], query: bytes, receive: Receive, base: str
    ) -> Reply:
        """Answer one request. `base`: the scheme and authority that the client used. Raises LogError, TooLarge."""
        if method == "OPTIONS":
            return reply_preflight()
        try:
            body = b""
            if method in ("PUT", "POST"):
                body = await read_body(headers, receive, self._settings.max_body_bytes)
            return await self._answer(control, method, headers, query, body, base)
        except Unacceptable as error:
            return reply_invalid(error)
        except NameTooLong:
            return reply_invalid(Unacceptable(INVALID, "id", "The id, or the path before it, is too long"))
        except PathTooLong:
            return reply_invalid(Unacceptable(INVALID, "path", "A path is too long to be a stream's"))

    async def _answer(
        self, control: Control, method: str, headers: dict[bytes, bytes], query: bytes, body: bytes, base: str
    ) -> Reply:
        registry, root, id_ = self._subscriptions.registry, control.root, control.id
        match control.action, method:
            case Action.SUBSCRIPTION, "PUT":
                config = parse_config(body, root, allow_loopback=self._settings.allow_loopback)
                made = await registry.create(root, id_, config, base)
                if not isinstance(made, Made):
                    return reply_refused(made)
                return await self._described(made.subscription, 201 if made.created else 200, base)
            case Action.SUBSCRIPTION, "GET" | "HEAD":
                there = await registry.get(root, id_)
                if not isinstance(there, Subscription):
                    return reply_refused(there)
                return await self._described(there, 200, base)
            case Action.SUBSCRIPTION, "DELETE":
                await registry.delete(root, id_)
                return reply_nothing()
            case Action.STREAMS, "POST":
                there = await registry.link(root, id_, parse_streams(body, root))
                return reply_nothing() if isinstance(there, Subscription) else reply_refused(there)
            case Action.STREAM, "DELETE":
                there = await registry.unlink(root, id_, control.stream)
                return reply_nothing() if isinstance(there, Subscription) else reply_refused(there)
            case Action.CLAIM, "POST":
                return await self._claim(control, body)
            case ((Action.CALLBACK | Action.ACK | Action.RELEASE), "POST"):
                return await self._acknowledge(control, headers, body)
            case Action.JWKS, "GET" | "HEAD":
                return reply_jwks([key.seed for key in await self._keyring.published()])
            case Action.LISTING, "GET" | "HEAD":
                listing = parse_listing(query, root)
                page = await self._log.list_streams(listing.prefix, after=listing.after, limit=listing.limit)
                return reply_listing(page, root)
            case _:
                return reply_method_not_allowed(method)

    async def _described(self, subscription: Subscription, status: int, base: str) -> Reply:
        is_webhook = subscription.config.kind is Kind.WEBHOOK
        seed = (await self._keyring.active()).seed if is_webhook else None
        return reply_subscription(subscription, status, base, seed)

    async def _claim(self, control: Control, body: bytes) -> Reply:
        worker = parse_worker(body)
        claimed = await self._subscriptions.leases.claim(control.root, control.id, worker)
        if not isinstance(claimed, Subscription):
            return reply_refused(claimed)
        return reply_claimed(claimed, await self._token(claimed.key, claimed.incarnation, claimed.generation))

    async def _acknowledge(self, control: Control, headers: dict[bytes, bytes], body: bytes) -> Reply:
        ack = parse_ack(body)
        leases, root, id_ = self._subscriptions.leases, control.root, control.id
        token = parse_bearer(headers)
        keys = [(key.number, key.seed) for key in await self._keyring.published()] if token else []
        credential = read_token(token, keys)
        if control.action is Action.RELEASE:
            outcome = await leases.release(root, id_, credential, ack)
            return reply_nothing() if isinstance(outcome, Acknowledged) else reply_refused(outcome)
        kind = Kind.WEBHOOK if control.action is Action.CALLBACK else Kind.PULL_WAKE
        applied = await leases.acknowledge(root, id_, kind, credential, ack)
        if not isinstance(applied, Acknowledged):
            return reply_refused(applied)
        renewed = ""
        if credential is not None and not ack.done and credential.expires_ms < _now_ms() + TOKEN_MS // 2:
            renewed = await self._token(credential.subject, credential.incarnation, credential.generation)
        return reply_acknowledged(applied, renewed)

    async def _token(self, subject: str, incarnation: str, generation: int) -> str:
        key = await self._keyring.active()
        return mint_token(key.seed, key.number, Credential(subject, incarnation, generation, _now_ms() + TOKEN_MS))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
