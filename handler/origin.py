"""Let in only what came through the CDN: it says a secret that nobody else knows. Knows ASGI; nothing of streams.

A function's URL is public. Without this, readers could go past the cache, and past whatever the CDN is to keep out.
"""

import hmac

from handler.body import AsgiApp, Receive, Scope, Send
from handler.core import names
from handler.core.problems import CORS, reply_problem

HEADER = b"x-origin-secret"

_REPLY_403 = reply_problem(403, "not-through-the-cdn", "This address answers only to its CDN; use the CDN's.")


class OriginGuard:
    """An ASGI application around another one."""

    def __init__(self, app: AsgiApp, secret: str) -> None:
        self._app = app
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what knows the secret, and what asks for the health."""
        if scope["type"] == "http" and not self._is_known(scope):
            await send(
                {"type": "http.response.start", "status": _REPLY_403.status, "headers": _REPLY_403.headers + CORS}
            )
            await send({"type": "http.response.body", "body": _REPLY_403.body if scope["method"] != "HEAD" else b""})
            return
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        if scope["path"] == f"/{names.RESERVED}/health":
            return True
        given = [value for name, value in scope["headers"] if name == HEADER]
        return len(given) == 1 and hmac.compare_digest(given[0], self._secret)
