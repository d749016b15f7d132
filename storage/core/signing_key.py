"""Which key signs, and which are published. Section 6.5. Knows the codec of `key/…` and the times; no cryptography.

Keys are numbered, and a number is taken by a create-once write: however many processes want a first key, or the next
one, there is one. A new key is published before it signs, so that no receiver meets a signature it cannot look up; an
old one stays published until nothing that it signed can still be on its way.
"""

from collections.abc import Sequence

import msgspec

PREFIX = "key/"
SEED_BYTES = 32  # of an Ed25519 private key

PUBLISH_MS = 15 * 60_000  # before a new key signs: thrice the max-age of the JWK set
RETIRE_MS = 24 * 3_600_000  # after it has stopped to sign: far above the replay window, and tokens' lives


class DamagedKey(ValueError):
    """An object under `key/` that cannot be read."""


class SigningKey(msgspec.Struct, frozen=True):
    """A key. `seed` is the private key, and never leaves the process and the store."""

    number: int
    seed: bytes
    created_ms: int


_decode = msgspec.json.Decoder(SigningKey).decode
encode_signing_key = msgspec.json.Encoder().encode


def decode_signing_key(body: bytes) -> SigningKey:
    """Read a key. Raises DamagedKey."""
    try:
        key = _decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedKey(str(error)) from error
    if len(key.seed) != SEED_BYTES:
        raise DamagedKey("its seed has not 32 bytes")
    return key


def signing_key_key(number: int) -> str:
    """Return where the key of a number is."""
    return f"{PREFIX}signing-{number:08d}"


def active(keys: Sequence[SigningKey], now_ms: int) -> SigningKey | None:
    """Return the key that signs now; `keys` by ascending number."""
    ready = [key for key in keys[1:] if key.created_ms + PUBLISH_MS <= now_ms]
    return ready[-1] if ready else next(iter(keys), None)


def published(keys: Sequence[SigningKey], now_ms: int) -> list[SigningKey]:
    """Return the keys that receivers may meet."""
    return [
        key
        for key, successor in zip(keys, [*keys[1:], None], strict=True)
        if successor is None or now_ms < successor.created_ms + PUBLISH_MS + RETIRE_MS
    ]


def next_number(keys: Sequence[SigningKey], now_ms: int, rotate_ms: int) -> int | None:
    """Return the number of a key that is to be made now: the first, or one after the last grew old. 0: no rotation."""
    if not keys:
        return 1
    newest = keys[-1]
    return newest.number + 1 if rotate_ms and newest.created_ms + rotate_ms <= now_ms else None
