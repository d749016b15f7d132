"""Where a CDN serves the streams of an origin. Knows nothing of reads."""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Cdn:
    """A CDN that serves the same streams under another base: scheme, host, and a prefix of the path if it has one.

    Catch-up goes through it; `live` says whether live requests do too, or go to the origin.
    """

    base_url: str
    live: bool = False

    def rebase(self, url: str) -> str:
        """Return the CDN's URL for a URL at the origin."""
        base, origin = urlsplit(self.base_url), urlsplit(url)
        return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + origin.path, origin.query, ""))
