"""What caches may keep, for how long, and by which tag. Section 10."""

import pytest

from handler.core.caching import CacheRules, is_match, live_control, page_control, page_etag
from storage.core.offset import Offset, Sentinel
from storage.core.root import Config

PLAIN = Config("text/plain")
OWN = 7
HERE, INHERITED = Offset(OWN, 5), Offset(3, 5)


def control(
    offset: Offset | Sentinel,
    *,
    config: Config = PLAIN,
    rules: CacheRules | None = None,
    at_tail: bool = False,
    private: bool = False,
) -> str:
    return page_control(rules or CacheRules(), config, OWN, offset, 1_000_000, at_tail=at_tail, private=private)


def test_a_page_before_the_tail_under_its_own_generation_never_changes() -> None:
    assert control(HERE) == "public, max-age=31536000, immutable"


def test_how_long_history_is_kept_can_be_chosen() -> None:
    assert control(HERE, rules=CacheRules(history_seconds=3600)) == "public, max-age=3600, immutable"


@pytest.mark.parametrize("offset", [Sentinel.START, INHERITED])
def test_a_page_whose_url_does_not_name_the_generation_is_kept_as_long_as_section_10_allows(
    offset: Offset | Sentinel,
) -> None:
    assert control(offset) == "public, max-age=60, stale-while-revalidate=300"


@pytest.mark.parametrize("offset", [Sentinel.START, INHERITED, HERE])
def test_a_page_at_the_tail_is_asked_for_again(offset: Offset | Sentinel) -> None:
    assert control(offset, at_tail=True) == "no-cache"


def test_pages_at_the_tail_can_be_kept_for_a_minute_and_no_more() -> None:
    assert control(HERE, at_tail=True, rules=CacheRules(tail_seconds=10)) == (
        "public, max-age=10, stale-while-revalidate=300"
    )
    assert control(HERE, at_tail=True, rules=CacheRules(tail_seconds=600)) == (
        "public, max-age=60, stale-while-revalidate=300"
    )


def test_the_place_now_is_never_kept() -> None:
    assert control(Sentinel.NOW, at_tail=True) == "no-store"
    assert control(Sentinel.NOW, at_tail=True, rules=CacheRules(tail_seconds=60)) == "no-store"


def test_what_was_authorised_is_private_everywhere() -> None:
    assert control(HERE, private=True) == "private, max-age=31536000, immutable"
    assert control(Sentinel.START, private=True) == "private, max-age=60, stale-while-revalidate=300"
    assert control(HERE, private=True, at_tail=True) == "private, no-cache"


def test_no_cache_outlives_an_expiry() -> None:
    soon = Config("text/plain", expires_at_ms=1_020_000)
    assert control(HERE, config=soon) == "public, max-age=20, immutable"
    assert control(Sentinel.START, config=soon) == "public, max-age=20"
    assert control(HERE, config=soon, at_tail=True, rules=CacheRules(tail_seconds=60)) == "public, max-age=20"
    over = Config("text/plain", expires_at_ms=999_000)
    assert control(HERE, config=over) == "public, max-age=0, immutable"
    assert control(HERE, config=over, at_tail=True, rules=CacheRules(tail_seconds=60)) == "no-cache"


def test_a_sliding_stream_is_kept_no_longer_than_it_may_be_idle() -> None:
    assert control(HERE, config=Config("text/plain", ttl_seconds=90)) == "public, max-age=90, immutable"
    assert control(Sentinel.START, config=Config("text/plain", ttl_seconds=90)) == "public, max-age=60"
    later = Config("text/plain", ttl_seconds=3600)
    assert control(Sentinel.START, config=later) == "public, max-age=60, stale-while-revalidate=300"


def test_a_long_polls_data_is_kept_and_its_silence_is_not() -> None:
    kept = "public, max-age=60, stale-while-revalidate=300"
    assert live_control(PLAIN, HERE, 0, has_data=True, private=False) == kept
    assert live_control(PLAIN, HERE, 0, has_data=True, private=True) == kept.replace("public", "private")
    assert live_control(PLAIN, HERE, 0, has_data=False, private=False) == "no-store"
    assert live_control(PLAIN, Sentinel.NOW, 0, has_data=True, private=False) == "no-store"


def test_a_tag_changes_with_the_generation_the_range_and_the_end() -> None:
    tags = {
        page_etag(1, 0, 5, closed=False),
        page_etag(1, 0, 5, closed=True),
        page_etag(1, 0, 6, closed=False),
        page_etag(1, 1, 5, closed=False),
        page_etag(2, 0, 5, closed=False),
    }
    assert len(tags) == 5
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@pytest.mark.parametrize("sent", ['"a"', 'W/"a"', '"b", "a"', '"b",W/"a"', "*", " * "])
def test_a_client_that_has_the_page_is_recognised(sent: str) -> None:
    assert is_match(sent, '"a"')


@pytest.mark.parametrize("sent", [None, "", '"b"', "a", '"a'])
def test_a_client_that_has_another_page_is_not(sent: str | None) -> None:
    assert not is_match(sent, '"a"')
