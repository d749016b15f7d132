"""Cursors move with time, never back, and alike for all who ask with one URL."""

from hypothesis import given
from hypothesis import strategies as st

from handler.core.cursor import EPOCH_SECONDS, INTERVAL_SECONDS, JITTER_SECONDS, cursor_at, jitter_of

NOW = EPOCH_SECONDS + 1000 * INTERVAL_SECONDS + 7.5


def test_a_cursor_is_the_number_of_the_interval_since_the_epoch() -> None:
    assert cursor_at(NOW, None, 1) == "1000"
    assert cursor_at(NOW + INTERVAL_SECONDS, None, 1) == "1001"


def test_a_clock_before_the_epoch_has_the_first_interval() -> None:
    assert cursor_at(0.0, None, 1) == "0"


def test_an_echo_from_an_earlier_interval_gives_the_current_one() -> None:
    assert cursor_at(NOW, "999", 3600) == "1000"


@given(st.integers(min_value=1000, max_value=10**17), st.integers(min_value=1, max_value=JITTER_SECONDS))
def test_an_echo_that_is_not_behind_is_always_passed(echoed: int, jitter: int) -> None:
    moved = int(cursor_at(NOW, str(echoed), jitter)) - echoed
    assert 1 <= moved <= JITTER_SECONDS // INTERVAL_SECONDS


@given(st.text(max_size=30).filter(lambda text: not (text.isascii() and text.isdigit())))
def test_an_echo_that_no_server_sent_counts_as_none(echoed: str) -> None:
    assert cursor_at(NOW, echoed, 1) == "1000"


def test_an_echo_of_any_length_makes_no_integer_of_that_length() -> None:
    assert cursor_at(NOW, "9" * 5000, 1) == "1000"


@given(st.lists(st.text()))
def test_jitter_is_the_same_for_one_url_and_within_the_protocols_range(url: list[str]) -> None:
    assert jitter_of(*url) == jitter_of(*url)
    assert 1 <= jitter_of(*url) <= JITTER_SECONDS
