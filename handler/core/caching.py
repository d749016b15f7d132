"""Say how long an answer may be kept, and by which tag it is known. Section 10. Knows no clock.

What makes the longest rule safe is the generation in a URL's token: under it the bytes at a position never change,
and a stream that is deleted and created again has another.
"""

import msgspec

from storage.core.offset import Offset, Sentinel
from storage.core.root import Config

IMMUTABLE_SECONDS = 31_536_000  # a year, the longest that RFC 2616 found sensible and caches still honour
SHARED_SECONDS = 60  # section 10.1
STALE_SECONDS = 300  # section 10.1: stale-while-revalidate

NO_STORE = "no-store"
REVALIDATE = "no-cache"  # kept, and asked for again by its ETag


class CacheRules(msgspec.Struct, frozen=True):
    """What an operator can choose. Seconds."""

    history_seconds: int = IMMUTABLE_SECONDS  # pages that can never change
    tail_seconds: int = 0  # pages that end at the tail; 0: always revalidated


def page_control(
    rules: CacheRules,
    config: Config,
    generation: int,
    offset: Offset | Sentinel,
    now_ms: int,
    *,
    at_tail: bool,
    private: bool,
) -> str:
    """Return the Cache-Control of a catch-up page. `generation` is the stream's own."""
    if offset is Sentinel.NOW:
        return NO_STORE
    scope = "private" if private else "public"
    lifetime = _lifetime_seconds(config, now_ms)
    if at_tail:
        seconds = min(rules.tail_seconds, SHARED_SECONDS)
        if not seconds or lifetime == 0:
            return f"private, {REVALIDATE}" if private else REVALIDATE
        return _shared(scope, seconds, lifetime)
    if isinstance(offset, Offset) and offset.generation == generation:
        seconds = rules.history_seconds if lifetime is None else min(rules.history_seconds, lifetime)
        return f"{scope}, max-age={seconds}, immutable"
    return _shared(scope, SHARED_SECONDS, lifetime)


def live_control(config: Config, offset: Offset | Sentinel, now_ms: int, *, has_data: bool, private: bool) -> str:
    """Return the Cache-Control of a long-poll's answer; one with data is known by its offset and its cursor."""
    if not has_data or offset is Sentinel.NOW:
        return NO_STORE
    return _shared("private" if private else "public", SHARED_SECONDS, _lifetime_seconds(config, now_ms))


def _shared(scope: str, seconds: int, lifetime: int | None) -> str:
    if lifetime is not None and lifetime < SHARED_SECONDS + STALE_SECONDS:
        return f"{scope}, max-age={min(seconds, lifetime)}"
    return f"{scope}, max-age={seconds}, stale-while-revalidate={STALE_SECONDS}"


def _lifetime_seconds(config: Config, now_ms: int) -> int | None:
    """Return for how long the stream is there for sure, None for ever. A cache must not outlive it."""
    if config.expires_at_ms is not None:
        return max(0, (config.expires_at_ms - now_ms) // 1000)
    return config.ttl_seconds


def page_etag(generation: int, start: int, end: int, *, closed: bool) -> str:
    """Return a page's entity tag; it changes when the stream closes, so that no 304 hides the end."""
    return f'"{generation}:{start}:{end}:c"' if closed else f'"{generation}:{start}:{end}"'


def is_match(if_none_match: str | None, etag: str) -> bool:
    """Say whether a client that sends this `If-None-Match` has what the tag names (RFC 9110, 13.1.2: weakly)."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in if_none_match.split(","))
