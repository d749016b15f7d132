"""A minute of faults: followers of a stream get every byte once while the server is killed and the network fails.

Our server stands on a file, so that what it acknowledged survives its death. Writer and readers all go through the
proxy.
"""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from durable_streams_client import AsyncClient, Client, Limits, Retry, Timeouts
from durable_streams_client.errors import DurableStreamError

from tests.sdk.proxy import Proxy
from tests.sdk.servers import ServerProcess, own_command, run_server

FAULT_SECONDS = 60.0
SEED = 20251
STUBBORN = Retry(max_retries=None, initial_delay_seconds=0.02, max_delay_seconds=0.5)
TIMEOUTS = Timeouts(connect_seconds=2, attempt_seconds=5, live_silence_seconds=3)
MESSAGE_SECONDS = 0.005
# Long enough that responses are cut within a message, and different each time.
FILLER = "0123456789abcdef" * 20


@pytest.fixture
def durable_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Our server on a file."""
    with run_server(own_command(f"sqlite:///{tmp_path}/streams.db")) as server:
        yield server


class Follower(threading.Thread):
    """Follow a stream to its end in a thread, by one shell and mode, and keep what was delivered."""

    def __init__(self, url: str, path: str, live: Any, *, asynchronous: bool) -> None:
        super().__init__(daemon=True)
        self.values: list[Any] = []
        self.pieces: list[bytes] = []
        self.error: BaseException | None = None
        self._options: dict[str, Any] = {"retry": STUBBORN, "follow_retry": STUBBORN, "timeouts": TIMEOUTS}
        self._url, self._path, self._live, self._asynchronous = url, path, live, asynchronous

    def run(self) -> None:
        try:
            if self._asynchronous:
                asyncio.run(self._follow_async())
            else:
                self._follow()
        except BaseException as error:
            self.error = error

    def _follow(self) -> None:
        with Client(self._url, **self._options) as client, client.stream(self._path).read(live=self._live) as reader:
            if self._path.endswith("json"):
                for value in reader.json():
                    self.values.append(value)
            else:
                for piece in reader.bytes():
                    self.pieces.append(piece)

    async def _follow_async(self) -> None:
        async with (
            AsyncClient(self._url, **self._options) as client,
            client.stream(self._path).read(live=self._live) as reader,
        ):
            if self._path.endswith("json"):
                async for value in reader.json():
                    self.values.append(value)
            else:
                async for piece in reader.bytes():
                    self.pieces.append(piece)


class Writer(threading.Thread):
    """Append numbered messages through a producer until told to stop, then close the stream."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.enough = threading.Event()
        self.error: BaseException | None = None
        self._url, self._path = url, path

    def run(self) -> None:
        try:
            with Client(self._url, retry=STUBBORN, timeouts=TIMEOUTS) as client:
                stream = client.stream(self._path)
                producer = stream.producer("writer", limits=Limits(max_in_flight=3), retry=STUBBORN)
                while not self.enough.wait(MESSAGE_SECONDS):
                    if self._path.endswith("json"):
                        producer.append_json([self.count, FILLER])
                    else:
                        producer.append(b"%d:%s\n" % (self.count, FILLER.encode()))
                    self.count += 1
                producer.close()
        except BaseException as error:
            self.error = error


def misbehave(server: ServerProcess, proxy: Proxy, chance: random.Random, until: float) -> dict[str, int]:
    """Break one thing after another until it is time to stop; return what was done how often."""
    done = dict.fromkeys(("kill", "restart", "cut", "slow", "refuse", "cut within"), 0)
    while time.monotonic() < until:
        fault = chance.choice(list(done))
        done[fault] += 1
        match fault:
            case "kill" | "restart":
                if fault == "kill":
                    server.kill()
                else:
                    server.stop()
                time.sleep(chance.uniform(0.0, 1.0))
                server.start()
            case "cut":
                proxy.cut_everything()
            case "slow":
                proxy.dribbling = True
                time.sleep(chance.uniform(0.5, 2.0))
                proxy.dribbling = False
            case "refuse":
                proxy.refusing = True
                proxy.cut_everything()
                time.sleep(chance.uniform(0.1, 1.0))
                proxy.refusing = False
            case "cut within":
                proxy.cut_after_bytes = chance.randint(20, 3000)
                proxy.cut_everything()  # so that every connection is a new one, with a length of its own
                time.sleep(chance.uniform(0.5, 1.5))
                proxy.cut_after_bytes = None
        time.sleep(chance.uniform(0.1, 0.8))
    return done


def test_a_minute_of_faults_loses_and_repeats_nothing(durable_server: ServerProcess) -> None:
    paths = {"json": "application/json", "bytes": "application/octet-stream"}
    with Client(durable_server.url) as client:
        for path, content_type in paths.items():
            client.stream(path).create(content_type)
    with Proxy(durable_server.port, seed=SEED) as proxy:
        writers = {path: Writer(proxy.url, path) for path in paths}
        followers = [
            Follower(proxy.url, path, live, asynchronous=asynchronous)
            for path in paths
            for live in ("sse", "long-poll", True)
            for asynchronous in (False, True)
        ]
        for thread in (*writers.values(), *followers):
            thread.start()
        done = misbehave(durable_server, proxy, random.Random(SEED), time.monotonic() + FAULT_SECONDS)
        assert all(done.values()), f"a minute without some kind of fault proves less: {done}"
        for writer in writers.values():
            writer.enough.set()
        for thread in (*writers.values(), *followers):
            thread.join(timeout=60)
            assert not thread.is_alive(), "somebody never came to the end"
            assert getattr(thread, "error", None) is None
        assert proxy.cuts > 20
        assert all(writer.count > 1000 for writer in writers.values())
    written = {
        "json": [[number, FILLER] for number in range(writers["json"].count)],
        "bytes": b"".join(b"%d:%s\n" % (number, FILLER.encode()) for number in range(writers["bytes"].count)),
    }
    for follower in followers:
        if follower._path == "json":
            assert follower.values == written["json"]
        else:
            assert b"".join(follower.pieces) == written["bytes"]


def test_retries_end_and_say_what_was_tried(durable_server: ServerProcess) -> None:
    durable_server.kill()
    hasty = Retry(max_retries=2, initial_delay_seconds=0.01)
    with Client(durable_server.url, retry=hasty, follow_retry=hasty) as client:
        stream = client.stream("nowhere")
        for act in (stream.head, stream.create, lambda: list(stream.read()), lambda: list(stream.read(live=True))):
            with pytest.raises(DurableStreamError, match="ConnectError") as caught:
                act()
            assert caught.value.code == "CONNECTION_FAILED"
