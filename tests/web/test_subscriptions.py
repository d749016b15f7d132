"""Subscriptions over HTTP, one rule a test. Sections 6 and 7."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from handler.app import AppSettings, create_app
from handler.auth import Authorize, require_token
from handler.subscriptions import SubscriptionService, SubscriptionSettings
from storage.log import Log
from storage.opening import open_objects
from tests.web.harness import JSON, NEXT_OFFSET, client_of

SUBSCRIPTION = "/v1/__ds/subscriptions/s"
PULL: dict[str, object] = {
    "type": "pull-wake",
    "pattern": "events/*",
    "wake_stream": "wake/pool",
    "lease_ttl_ms": 30_000,
}
HOOK: dict[str, object] = {"type": "webhook", "pattern": "events/*", "webhook": {"url": "https://worker.example/hook"}}


@asynccontextmanager
async def subscribed(
    config: dict[str, object] | None = None, authorize: Authorize | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application with a wake stream, one stream of one message, and a subscription if one is described."""
    store = await open_objects("memory:")
    log = Log(store)
    service = SubscriptionService(log, SubscriptionSettings(allow_loopback=True))
    app = create_app(log, AppSettings(), authorize, service)
    async with client_of(app) as client:
        if config:
            await client.put("/v1/wake/pool", headers=JSON)
            answer = await client.put(SUBSCRIPTION, json=config)
            assert answer.status_code == 201, answer.text
            await client.put("/v1/events/a", headers=JSON, content=b'["one"]')
        yield client
        await service.settle()
    await service.aclose()
    await log.aclose()
    await store.aclose()


async def claim(client: httpx.AsyncClient, worker: str = "w") -> httpx.Response:
    return await client.post(f"{SUBSCRIPTION}/claim", json={"worker": worker})


