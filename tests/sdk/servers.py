"""Servers as processes of their own, which tests may stop, kill and start again on the same port."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

NODE_FOLDER = Path(__file__).parents[1] / "node"
START_SECONDS = 30.0


def own_command(store: str = "memory:") -> list[str]:
    """Return the command of our server, with faults on demand."""
    return [sys.executable, "-m", "tests.sdk.injection", "--store", store]


def node_command(*arguments: str) -> list[str]:
    """Return the command of the reference server."""
    return ["node", str(NODE_FOLDER / "reference-server.mjs"), *arguments]


def node_is_installed() -> bool:
    """Tell whether the reference server can be started."""
    return (NODE_FOLDER / "node_modules" / "@durable-streams" / "server").is_dir()


class ServerProcess:
    """One server; it keeps its port over restarts."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it and wait until it listens."""
        command = [*self._command, "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("listening "), f"{command} said {line!r}"
        self.port = int(line.split()[1])
        return self

    def kill(self) -> None:
        """Kill it as a crash would: no goodbye on any connection."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to stop, and insist after a while."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def run_server(command: Sequence[str]) -> Iterator[ServerProcess]:
    """Run a server for a while."""
    server = ServerProcess(command)
    try:
        yield server.start()
    finally:
        server.stop()


def wait_until(condition: object, seconds: float = START_SECONDS) -> None:
    """Wait until a function of no arguments returns something true."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
