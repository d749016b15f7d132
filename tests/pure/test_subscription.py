"""What a subscription is, and how it is called."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.core.keys import normalise_path
from storage.core.subscription import (
    Config,
    Cursor,
    DamagedSubscription,
    Kind,
    Link,
    NameTooLong,
    Phase,
    Subscription,
    Wake,
    config_hash,
    control_url,
    decode_subscription,
    encode_subscription,
    is_matched,
    parse_subscription_key,
    relative_path,
    stream_path,
    subscription_key,
    tombstone,
)

CONFIG = Config(Kind.PULL_WAKE, "events/*", ("x",), None, "wake/pool", 30_000, None)

cursors = st.builds(Cursor, st.integers(0, 2**53), st.integers(0, 2**53), st.sampled_from(["-1", f"{1:016d}_{2:016d}"]))
wakes = st.none() | st.builds(
    Wake,
    id=st.text(),
    stream=st.text(),
    phase=st.sampled_from(Phase),
    attempt=st.text(),
    snapshot=st.dictionaries(st.text(), cursors, max_size=3),
    timer_ms=st.none() | st.integers(0, 2**53),
    lease_ms=st.none() | st.integers(0, 2**53),
    holder=st.text(),
)
subscriptions = st.builds(
    Subscription,
    root=st.text(),
    id=st.text(),
    incarnation=st.text(),
    write_id=st.text(),
    config=st.just(CONFIG),
    base=st.text(),
    created_ms=st.integers(0, 2**53),
    generation=st.integers(0, 2**53),
    links=st.dictionaries(st.text(), st.builds(Link, st.booleans(), cursors), max_size=3),
    wake=wakes,
    failures=st.integers(0, 100),
    scans=st.lists(st.integers(0, 2**53), max_size=3).map(tuple),
    deleted=st.booleans(),
)


@given(subscriptions)
def test_a_subscription_comes_back_as_it_was_written(subscription: Subscription) -> None:
    assert decode_subscription(encode_subscription(subscription)) == subscription


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff"])
def test_anything_else_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedSubscription):
        decode_subscription(body)


@given(st.text(max_size=25).map(normalise_path), st.text(min_size=1, max_size=10).map(normalise_path))
def test_a_key_says_which_root_and_id_it_is_of(root: str, id_: str) -> None:
    assert parse_subscription_key(subscription_key(root, id_)) == (root, id_)


def test_names_that_leave_no_room_for_a_hint_are_refused() -> None:
    with pytest.raises(NameTooLong):
        subscription_key("r", "i" * 321)
    with pytest.raises(NameTooLong):
        subscription_key("r" * 641, "i")
    assert len("due/20261124T1910/subscription/" + subscription_key("r" * 640, "i" * 320)) < 1024


def test_a_different_configuration_has_a_different_hash() -> None:
    others = [
        msgspec.structs.replace(CONFIG, kind=Kind.WEBHOOK),
        msgspec.structs.replace(CONFIG, pattern=None),
        msgspec.structs.replace(CONFIG, streams=()),
        msgspec.structs.replace(CONFIG, webhook_url="https://x"),
        msgspec.structs.replace(CONFIG, wake_stream="y"),
        msgspec.structs.replace(CONFIG, lease_ms=1_000),
        msgspec.structs.replace(CONFIG, description=""),
    ]
    assert len({config_hash(config) for config in [CONFIG, *others]}) == 8
    assert config_hash(CONFIG) == config_hash(msgspec.json.decode(msgspec.json.encode(CONFIG), type=Config))


def test_streams_are_called_relative_to_the_root() -> None:
    assert stream_path("v1/stream", "events/a") == "v1/stream/events/a"
    assert stream_path("", "events/a") == "events/a"
    assert relative_path("v1/stream", "v1/stream/events/a") == "events/a"
    assert relative_path("v1/stream", "v1/streams/events/a") is None
    assert relative_path("v1/stream", "v1/stream/") is None
    assert relative_path("", "events/a") == "events/a"
    assert relative_path("", "") is None


def test_the_own_wake_stream_is_never_matched() -> None:
    everything = msgspec.structs.replace(CONFIG, pattern="**")
    assert is_matched(everything, "events/a")
    assert not is_matched(everything, "wake/pool")
    assert not is_matched(msgspec.structs.replace(CONFIG, pattern=None), "events/a")


def test_urls_are_built_on_the_base_that_the_client_used() -> None:
    made = Subscription("v1", "a%20b", "i", "w", CONFIG, "https://h", 0, 0, {})
    assert made.url == "https://h/v1/__ds/subscriptions/a%20b"
    assert made.name == "a b"
    assert control_url("https://h", "") == "https://h/__ds"


def test_what_is_left_of_a_deleted_subscription_keeps_its_generation() -> None:
    wake = Wake("w", "s", Phase.SENT, "a", {})
    made = Subscription("v1", "a", "i", "w", CONFIG, "", 0, 7, {"x": Link(True, Cursor(0, 0, "-1"))}, wake, 3, (1,))
    left = tombstone(made)
    assert (left.deleted, left.generation, left.links, left.wake, left.failures, left.scans) == (
        True,
        7,
        {},
        None,
        0,
        (),
    )
