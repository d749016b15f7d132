"""Who may do what: a hook that is asked for everything but preflights and the health, and one for bearer tokens."""

from collections.abc import Awaitable

import pytest

from handler.auth import Access, Asked, require_token
from tests.web.harness import TEXT, Exchange, site

ALICE = {"Authorization": "Bearer alice's"}


async def test_without_a_hook_everybody_may_do_everything() -> None:
    async with site() as here:
        assert (await here.client.put("/s", headers=TEXT)).status_code == 201


@pytest.mark.parametrize("method", ["PUT", "POST", "GET", "HEAD", "DELETE"])
async def test_nobody_does_anything_without_a_token(method: str) -> None:
    async with site(authorize=require_token(["alice's"])) as here:
        answer = await here.client.request(method, "/s", headers=TEXT, content=b"x")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer ", "Bearer bob", "Bearer alice's2", "Bearer alice", "Basic alice's", "alice's"],
)
async def test_a_token_that_is_not_known_is_none(sent: str) -> None:
    async with site(authorize=require_token(["alice's"])) as here:
        assert (await here.client.get("/s", headers={"Authorization": sent})).status_code == 401


@pytest.mark.parametrize("sent", ["Bearer alice's", "bearer alice's", "Bearer  alice's ", "Bearer bob's"])
async def test_any_of_the_tokens_opens_everything(sent: str) -> None:
    async with site(authorize=require_token(["alice's", "bob's"])) as here:
        assert (await here.client.put("/s", headers={**TEXT, "Authorization": sent})).status_code == 201


async def test_what_was_authorised_is_private_to_its_reader() -> None:
    async with site(authorize=require_token(["alice's"])) as here:
        await here.create("/s", b"x", **ALICE)
        answer = await here.client.get("/s", headers=ALICE)
        assert answer.headers["cache-control"] == "private, no-cache"
        polled = await here.client.get("/s?offset=-1&live=long-poll", headers=ALICE)
        assert polled.headers["cache-control"].startswith("private")
        events = Exchange(here.app, "GET", "/s?offset=-1&live=sse", headers=[(b"authorization", b"Bearer alice's")])
        _, headers = await events.start()
        assert headers["cache-control"] == "private, no-cache"
        events.leave()
        await events.end()


async def test_a_preflight_and_the_health_are_open_to_everybody_and_what_is_like_them_is_not() -> None:
    async with site(authorize=require_token(["alice's"])) as here:
        assert (await here.client.options("/s")).status_code == 204
        assert (await here.client.get("/__ds/health")).status_code == 200
        assert (await here.client.get("/__ds/x__ds/health")).status_code == 401
        assert (await here.client.get("/a/__ds/health")).status_code == 401
        assert (await here.client.get("/__ds/nothing")).status_code == 401


async def test_a_body_is_not_read_for_who_may_not_send_it() -> None:
    async with site(authorize=require_token(["alice's"])) as here:
        exchange = Exchange(here.app, "POST", "/s", headers=[(b"content-type", b"text/plain")], complete=False, body=())
        assert (await exchange.start())[0] == 401


async def test_a_hook_sees_method_path_and_headers_and_may_forbid() -> None:
    seen: list[Asked] = []

    def readers_only(asked: Asked) -> Access:
        seen.append(asked)
        return Access.ALLOWED if asked.method == "GET" else Access.FORBIDDEN

    async with site(authorize=readers_only) as here:
        answer = await here.client.put("/a%2fb/%63", headers={**TEXT, "X-Who": "me"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await here.client.get("/a")).status_code == 404
    assert [(asked.method, asked.path) for asked in seen] == [("PUT", "a%2Fb/c"), ("GET", "a")]
    assert seen[0].headers[b"x-who"] == b"me"


async def test_a_hook_may_take_its_time() -> None:
    async def decide() -> Access:
        return Access.ALLOWED

    def later(asked: Asked) -> Awaitable[Access]:
        return decide()

    async with site(authorize=later) as here:
        assert (await here.client.put("/s", headers=TEXT)).status_code == 201


async def test_a_fork_is_also_a_read_of_its_source() -> None:
    def no_secrets(asked: Asked) -> Access:
        return Access.FORBIDDEN if asked.method == "GET" and asked.path == "secret" else Access.ALLOWED

    async with site(authorize=no_secrets) as here:
        await here.create("/secret", b"x")
        await here.create("/open", b"x")
        forked = await here.client.put("/fork", headers={**TEXT, "Stream-Forked-From": "/secret"})
        assert forked.status_code == 403
        allowed = await here.client.put("/fork", headers={**TEXT, "Stream-Forked-From": "/open"})
        assert allowed.status_code == 201
