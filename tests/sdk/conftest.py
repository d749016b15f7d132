"""Servers for the client's tests: our own with faults on demand, and the reference one from npm."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.sdk.cases import AdapterProcess
from tests.sdk.servers import ServerProcess, node_command, node_is_installed, own_command, run_server
from tests.sdk.shells import open_client

CASES_FOLDER = Path(__file__).parents[3] / "shared" / "reference" / "client-conformance"


@pytest.fixture(scope="session")
def own_server() -> Iterator[ServerProcess]:
    """Our server."""
    with run_server(own_command()) as server:
        yield server


@pytest.fixture(scope="session")
def node_server() -> Iterator[ServerProcess]:
    """The reference server; skips the test by name where it is not installed."""
    if not node_is_installed():
        pytest.skip("the reference server is not installed: run `npm install` in tests/node")
    with run_server(node_command()) as server:
        yield server


@pytest.fixture(scope="session", params=["own", "node"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    """Each of the servers in turn: the client is one for the protocol."""
    server = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(server, ServerProcess)
    return server


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Whether the shell under test is the asynchronous one."""
    return bool(request.param)


@pytest.fixture
async def client(any_server: ServerProcess, asynchronous: bool) -> AsyncIterator[Any]:
    """Each shell in turn, with the face of AsyncClient, at each of the servers."""
    client = open_client(any_server.url, asynchronous=asynchronous)
    yield client
    await client.aclose()


@pytest.fixture
def path() -> str:
    """A path that no other test uses."""
    return f"/sdk/{uuid.uuid4().hex}"


@pytest.fixture(scope="session", params=[False, True], ids=["sync", "async"])
def adapter(request: pytest.FixtureRequest, own_server: ServerProcess) -> Iterator[AdapterProcess]:
    """The adapter of each shell in turn, as a process, against our server."""
    process = AdapterProcess(own_server.url, asynchronous=request.param)
    yield process
    assert process.shut_down() == 0


@pytest.fixture(scope="session")
def plain_http() -> Iterator[httpx.Client]:
    """What the runner of the cases asks the server with."""
    with httpx.Client(timeout=30) as http:
        yield http
