"""The two modules that hold the protocol's names, one on each side of the wire, say the same."""

from types import ModuleType

from durable_streams_client.core import names as of_the_client

from handler.core import names as of_the_server
from storage.core.offset import Sentinel


def constants(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name.isupper()}


def test_a_name_that_both_sides_have_is_the_same_on_both() -> None:
    server, client = constants(of_the_server), constants(of_the_client)
    shared = server.keys() & client.keys()
    assert {name: server[name] for name in shared} == {name: client[name] for name in shared}
    assert "STREAM_NEXT_OFFSET" in shared
    assert "PRODUCER_ID" in shared


def test_a_header_has_one_name_on_each_side() -> None:
    for module in (of_the_server, of_the_client):
        headers = [value for name, value in constants(module).items() if name.startswith(("STREAM_", "PRODUCER_"))]
        assert len(headers) == len(set(headers))


def test_every_protocol_header_that_the_client_knows_the_server_knows_too() -> None:
    def headers(module: ModuleType) -> set[object]:
        return {value for value in constants(module).values() if str(value).startswith(("Stream-", "Producer-"))}

    assert headers(of_the_client) <= headers(of_the_server)


def test_the_words_for_the_two_ends_are_the_servers() -> None:
    assert Sentinel.START.value == of_the_client.OFFSET_BEGINNING
    assert Sentinel.NOW.value == of_the_client.OFFSET_NOW
