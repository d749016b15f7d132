"""Signatures and key sets, checked with a library; tokens of wakes."""

import base64
import json
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from handler.core.callback_token import mint_token, read_token
from handler.core.webhook_signature import public_jwk, sign_webhook
from storage.core.lease import Credential

SEED, OTHER = bytes(range(32)), bytes(32)
CREDENTIAL = Credential("subscription/r/s", "inc", 7, 5_000)


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@given(st.binary(max_size=200), st.integers(0, 2**40))
def test_a_signature_is_of_the_time_a_dot_and_the_very_bytes(body: bytes, now: int) -> None:
    jwk = public_jwk(SEED)
    stamp, kid, signature = sign_webhook(SEED, body, now).split(",")
    assert (stamp, kid) == (f"t={now}", f"kid={jwk.kid}")
    public = Ed25519PublicKey.from_public_bytes(decode(jwk.x))
    raw = decode(signature.removeprefix("ed25519="))
    public.verify(raw, f"{now}.".encode() + body)
    with pytest.raises(InvalidSignature):
        public.verify(raw, f"{now}.".encode() + body + b" ")


def test_a_key_is_known_by_its_thumbprint() -> None:
    jwk = public_jwk(SEED)
    members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": jwk.x}, separators=(",", ":"), sort_keys=True)
    assert decode(jwk.kid.removeprefix("ds_")) == sha256(members.encode()).digest()
    assert (jwk.kty, jwk.crv, jwk.use, jwk.alg) == ("OKP", "Ed25519", "sig", "EdDSA")
    assert public_jwk(OTHER).kid != jwk.kid


def test_a_token_says_what_was_put_into_it_to_whoever_has_the_key() -> None:
    token = mint_token(SEED, 3, CREDENTIAL)
    assert read_token(token, [(2, OTHER), (3, SEED)]) == CREDENTIAL
    assert read_token(token, [(3, OTHER)]) is None
    assert read_token(token, [(2, SEED)]) is None
    assert read_token(token, []) is None


@given(st.data())
def test_a_token_with_any_character_changed_is_worth_nothing(data: st.DataObject) -> None:
    token = mint_token(SEED, 1, CREDENTIAL)
    at = data.draw(st.integers(0, len(token) - 2))  # the last one has bits that stand for nothing
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != token[at]))
    assert read_token(token[:at] + other + token[at + 1 :], [(1, SEED)]) is None


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "..", "é.é.é", "a.b.c.d"])
def test_what_is_no_token_is_worth_nothing(token: str) -> None:
    assert read_token(token, [(1, SEED)]) is None


def test_a_token_without_a_signature_is_worth_nothing() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"1"}').decode().rstrip("=")
    claims = mint_token(SEED, 1, CREDENTIAL).split(".")[1]
    assert read_token(f"{header}.{claims}.", [(1, SEED)]) is None
