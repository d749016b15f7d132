"""Write and read the tokens of callbacks and claims: JWTs of one subscription and one generation, with an end.

Section 12.9. Signed by HMAC with a secret derived from the signing key, which every process has. A token only opens
the door: whether its generation is still the current one is decided by the subscription.
"""

import hmac
from base64 import urlsafe_b64decode
from binascii import Error
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from handler.core.webhook_signature import encode_base64url
from storage.core.lease import Credential

TOKEN_MS = 3_600_000  # six times the longest lease; a heartbeat brings a new one before
_PURPOSE = b"durable-streams callback token"


class _Header(msgspec.Struct):
    alg: str
    typ: str
    kid: str


class _Claims(msgspec.Struct):
    sub: str
    inc: str
    gen: int
    exp: int  # seconds since the epoch


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


def mint_token(seed: bytes, number: int, credential: Credential) -> str:
    """Return the token that says what the credential says. `number`: of the signing key."""
    header = encode_base64url(msgspec.json.encode(_Header("HS256", "JWT", str(number))))
    claims = _Claims(
        credential.subject, credential.incarnation, credential.generation, -(-credential.expires_ms // 1000)
    )
    signed = f"{header}.{encode_base64url(msgspec.json.encode(claims))}"
    return f"{signed}.{encode_base64url(_mac(seed, signed))}"


def read_token(token: str, keys: Iterable[tuple[int, bytes]]) -> Credential | None:
    """Return what a token says, None if its signature is none of ours. `keys`: numbers and seeds."""
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    try:
        stated = _decode_header(_decode(header))
        said = _decode_claims(_decode(claims))
    except (msgspec.MsgspecError, ValueError, Error):
        return None
    if stated.alg != "HS256":
        return None
    for number, seed in keys:
        # As text: base64 has several spellings of one signature, and only ours counts.
        mine = encode_base64url(_mac(seed, signed)).encode()
        if str(number) == stated.kid and hmac.compare_digest(signature.encode("ascii", "replace"), mine):
            return Credential(said.sub, said.inc, said.gen, said.exp * 1000)
    return None


def _mac(seed: bytes, signed: str) -> bytes:
    secret = hmac.new(seed, _PURPOSE, sha256).digest()
    return hmac.new(secret, signed.encode("ascii", "replace"), sha256).digest()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
