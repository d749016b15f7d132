"""Say when a stream expires and when an access must be written down. Section 4 and 5.1. Knows no clock.

A sliding stream expires at 1.1 x ttl after the last access that is on record, and an access is put on record when the
last one there is older than ttl / 10: never early, and at most ten touches per window however busy the readers.
"""

import msgspec

from storage.core.root import Config


class DamagedTouch(ValueError):
    """An object under `touch/` that cannot be read."""


class Touch(msgspec.Struct, frozen=True):
    """The body of a touch object."""

    at_ms: int


_decode = msgspec.json.Decoder(Touch).decode
encode_touch = msgspec.json.Encoder().encode


def decode_touch(body: bytes) -> Touch:
    """Read a touch. Raises DamagedTouch."""
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedTouch(str(error)) from error


def expiry_ms(config: Config, accessed_ms: int) -> int | None:
    """Return when the stream expires, in milliseconds since the epoch; None if it never does."""
    if config.expires_at_ms is not None:
        return config.expires_at_ms
    if config.ttl_seconds is not None:
        return accessed_ms + config.ttl_seconds * 1100
    return None


def is_touch_due(config: Config, accessed_ms: int, now_ms: int) -> bool:
    """Say whether an access must be written down before it is answered."""
    return config.ttl_seconds is not None and now_ms - accessed_ms > config.ttl_seconds * 100
