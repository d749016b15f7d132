"""Refusals of sections 6 and 7: a status, a code, and what belongs to it."""

import msgspec
import pytest

from handler.core.subscription_replies import Refusal, reply_acknowledged, reply_listing, reply_refused
from storage.core.lease import (
    AlreadyClaimed,
    Fenced,
    InvalidOffset,
    NoPendingWork,
    TokenExpired,
    TokenInvalid,
    WrongKind,
)
from storage.core.subscription import Kind
from storage.listing import Listed
from storage.subscriptions.leases import Acknowledged
from storage.subscriptions.registry import ConfigDiffers, NoSubscription


@pytest.mark.parametrize(
    ("refusal", "status", "error"),
    [
        (NoSubscription(), 404, {"code": "SUBSCRIPTION_NOT_FOUND"}),
        (ConfigDiffers(), 409, {"code": "SUBSCRIPTION_ALREADY_EXISTS"}),
        (WrongKind(Kind.WEBHOOK), 400, {"code": "INVALID_REQUEST"}),
        (WrongKind(Kind.PULL_WAKE), 400, {"code": "INVALID_REQUEST"}),
        (TokenInvalid(), 401, {"code": "TOKEN_INVALID"}),
        (TokenExpired(), 401, {"code": "TOKEN_EXPIRED"}),
        (Fenced(7), 409, {"code": "FENCED", "generation": 7}),
        (AlreadyClaimed("w", 7), 409, {"code": "ALREADY_CLAIMED", "current_holder": "w", "generation": 7}),
        (NoPendingWork(), 409, {"code": "NO_PENDING_WORK"}),
        (InvalidOffset("a", "it is not"), 409, {"code": "INVALID_OFFSET"}),
    ],
)
def test_a_refusal_is_a_problem_with_the_protocols_code(
    refusal: Refusal, status: int, error: dict[str, object]
) -> None:
    reply = reply_refused(refusal)
    body = msgspec.json.decode(reply.body)
    assert (reply.status, body["status"]) == (status, status)
    assert {name: value for name, value in body["error"].items() if name != "message"} == error
    assert body["code"] == body["error"]["code"].lower().replace("_", "-")
    assert (b"content-type", b"application/problem+json") in reply.headers
    assert any(name == b"www-authenticate" for name, _ in reply.headers) == (status == 401)


def test_a_new_token_comes_only_when_there_is_one() -> None:
    assert msgspec.json.decode(reply_acknowledged(Acknowledged(False), "").body) == {"ok": True, "next_wake": False}
    assert msgspec.json.decode(reply_acknowledged(Acknowledged(True), "t").body)["token"] == "t"


def test_streams_are_listed_as_they_are_called_below_the_root() -> None:
    page = msgspec.json.decode(reply_listing(Listed(["v1/a", "v1/b"], "v1/b"), "v1").body)
    assert page == {"streams": [{"path": "a"}, {"path": "b"}], "next": "b"}
    assert msgspec.json.decode(reply_listing(Listed(["a"], None), "").body) == {
        "streams": [{"path": "a"}],
        "next": None,
    }
