"""When a stream expires."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.lifetime import DamagedTouch, Touch, decode_touch, encode_touch, expiry_ms, is_touch_due
from storage.core.root import Config

times = st.integers(0, 10**13)
ttls = st.integers(1, 10**7)


def test_a_stream_without_a_lifetime_lives_for_ever() -> None:
    assert expiry_ms(Config("text/plain"), 5) is None
    assert not is_touch_due(Config("text/plain"), 0, 10**13)


@given(times, times)
def test_an_absolute_expiry_is_exact_whatever_the_accesses(at_ms: int, accessed_ms: int) -> None:
    config = Config("text/plain", expires_at_ms=at_ms)
    assert expiry_ms(config, accessed_ms) == at_ms
    assert not is_touch_due(config, accessed_ms, accessed_ms + 10**12)


@given(ttls, times, st.lists(st.integers(1, 10**7), max_size=30))
def test_a_sliding_stream_never_expires_early(ttl: int, created_ms: int, gaps_ms: list[int]) -> None:
    config = Config("text/plain", ttl_seconds=ttl)
    recorded = now = created_ms
    for gap in gaps_ms:
        now += min(gap, ttl * 1000 - 1)
        expiry = expiry_ms(config, recorded)
        assert expiry is not None
        assert now < expiry
        if is_touch_due(config, recorded, now):
            recorded = now
        assert (expiry_ms(config, recorded) or 0) >= now + ttl * 1000


@given(ttls, st.integers(1, 100))
def test_a_busy_reader_costs_at_most_ten_touches_per_window(ttl: int, step_ms: int) -> None:
    config = Config("text/plain", ttl_seconds=ttl)
    recorded = now = touches = 0
    while now + ttl * 10 <= ttl * 1000:
        now += ttl * 10 + step_ms
        if is_touch_due(config, recorded, now):
            recorded, touches = now, touches + 1
    assert touches <= 10


@given(times)
def test_a_touch_is_read_as_it_was_written(at_ms: int) -> None:
    assert decode_touch(encode_touch(Touch(at_ms))) == Touch(at_ms)


def test_what_is_no_touch_is_damaged() -> None:
    with pytest.raises(DamagedTouch):
        decode_touch(b"{}")
