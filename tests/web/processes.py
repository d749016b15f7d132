"""The server as a process: started, spoken to, stopped and killed as an operator does."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0  # two processes on a machine under load take their time
STOP_SECONDS = 30.0


class ServerProcess:
    """A server on a free port that says what it says."""

    def __init__(self, store: str, *options: str, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "handler", "serve", "--store", store]
        if "--port" not in options:
            command += ["--port", "0"]
        self.said: list[str] = []
        self.complained: list[str] = []
        self._process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=None if environment is None else dict(environment),
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=_collect, args=(self._process.stdout, self.said), daemon=True),
            threading.Thread(target=_collect, args=(self._process.stderr, self.complained), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process that was started; with several workers, the one that watches over them."""
        return self._process.pid

    def url(self) -> str:
        """Return the address that the banner names, when it is there."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = re.search(r"Durable Streams on (http://\S+?),?\s", "".join(self.said))
            if found:
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the server did not start: {self.said} {self.complained}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop, wait until it has; return its exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends; return its exit code."""
        code = self._process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        return code

    def close(self) -> None:
        """Make sure that nothing is left of it."""
        if self._process.poll() is None:
            self._process.kill()
        self.wait()


def _collect(pipe: IO[str], lines: list[str]) -> None:
    with pipe:
        lines.extend(pipe)


@contextmanager
def server(store: str, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Run a server for a test."""
    process = ServerProcess(store, *options, environment=environment)
    try:
        yield process
    finally:
        process.close()
