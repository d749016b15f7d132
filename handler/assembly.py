"""Turn the settings into what the parts are made with, wherever they run. Knows no server and opens nothing."""

import ipaddress

from handler.app import AppSettings, StreamsApp, create_app
from handler.auth import require_token
from handler.core.caching import CacheRules
from handler.live import LiveSettings
from handler.settings import ServerSettings
from handler.subscriptions import SubscriptionService, SubscriptionSettings
from storage.log import Log, LogSettings
from storage.opening import StoreOptions
from storage.subscriptions.service import Delegate


def store_options(settings: ServerSettings) -> StoreOptions:
    """Return how the store is reached."""
    return StoreOptions(
        driver=settings.s3_driver,
        endpoint_url=settings.endpoint_url or None,
        region=settings.region or None,
        addressing=settings.addressing,
        pool_size=settings.pool_size,
    )


def log_settings(settings: ServerSettings) -> LogSettings:
    """Return what the log takes of the settings."""
    return LogSettings(
        page_bytes=settings.page_size, cache_bytes=settings.cache_size, whole_chunks=bool(settings.chunks_url)
    )


def build_subscriptions(
    log: Log, settings: ServerSettings, host: str, delegate: Delegate | None = None
) -> SubscriptionService:
    """Return the service that the settings describe. `host`: the address that the server listens on.

    `delegate`: takes over what appends ask for, see storage/subscriptions/service.py.
    """
    is_local = _is_loopback(host) if settings.loopback_webhooks == "auto" else settings.loopback_webhooks == "yes"
    return SubscriptionService(log, SubscriptionSettings(allow_loopback=is_local), delegate)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def build_app(log: Log, settings: ServerSettings, subscriptions: SubscriptionService | None = None) -> StreamsApp:
    """Return the application that the settings describe."""
    tokens = [token.strip() for token in settings.bearer_token.split(",") if token.strip()]
    return create_app(
        log,
        AppSettings(
            max_body_bytes=settings.max_body,
            public_url=settings.public_url,
            chunks_url=settings.chunks_url,
            trust_proxy=settings.trust_proxy,
            cache=CacheRules(int(settings.history_max_age), int(settings.tail_max_age)),
            live=LiveSettings(settings.long_poll_timeout, settings.sse_timeout),
        ),
        require_token(tokens) if tokens else None,
        subscriptions,
    )
