"""Deliver webhooks: one signed POST per attempt, to no address that is not allowed. Sections 7.1 and 12.8.

Whether an address is allowed is judged where the socket is made, so it is the address that is connected to: no name
that resolves otherwise the second time, no redirect and no odd notation comes around it.

The HTTP library is loaded by the first delivery: few processes make one, and a function's start would pay for it.
"""

import errno
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import msgspec

from handler.core import names
from handler.core.callback_token import TOKEN_MS, mint_token
from handler.core.subscription_replies import encode_notification
from handler.core.webhook_signature import SIGNATURE_HEADER, sign_webhook
from handler.core.webhook_url import Reach, UrlRejected, judge_url, may_connect
from storage.core.lease import Credential
from storage.errors import LogError
from storage.keyring import Keyring
from storage.subscriptions.courier import Arrived, Delivery, Refused

if TYPE_CHECKING:
    import aiohttp

REDIRECTS = 3
ANSWER_BYTES = 64 * 1024  # of an answer: it says `{"done": true}` or nothing of interest
CONNECTIONS = 100  # at once, of one process

_Headers = dict[str, str]


class _Answer(msgspec.Struct):
    done: bool | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


class Webhooks:
    """A courier. Sessions are opened when they are first needed, in the loop that needs them."""

    def __init__(self, keyring: Keyring, *, allow_loopback: bool) -> None:
        self._keyring = keyring
        self._allow_loopback = allow_loopback
        self._sessions: dict[Reach, aiohttp.ClientSession] = {}

    async def deliver(self, delivery: Delivery) -> Arrived | Refused:
        """Sign and send one notification; follow redirects that keep it a POST."""
        import aiohttp

        subscription = delivery.subscription
        url = subscription.config.webhook_url
        assert url is not None
        try:
            key = await self._keyring.active()
        except LogError as error:
            return Refused(f"there is no key to sign with: {error}")
        now_ms = time.time_ns() // 1_000_000
        credential = Credential(subscription.key, subscription.incarnation, subscription.generation, now_ms + TOKEN_MS)
        body = encode_notification(delivery, mint_token(key.seed, key.number, credential))
        headers = {
            names.CONTENT_TYPE: names.JSON_TYPE,
            names.ACCEPT: names.JSON_TYPE,
            "Accept-Encoding": "identity",
            SIGNATURE_HEADER: sign_webhook(key.seed, body, now_ms // 1000),
        }
        try:
            return await self._send(url, headers, body, delivery.seconds)
        except UrlRejected as error:
            return Refused(f"{url} is not sent to: {error}")
        except TimeoutError:
            return Refused(f"{url} did not answer within {delivery.seconds:.1f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Refused(f"{url} could not be reached: {error}")

    async def _send(self, url: str, headers: _Headers, body: bytes, seconds: float) -> Arrived | Refused:
        import aiohttp

        deadline = time.monotonic() + seconds
        for _ in range(1 + REDIRECTS):
            reach = judge_url(url, allow_loopback=self._allow_loopback)
            left = aiohttp.ClientTimeout(total=max(0.05, deadline - time.monotonic()))
            async with self._session(reach).post(
                url, data=body, headers=headers, timeout=left, allow_redirects=False
            ) as response:
                location = response.headers.get(names.LOCATION)
                if response.status in (307, 308) and location:
                    url = urljoin(url, location)
                    continue
                if not 200 <= response.status < 300:
                    return Refused(f"{url} answered {response.status}")
                return Arrived(_is_done(await _read(response.content)))
        return Refused(f"{url} redirects more than {REDIRECTS} times")

    def _session(self, reach: Reach) -> "aiohttp.ClientSession":
        """Return the session for URLs of this reach: a connection that one may have is not lent to the other."""
        import aiohttp

        session = self._sessions.get(reach)
        if session is None:

            def open_socket(address: "aiohttp.AddrInfoType") -> socket.socket:
                family, kind, protocol, _, place = address
                if not may_connect(reach, str(place[0])):
                    raise OSError(errno.EACCES, f"{place[0]} is no address that webhooks are sent to")
                return socket.socket(family, kind, protocol)

            session = self._sessions[reach] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, socket_factory=open_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small answer stays small
            )
        return session

    async def aclose(self) -> None:
        """Close the connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()


async def _read(content: "aiohttp.StreamReader") -> bytes:
    """Return the answer's body; nothing of one that is too long to be an answer."""
    body = b""
    while len(body) <= ANSWER_BYTES:
        part = await content.read(ANSWER_BYTES)
        if not part:
            return body
        body += part
    return b""


def _is_done(body: bytes) -> bool:
    try:
        return _decode_answer(body).done is True
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