def bearer(claimed: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {claimed.json()['token']}"}


def naming(claimed: httpx.Response, **more: object) -> dict[str, object]:
    return {"wake_id": claimed.json()["wake_id"], "generation": claimed.json()["generation"], **more}


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["detail"] == body["error"]["message"]
    return answer.status_code, body["error"]["code"]


# -- section 6


async def test_a_subscription_is_described_as_it_was_asked_for() -> None:
    async with subscribed(HOOK) as client:
        body = (await client.get(SUBSCRIPTION)).json()
        assert (body["id"], body["subscription_id"], body["type"]) == ("s", "s", "webhook")
        assert (body["pattern"], body["wake_stream"], body["lease_ttl_ms"]) == ("events/*", None, 30_000)
        assert body["webhook"]["url"] == "https://worker.example/hook"
        signing = body["webhook"]["signing"]
        assert signing["jwks_url"] == "http://streams.example/v1/__ds/jwks.json"
        keys = (await client.get(signing["jwks_url"])).json()["keys"]
        assert [key["kid"] for key in keys] == [signing["kid"]]


async def test_the_same_configuration_is_the_same_subscription_and_another_is_a_conflict() -> None:
    async with subscribed({**PULL, "streams": ["x", "y"]}) as client:
        again = await client.put(SUBSCRIPTION, json={**PULL, "pattern": "/events/*/", "streams": ["y", "/x/", "y"]})
        assert again.status_code == 200
        other = await client.put(SUBSCRIPTION, json={**PULL, "description": "another"})
        assert code(other) == (409, "SUBSCRIPTION_ALREADY_EXISTS")


@pytest.mark.parametrize(
    "change",
    [
        {"type": "carrier pigeon"},
        {"pattern": None},
        {"pattern": "/"},
        {"pattern": "x" * 1025},
        {"pattern": 5},
        {"lease_ttl_ms": 999},
        {"lease_ttl_ms": 600_001},
        {"lease_ttl_ms": "long"},
        {"wake_stream": None},
        {"streams": ["__ds/x"]},
        {"streams": [""]},
        {"streams": ["wake/pool"]},
        {"streams": ["x" * 1000]},
        {"streams": [1]},
        {"description": "x" * 4097},
        {"type": "webhook"},
    ],
)
async def test_a_configuration_that_is_wrong_is_refused(change: dict[str, object]) -> None:
    async with subscribed() as client:
        assert code(await client.put(SUBSCRIPTION, json={**PULL, **change})) == (400, "INVALID_REQUEST")
        assert code(await client.get(SUBSCRIPTION)) == (404, "SUBSCRIPTION_NOT_FOUND")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    async with subscribed(PULL) as client:
        assert code(await client.put(SUBSCRIPTION, content=body)) == (400, "INVALID_REQUEST")
        for action in ("claim", "streams"):
            assert code(await client.post(f"{SUBSCRIPTION}/{action}", content=body)) == (400, "INVALID_REQUEST")


async def test_an_id_may_be_anything_that_fits_into_a_url() -> None:
    async with subscribed() as client:
        url = "/v1/__ds/subscriptions/a%20b%2Fc"
        assert (await client.put(url, json=PULL)).json()["id"] == "a b/c"
        assert (await client.get(url)).status_code == 200
        assert code(await client.put(f"/v1/__ds/subscriptions/{'x' * 400}", json=PULL)) == (400, "INVALID_REQUEST")


async def test_existing_streams_are_linked_at_their_tails() -> None:
    async with subscribed() as client:
        await client.put("/v1/events/old", headers=JSON, content=b"[1,2]")
        await client.put("/v1/other/old", headers=JSON, content=b"[1,2]")
        tail = (await client.head("/v1/events/old")).headers[NEXT_OFFSET]
        made = await client.put(SUBSCRIPTION, json={**PULL, "streams": ["later"]})
        assert made.json()["streams"] == [
            {"path": "later", "link_type": "explicit", "acked_offset": "0000000000000000_0000000000000000"},
            {"path": "events/old", "link_type": "glob", "acked_offset": tail},
        ]
        assert code(await claim(client)) == (409, "NO_PENDING_WORK")
        await client.put("/v1/later", headers=JSON, content=b"[1]")
        assert [line["path"] for line in (await claim(client)).json()["streams"] if line["has_pending"]] == ["later"]


async def test_explicit_links_come_and_go_and_the_pattern_stays() -> None:
    async with subscribed(PULL) as client:

        async def links() -> dict[str, str]:
            return {line["path"]: line["link_type"] for line in (await client.get(SUBSCRIPTION)).json()["streams"]}

        body = {"streams": ["manual/b", "events/a", "with%2Fslash"]}
        for _ in range(2):
            assert (await client.post(f"{SUBSCRIPTION}/streams", json=body)).status_code == 204
        assert await links() == {"manual/b": "explicit", "events/a": "explicit", "with%2Fslash": "explicit"}
        for path in ("manual%2Fb", "events/a", "with%252Fslash", "unknown"):
            assert (await client.delete(f"{SUBSCRIPTION}/streams/{path}")).status_code == 204
        assert await links() == {"events/a": "glob"}


async def test_a_deleted_subscription_takes_nothing_any_more_and_a_new_one_knows_no_old_token() -> None:
    async with subscribed(PULL) as client:
        claimed = await claim(client)
        assert (await client.delete(SUBSCRIPTION)).status_code == 204
        assert (await client.delete(SUBSCRIPTION)).status_code == 204
        for action in ("claim", "ack", "release", "callback"):
            answer = await client.post(
                f"{SUBSCRIPTION}/{action}", json={"worker": "w", **naming(claimed)}, headers=bearer(claimed)
            )
            assert code(answer) == (404, "SUBSCRIPTION_NOT_FOUND")
        assert code(await client.post(f"{SUBSCRIPTION}/streams", json={"streams": ["x"]}))[0] == 404
        assert code(await client.delete(f"{SUBSCRIPTION}/streams/x"))[0] == 404
        await client.put(SUBSCRIPTION, json=PULL)
        await client.post("/v1/events/a", headers=JSON, content=b'"two"')
        again = await claim(client)
        assert again.json()["generation"] > claimed.json()["generation"]
        stale = await client.post(f"{SUBSCRIPTION}/ack", json=naming(again), headers=bearer(claimed))
        assert code(stale) == (409, "FENCED")


async def test_control_paths_are_no_streams() -> None:
    async with subscribed(PULL) as client:
        assert (await client.put("/v1/__ds/anything", headers=JSON)).status_code == 404
        assert (await client.post(SUBSCRIPTION)).status_code == 405
        assert (await client.options(SUBSCRIPTION)).status_code == 204
        assert (await client.put("/v1/__ds/jwks.json")).status_code == 405


# -- section 7


async def test_a_claim_names_the_wake_and_what_is_pending() -> None:
    async with subscribed(PULL) as client:
        claimed = await claim(client)
        body = claimed.json()
        tail = (await client.head("/v1/events/a")).headers[NEXT_OFFSET]
        assert body["streams"] == [
            {"path": "events/a", "link_type": "glob", "acked_offset": "-1", "tail_offset": tail, "has_pending": True}
        ]
        assert (body["generation"], body["lease_ttl_ms"]) == (1, 30_000)
        busy = await claim(client, "other")
        assert code(busy) == (409, "ALREADY_CLAIMED")
        assert (busy.json()["error"]["current_holder"], busy.json()["error"]["generation"]) == ("w", 1)


async def test_a_wake_event_is_written_once_per_generation() -> None:
    async with subscribed(PULL) as client:
        await claim(client)
        await client.post("/v1/events/a", headers=JSON, content=b'"two"')
        [event] = (await client.get("/v1/wake/pool")).json()
        assert (event["type"], event["subscription_id"], event["stream"]) == ("wake", "s", "events/a")
        assert event["generation"] == 1


async def test_acks_extend_the_lease_or_end_it_and_work_that_is_left_wakes_again() -> None:
    async with subscribed(PULL) as client:
        claimed = await claim(client)
        tail = claimed.json()["streams"][0]["tail_offset"]
        await client.post("/v1/events/a", headers=JSON, content=b'"two"')
        ack = naming(claimed, acks=[{"stream": "events/a", "offset": tail}])
        beat = await client.post(f"{SUBSCRIPTION}/ack", json=ack, headers=bearer(claimed))
        assert beat.json() == {"ok": True, "next_wake": False}
        done = await client.post(f"{SUBSCRIPTION}/ack", json={**ack, "done": True}, headers=bearer(claimed))
        assert done.json() == {"ok": True, "next_wake": True}
        again = await client.post(f"{SUBSCRIPTION}/ack", json={**ack, "done": True}, headers=bearer(claimed))
        assert code(again) == (409, "FENCED")
        assert (await claim(client)).json()["streams"][0]["acked_offset"] == tail


async def test_a_release_acknowledges_nothing() -> None:
    async with subscribed(PULL) as client:
        claimed = await claim(client)
        released = await client.post(f"{SUBSCRIPTION}/release", json=naming(claimed), headers=bearer(claimed))
        assert (released.status_code, released.content) == (204, b"")
        again = await claim(client)
        assert (again.json()["generation"], again.json()["streams"][0]["has_pending"]) == (2, True)


@pytest.mark.parametrize("offset", ["-1", "now", "nonsense"])
async def test_an_ack_of_no_place_in_the_stream_is_refused(offset: str) -> None:
    async with subscribed(PULL) as client:
        claimed = await claim(client)
        token = claimed.json()["streams"][0]["tail_offset"]
        beyond = f"{token[:17]}{int(token[17:]) + 1:016d}"
        for stream, place in (("events/a", offset), ("events/a", beyond), ("unknown", token)):
            ack = naming(claimed, acks=[{"stream": stream, "offset": place}], done=True)
            answer = await client.post(f"{SUBSCRIPTION}/ack", json=ack, headers=bearer(claimed))
            assert code(answer) == (409, "INVALID_OFFSET")


async def test_a_stream_that_was_created_anew_is_pending_from_its_start() -> None:
    async with subscribed({**PULL, "streams": ["events/a"]}) as client:
        claimed = await claim(client)
        old = claimed.json()["streams"][0]["tail_offset"]
        ack = naming(claimed, acks=[{"stream": "events/a", "offset": old}])
        assert (await client.post(f"{SUBSCRIPTION}/ack", json=ack, headers=bearer(claimed))).status_code == 200
        await client.delete("/v1/events/a")
        await client.put("/v1/events/a", headers=JSON, content=b'["anew"]')
        done = await client.post(f"{SUBSCRIPTION}/ack", json={**ack, "done": True}, headers=bearer(claimed))
        assert done.json() == {"ok": True, "next_wake": True}
        [line] = (await claim(client)).json()["streams"]
        assert (line["acked_offset"], line["has_pending"]) == ("-1", True)


async def test_a_fork_is_pending_from_where_it_left_its_source() -> None:
    async with subscribed(PULL) as client:
        await client.put("/v1/other", headers=JSON, content=b'["inherited"]')
        tail = (await client.head("/v1/other")).headers[NEXT_OFFSET]
        await client.put("/v1/events/fork", headers={**JSON, "Stream-Forked-From": "/v1/other"})
        await client.post("/v1/events/fork", headers=JSON, content=b'"own"')
        claimed = await claim(client)
        lines = {line["path"]: line for line in claimed.json()["streams"]}
        assert lines["events/fork"]["acked_offset"] == tail
        ack = naming(claimed, acks=[{"stream": "events/fork", "offset": tail}])
        assert (await client.post(f"{SUBSCRIPTION}/ack", json=ack, headers=bearer(claimed))).status_code == 200


async def test_a_stream_with_an_end_is_listed_until_it_has_come() -> None:
    async with subscribed() as client:
        await client.put("/v1/ended", headers={**JSON, "Stream-Expires-At": "2020-01-01T00:00:00Z"})
        await client.put("/v1/open", headers={**JSON, "Stream-Expires-At": "2999-01-01T00:00:00Z"})
        await client.put("/v1/sliding", headers={**JSON, "Stream-TTL": "3600"})
        page = (await client.get("/v1/__ds/streams")).json()
        assert [stream["path"] for stream in page["streams"]] == ["open", "sliding"]


async def test_tokens_are_of_one_subscription() -> None:
    async with subscribed(PULL) as client:
        claimed = await claim(client)
        url = "/v1/__ds/subscriptions/other"
        await client.put(url, json=PULL)
        wrong = await client.post(f"{url}/ack", json=naming(claimed), headers=bearer(claimed))
        assert code(wrong) == (401, "TOKEN_INVALID")
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
            answer = await client.post(f"{SUBSCRIPTION}/ack", json=naming(claimed), headers=headers)
            assert code(answer) == (401, "TOKEN_INVALID")
        kind = await client.post(f"{SUBSCRIPTION}/callback", json=naming(claimed), headers=bearer(claimed))
        assert code(kind) == (400, "INVALID_REQUEST")


async def test_wake_tokens_work_beside_the_servers_own_authorisation_and_only_there() -> None:
    own = {"Authorization": "Bearer service"}
    async with subscribed(authorize=require_token(["service"])) as client:
        await client.put("/v1/wake/pool", headers={**JSON, **own})
        assert (await client.put(SUBSCRIPTION, json=PULL)).status_code == 401
        assert (await client.put(SUBSCRIPTION, json=PULL, headers=own)).status_code == 201
        await client.put("/v1/events/a", headers={**JSON, **own}, content=b"[1]")
        assert (await claim(client)).status_code == 401
        claimed = await client.post(f"{SUBSCRIPTION}/claim", json={"worker": "w"}, headers=own)
        assert (await client.get("/v1/__ds/jwks.json")).status_code == 200
        assert (await client.get("/v1/__ds/streams")).status_code == 401
        ack = await client.post(f"{SUBSCRIPTION}/ack", json=naming(claimed), headers=bearer(claimed))
        assert ack.status_code == 200
        assert (await client.get("/v1/events/a", headers=bearer(claimed))).status_code == 401


# -- the listing


async def test_streams_that_live_are_listed_by_prefix_and_page() -> None:
    async with subscribed() as client:
        for path in ("a/1", "a/2", "a/3", "b", "a%20x"):
            await client.put(f"/v1/{path}", headers=JSON)
        await client.put("/v2/a/1", headers=JSON)
        await client.delete("/v1/a/2")
        seen, after = [], ""
        while after is not None:
            page = (await client.get("/v1/__ds/streams", params={"prefix": "a", "limit": "1", "after": after})).json()
            seen += [stream["path"] for stream in page["streams"]]
            after = page["next"]
        assert seen == ["a%20x", "a/1", "a/3"]
        everything = (await client.get("/v1/__ds/streams")).json()
        assert ([stream["path"] for stream in everything["streams"]], everything["next"]) == (
            ["a%20x", "a/1", "a/3", "b"],
            None,
        )
        for limit in ("0", "1001", "many"):
            assert code(await client.get("/v1/__ds/streams", params={"limit": limit})) == (400, "INVALID_REQUEST")
