"""Start what is measured as a process of its own, and stop it. Knows command lines."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).parent.parent
REFERENCE = REPOSITORY / "tests" / "node" / "reference-server.mjs"


class Running(msgspec.Struct, frozen=True):
    """A server process and where it listens."""

    base: str
    process: "subprocess.Popen[str]"
    counts_file: Path | None

    def counts(self) -> dict[str, int]:
        """Return how often each verb of the store was used so far; empty where nobody counts."""
        if self.counts_file is None:
            return {}
        self.counts_file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        while not self.counts_file.exists():
            time.sleep(0.01)
        return msgspec.json.decode(self.counts_file.read_bytes(), type=dict[str, int])


@contextlib.contextmanager
def running(command: list[str], *, counted: bool = False) -> Iterator[Running]:
    """Run a server that prints the address it listens on."""
    with tempfile.TemporaryDirectory() as folder:
        counts_file = Path(folder, "counts")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "DURABLE_STREAMS_BENCH_COUNTS": str(counts_file)},
        )
        try:
            base = f"http://127.0.0.1:{_port(process)}"
            yield Running(base, process, counts_file if counted else None)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: "subprocess.Popen[str]") -> int:
    said = []
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            break
        said.append(line)
        found = re.search(r"(?:127\.0\.0\.1:|listening )(\d+)", line)
        if found:
            return int(found[1])
    raise RuntimeError(f"the server did not start: {''.join(said)}")


def ours(store: str, *options: str) -> list[str]:
    """This server, counting its requests to the store."""
    return [sys.executable, "-m", "bench.counted", "serve", "--port", "0", "--store", store, *options]


def reference(data: Path | None) -> list[str]:
    """The reference Node server: durable with a data directory, in memory without."""
    return ["node", str(REFERENCE), "--port", "0", *([] if data is None else ["--data", str(data)])]
