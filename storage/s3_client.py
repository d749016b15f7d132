"""The SDK's client for S3, as the store wants it. Knows botocore and aiobotocore; nothing of objects.

Its retries are off: what became of a write is told apart by those who sent it. What it does for every request and
nobody needs is left out.
"""

from contextlib import AsyncExitStack
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.loaders import Loader, create_loader
from botocore.utils import parse_timestamp

from storage.opening import StoreOptions
from storage.runs import MOST

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


async def open_client(options: StoreOptions, connections: AsyncExitStack) -> "S3Client":
    """Return a client with the credentials of the SDK's usual chain, closed with `connections`. Sends nothing.

    Raises ValueError for an endpoint URL that is none.
    """
    session = _PlainSession(botocore_session=_session())
    client = await connections.enter_async_context(
        session.client(
            "s3",
            endpoint_url=options.endpoint_url,
            region_name=options.region or session.region_name or "us-east-1",
            config=_config(options),
        )
    )
    client.meta.events.register_last("before-call.s3", _do_not_ask_first)
    _resolve_the_endpoint_once(client)
    return client


class _SendOnce(AIOHTTPSession):
    """The SDK's HTTP session without aiohttp's resending after a lost connection, which it does for PUT too."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)  # type: ignore[misc]  # not public
        session._retry_connection = False
        return session


class _PlainSession(aioboto3.Session):
    """The SDK's session, whose clients are not given uploads in parts, which are never used here.

    To load what does those takes longer than to make a client.
    """

    def _register_default_handlers(self) -> None:
        pass


def _session() -> AioSession:
    session = AioSession()
    session.register_component("data_loader", _service_models(session.get_config_variable("data_path")))
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_time)
    return session


def _parse_time(text: Any) -> datetime:
    """Return a time as S3 writes it: an HTTP date in a header, ISO 8601 in a listing.

    The SDK's parser looks for any notation there is, which is a sixth of a small request's CPU time, and most of a long
    listing's.
    """
    try:
        return datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return parse_timestamp(text)


@cache
def _service_models(data_path: str | None) -> Loader:
    """Return the SDK's descriptions of S3; to read them is most of what opening costs."""
    return create_loader(data_path)


def preload() -> None:
    """Read what the SDK knows of S3 now, and not when the first store is opened: before a process is snapshotted."""
    loader = _service_models(_session().get_config_variable("data_path"))
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        loader.load_data(name)
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("s3", kind)


def _config(options: StoreOptions) -> AioConfig:
    addressing = options.addressing
    if addressing == "auto" and options.endpoint_url is not None:
        addressing = "path"  # `bucket.localhost` has no address
    return AioConfig(
        http_session_cls=_SendOnce,
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        # Those of runs rest between two pages: nobody else waits for one of them.
        max_pool_connections=options.pool_size + MOST,
        # Trailers with checksums are refused by some stores, and a body's hash is in its ETag.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        parameter_validation=False,
        user_agent="durable-streams-s3",  # the SDK puts together a longer one for every request
        # Under TLS, hashing the body for the signature protects nothing more.
        s3={"addressing_style": addressing, "payload_signing_enabled": _is_plain(options.endpoint_url)},
    )


def _is_plain(endpoint_url: str | None) -> bool:
    return endpoint_url is not None and endpoint_url.lower().startswith("http:")


def _do_not_ask_first(params: Any, **_: Any) -> None:
    """Send a body along with its request, without asking the store first whether it wants it.

    The SDK asks (`Expect: 100-continue`), which costs every write a round trip, and its HTTP library waits for the
    permission without a timeout.
    """
    params["headers"].pop("Expect", None)


def _resolve_the_endpoint_once(client: "S3Client") -> None:
    """Keep the key out of the SDK's endpoint rules, which do not look at it.

    The SDK caches what the rules answer by all that it asks them with; with the key in it, every request evaluates
    them anew, which is a quarter of its CPU time. Where the SDK's inside looks otherwise, nothing changes.
    """
    provider: Any = getattr(getattr(client, "_ruleset_resolver", None), "_provider", None)
    resolve = getattr(provider, "resolve_endpoint", None)
    if resolve is not None:

        def resolve_without_key(**asked: Any) -> Any:
            asked.pop("Key", None)
            return resolve(**asked)

        provider.resolve_endpoint = resolve_without_key
