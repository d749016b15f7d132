"""Which key signs, and which are published."""

import pytest

from storage.core.signing_key import (
    PUBLISH_MS,
    RETIRE_MS,
    DamagedKey,
    SigningKey,
    active,
    decode_signing_key,
    encode_signing_key,
    next_number,
    published,
    signing_key_key,
)

SEED = bytes(range(32))
ONE = SigningKey(1, SEED, 1_000)
TWO = SigningKey(2, SEED[::-1], 2_000_000)


def test_a_key_comes_back_as_it_was_written() -> None:
    assert decode_signing_key(encode_signing_key(ONE)) == ONE
    assert signing_key_key(12) == "key/signing-00000012"


@pytest.mark.parametrize("body", [b"{}", encode_signing_key(SigningKey(1, b"short", 0))])
def test_anything_else_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedKey):
        decode_signing_key(body)


def test_the_first_key_signs_at_once_and_the_next_one_when_it_has_been_published_for_long_enough() -> None:
    assert active([], 0) is None
    assert active([ONE], 0) == ONE
    assert active([ONE, TWO], TWO.created_ms + PUBLISH_MS - 1) == ONE
    assert active([ONE, TWO], TWO.created_ms + PUBLISH_MS) == TWO


def test_an_old_key_stays_published_until_nothing_it_signed_can_arrive() -> None:
    retired = TWO.created_ms + PUBLISH_MS + RETIRE_MS
    assert published([ONE, TWO], TWO.created_ms) == [ONE, TWO]
    assert published([ONE, TWO], retired - 1) == [ONE, TWO]
    assert published([ONE, TWO], retired) == [TWO]


def test_a_key_is_made_where_there_is_none_or_the_last_grew_old() -> None:
    assert next_number([], 0, 1_000) == 1
    assert next_number([ONE], 1_999, 1_000) is None
    assert next_number([ONE], 2_000, 1_000) == 2
    assert next_number([ONE], 2**50, 0) is None
