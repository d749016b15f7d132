"""Sign webhooks and publish the keys. Sections 6.5 and 7.1. Knows Ed25519; nothing of requests or stores."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_HEADER = "Webhook-Signature"
JWKS_TYPE = "application/jwk-set+json"
JWKS_CACHE_CONTROL = "public, max-age=300"
ALGORITHM = "ed25519"  # as subscriptions name it; a JWK names it EdDSA


class Jwk(msgspec.Struct, frozen=True):
    """A public key, RFC 8037."""

    kty: str
    crv: str
    kid: str
    use: str
    alg: str
    x: str


class JwkSet(msgspec.Struct, frozen=True):
    """What `jwks.json` holds."""

    keys: list[Jwk]


def public_jwk(seed: bytes) -> Jwk:
    """Return the public half of a key. Its `kid` is its thumbprint (RFC 7638): stable, and unlike any other's."""
    public = _private_key(seed).public_key().public_bytes_raw()
    x = encode_base64url(public)
    thumbprint = sha256(msgspec.json.encode({"crv": "Ed25519", "kty": "OKP", "x": x})).digest()
    return Jwk("OKP", "Ed25519", f"ds_{encode_base64url(thumbprint)}", "sig", "EdDSA", x)


def sign_webhook(seed: bytes, body: bytes, now_seconds: int) -> str:
    """Return the value of the signature header for a body."""
    signature = _private_key(seed).sign(b"%d.%b" % (now_seconds, body))
    return f"t={now_seconds},kid={public_jwk(seed).kid},{ALGORITHM}={encode_base64url(signature)}"


def encode_base64url(data: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _private_key(seed: bytes) -> "Ed25519PrivateKey":
    # Loaded by the first who signs: most processes never do, and a function's start would pay for it.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)
