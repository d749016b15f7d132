"""Control paths and bodies of subscriptions."""

import pytest

from handler.core.fields import Unacceptable
from handler.core.subscription_requests import (
    Action,
    Control,
    parse_ack,
    parse_bearer,
    parse_config,
    parse_control,
    parse_listing,
    parse_streams,
    parse_worker,
)
from storage.core.subscription import Config, Kind
from storage.subscriptions.leases import Ack


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("v1/stream/__ds/subscriptions/s", Control("v1/stream", Action.SUBSCRIPTION, "s")),
        ("__ds/subscriptions/s", Control("", Action.SUBSCRIPTION, "s")),
        ("v1/__ds/subscriptions/s/streams", Control("v1", Action.STREAMS, "s")),
        ("v1/__ds/subscriptions/s/streams/a%2Fb", Control("v1", Action.STREAM, "s", "a/b")),
        ("v1/__ds/subscriptions/s/streams/a/b", Control("v1", Action.STREAM, "s", "a/b")),
        ("v1/__ds/subscriptions/s/streams/a%252Fb", Control("v1", Action.STREAM, "s", "a%2Fb")),
        ("v1/__ds/subscriptions/s/claim", Control("v1", Action.CLAIM, "s")),
        ("v1/__ds/subscriptions/s/ack", Control("v1", Action.ACK, "s")),
        ("v1/__ds/subscriptions/s/release", Control("v1", Action.RELEASE, "s")),
        ("v1/__ds/subscriptions/s/callback", Control("v1", Action.CALLBACK, "s")),
        ("v1/__ds/jwks.json", Control("v1", Action.JWKS)),
        ("v1/__ds/streams", Control("v1", Action.LISTING)),
        ("v1/__ds/subscriptions/__ds", Control("v1", Action.SUBSCRIPTION, "__ds")),
        ("v1/__ds", None),
        ("v1/__ds/health", None),
        ("v1/__ds/subscriptions", None),
        ("v1/__ds/subscriptions/", None),
        ("v1/__ds/subscriptions//claim", None),
        ("v1/__ds/subscriptions/s/streams/", None),
        ("v1/__ds/subscriptions/s/anything", None),
        ("v1/__ds/jwks.json/more", None),
    ],
)
def test_a_control_path_says_what_it_is_for(path: str, expected: Control | None) -> None:
    assert parse_control(path) == expected


def test_only_what_has_a_token_of_its_own_or_is_public_goes_without_the_servers_authorisation() -> None:
    own = {action for action in Action if Control("", action).has_own_token}
    assert own == {Action.CALLBACK, Action.ACK, Action.RELEASE, Action.JWKS}


def test_a_configuration_is_normalised() -> None:
    body = b'{"type":"pull-wake","pattern":"/a//*/","streams":["/x y/","x%20y"],"wake_stream":"/w/"}'
    expected = Config(Kind.PULL_WAKE, "a/*", ("x%20y",), None, "w", 30_000, None)
    assert parse_config(body, "v1", allow_loopback=False) == expected


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "http://localhost/hook", "http://worker.example/"])
def test_an_unsafe_webhook_is_rejected_by_its_own_code(url: str) -> None:
    body = b'{"type":"webhook","pattern":"*","webhook":{"url":"' + url.encode() + b'"}}'
    with pytest.raises(Unacceptable) as raised:
        parse_config(body, "v1", allow_loopback=False)
    assert raised.value.code == "WEBHOOK_URL_REJECTED"


def test_an_ack_is_read_as_the_worker_wrote_it() -> None:
    body = (
        b'{"wake_id":"w","generation":3,"acks":[{"stream":"/a/","offset":"1"},{"path":"b","offset":"2"}],"done":true}'
    )
    assert parse_ack(body) == Ack("w", 3, (("a", "1"), ("b", "2")), True)
    assert parse_ack(b"") == parse_ack(b"{}") == Ack(None, None, (), False)
    with pytest.raises(Unacceptable):
        parse_ack(b'{"generation":"three"}')


@pytest.mark.parametrize("body", [b'{"worker":""}', b'{"worker":7}', b"{}", b'{"worker":"' + b"w" * 513 + b'"}'])
def test_a_worker_has_a_name(body: bytes) -> None:
    assert parse_worker(b'{"worker":"w"}') == "w"
    with pytest.raises(Unacceptable):
        parse_worker(body)


def test_streams_to_link_are_named() -> None:
    assert parse_streams(b'{"streams":["/a/b"]}', "v1") == ["a/b"]
    for body in (b"{}", b'{"streams":"a"}', b'{"streams":["a/__ds/b"]}'):
        with pytest.raises(Unacceptable):
            parse_streams(body, "v1")


def test_a_listing_is_below_the_root() -> None:
    listing = parse_listing(b"prefix=a%20b/&after=c&limit=5", "v1")
    assert (listing.prefix, listing.after, listing.limit) == ("v1/a%20b/", "v1/c", 5)
    everything = parse_listing(b"", "")
    assert (everything.prefix, everything.after, everything.limit) == ("", "", 100)


@pytest.mark.parametrize(
    ("header", "token"),
    [(b"Bearer abc", "abc"), (b"bearer  abc ", "abc"), (b"Basic abc", ""), (b"Bearer", ""), (b"", "")],
)
def test_a_bearer_token_comes_after_its_scheme(header: bytes, token: str) -> None:
    assert parse_bearer({b"authorization": header}) == token
    assert parse_bearer({}) == ""
