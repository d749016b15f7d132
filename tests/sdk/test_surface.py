"""What a program can rely on: names, twins, layers."""

import ast
import inspect
from pathlib import Path

import durable_streams_client
import pytest
from durable_streams_client import (
    AsyncClient,
    AsyncProducer,
    AsyncReader,
    AsyncStream,
    Client,
    Producer,
    Reader,
    Stream,
    errors,
)

PACKAGE = Path(durable_streams_client.__file__).parent
NAMES = [
    "AmbiguousWrite", "Appended", "AsyncClient", "AsyncProducer", "AsyncReader", "AsyncStream", "BadAnswer",
    "BadRequest", "Batch", "Cdn", "Client", "Closed", "Conflict", "ConnectionFailed", "Created",
    "DurableStreamError", "Fenced", "Gone", "Head", "InvalidOffset", "Limits", "Live", "MalformedReply",
    "NotFound", "NotSupported", "OffsetGone", "Position", "Producer", "RateLimited", "Reader", "Retry",
    "RetryLater", "SequenceConflict", "StaleCache", "Stream", "StreamClosed", "StreamOver", "TimedOut",
    "Timeouts", "TooLarge", "Unauthorized", "Unavailable", "UnexpectedStatus", "WrongCall", "__version__",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert sorted(durable_streams_client.__all__) == NAMES
    for name in NAMES:
        assert getattr(durable_streams_client, name)


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(Client, AsyncClient), (Stream, AsyncStream), (Reader, AsyncReader), (Producer, AsyncProducer)],
)
def test_twins_have_the_same_methods_with_the_same_arguments(blocking: type, asynchronous: type) -> None:
    def public(kind: type) -> dict[str, list[str]]:
        names = [name for name in dir(kind) if not name.startswith("_")]
        methods = {name: getattr(kind, name) for name in names if callable(getattr(kind, name))}
        return {name: list(inspect.signature(method).parameters) for name, method in methods.items()}

    ours, theirs = public(blocking), public(asynchronous)
    # What releases a client or a reader is named as in httpx; a stream's and a producer's `close` is the protocol's.
    if blocking in (Client, Reader):
        ours["aclose"] = ours.pop("close")
    assert ours == theirs


def test_every_public_thing_is_documented() -> None:
    for kind in (Client, Stream, Reader, Producer, AsyncClient, AsyncStream, AsyncReader, AsyncProducer):
        assert kind.__doc__
        for name, member in vars(kind).items():
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
    for name in errors.__all__:
        assert name in (errors.__doc__ or "")


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    assert len({kind.code for kind in kinds}) == len(kinds)


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_client_imports_nothing_of_the_service_and_its_core_does_no_input_or_output() -> None:
    forbidden = {"asyncio", "threading", "time", "random", "uuid", "socket", "ssl", "httpx", "os", "subprocess"}
    for path in PACKAGE.rglob("*.py"):
        roots = {name.partition(".")[0] for name in imports(path)}
        assert not roots & {"handler", "storage"}, path
        if path.parent.name == "core":
            assert not roots & forbidden, path
            assert not {name for name in imports(path) if name.startswith("durable_streams_client.")} - {
                "durable_streams_client.errors",
                "durable_streams_client.models",
                *(f"durable_streams_client.core.{other.stem}" for other in path.parent.glob("*.py")),
                "durable_streams_client.core",
            }, path


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
