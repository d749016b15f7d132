"""Measure the server over HTTP: appends, tail reads, catch-up; beside them what the store was asked for.

    python -m bench.http [--store URL] [--endpoint-url URL] [--seconds N] [--reference]

Rates are of this machine in this minute; only ratios within one run say anything.
"""

import argparse
import http.client
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bench import servers, wrk

CATCH_UP_BYTES = 100_000_000
PIECE_BYTES = 100_000


class Row(msgspec.Struct):
    """One line of the table. `rate` in requests per second, or megabytes per second for catch-up."""

    name: str
    rate: float
    median_ms: float = float("nan")
    p99_ms: float = float("nan")
    errors: int = 0
    store: str = ""


class Server:
    """A server under measurement."""

    def __init__(self, running: servers.Running) -> None:
        self.base = running.base
        self.counts = running.counts

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=60)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        return connection.getresponse()

    def create(self, count: int = 1) -> list[str]:
        """Create streams and return their paths."""
        paths = [f"/bench/{uuid.uuid4().hex}" for _ in range(count)]
        for path in paths:
            response = self.request("PUT", path, Content_Type="application/octet-stream")
            if response.status != 201:
                raise RuntimeError(f"PUT {path}: {response.status} {response.read()!r}")
        return paths

    def measured(self, name: str, run: Callable[[], wrk.Report]) -> Row:
        """Run, and put what the store was asked for meanwhile beside it."""
        before = self.counts()
        report = run()
        used = {verb: n - before.get(verb, 0) for verb, n in self.counts().items() if n > before.get(verb, 0)}
        store = ", ".join(f"{n / max(report.requests, 1):.3f} {verb}" for verb, n in sorted(used.items()))
        return Row(name, report.rate, report.median_ms, report.p99_ms, report.errors, store)


def measure(server: Server, seconds: int) -> list[Row]:
    """Run every workload."""
    (one,) = server.create()
    many = server.create(100)
    rows = [
        server.measured("append, 1 stream x 64", lambda: wrk.append(server.base, [one], 64, seconds)),
        server.measured("append, 1 stream x 1", lambda: wrk.append(server.base, [one], 1, seconds)),
        server.measured("append, 100 streams x 64", lambda: wrk.append(server.base, many, 64, seconds)),
    ]
    tail = server.request("HEAD", one).getheader("Stream-Next-Offset")
    rows.append(
        server.measured("read at the tail x 64", lambda: wrk.read(f"{server.base}{one}?offset={tail}", 64, seconds))
    )
    rows.append(catch_up(server))
    return rows


def catch_up(server: Server) -> Row:
    """Write 100 MB in pieces of 100 kB, then read them from the start, page after page, on one connection."""
    (path,) = server.create()
    piece = bytes(range(256)) * (PIECE_BYTES // 256 + 1)
    writing = http.client.HTTPConnection(urlsplit(server.base).netloc, timeout=60)
    for _ in range(CATCH_UP_BYTES // PIECE_BYTES):
        writing.request("POST", path, piece[:PIECE_BYTES], {"Content-Type": "application/octet-stream"})
        writing.getresponse().read()
    before = server.counts()
    began = time.perf_counter()
    read = pages = 0
    offset = "-1"
    reading = http.client.HTTPConnection(urlsplit(server.base).netloc, timeout=60)
    while True:
        reading.request("GET", f"{path}?offset={offset}")
        response = reading.getresponse()
        read += len(response.read())
        pages += 1
        offset = response.getheader("Stream-Next-Offset") or "-1"
        if response.getheader("Stream-Up-To-Date") == "true":
            break
    seconds = time.perf_counter() - began
    if read != CATCH_UP_BYTES // PIECE_BYTES * PIECE_BYTES:
        raise RuntimeError(f"{read} bytes came back")
    used = {verb: n - before.get(verb, 0) for verb, n in server.counts().items() if n > before.get(verb, 0)}
    store = ", ".join(f"{n} {verb}" for verb, n in sorted(used.items()))
    return Row(f"catch-up of 100 MB, {pages} pages (MB/s)", read / seconds / 1e6, store=store)


def show(title: str, rows: list[Row], against: list[Row] | None = None) -> None:
    """Print a table; with `against`, the ratio of each rate to the row of the same place there."""
    print(f"\n{title}")
    print(f"  {'':40} {'per second':>11} {'median ms':>10} {'p99 ms':>9} {'errors':>7}  store requests per request")
    for place, row in enumerate(rows):
        ratio = f"  x {row.rate / against[place].rate:.2f}" if against else ""
        figures = f"{row.rate:11,.0f} {row.median_ms:10.2f} {row.p99_ms:9.2f} {row.errors:7}"
        print(f"  {row.name:40} {figures}  {row.store}{ratio}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__)
    parser.add_argument("--store", help="the store to serve from; by default a SQLite file in a temporary folder")
    parser.add_argument("--endpoint-url", help="of an S3 store that is not Amazon's")
    parser.add_argument("--seconds", type=int, default=5, help="of every workload (default 5)")
    parser.add_argument("--reference", action="store_true", help="measure the reference Node server too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = arguments.store or f"sqlite://{folder}/streams.db"
        options = ["--endpoint-url", arguments.endpoint_url] if arguments.endpoint_url else []
        ours = stack.enter_context(servers.running(servers.ours(store, *options), counted=True))
        rows = measure(Server(ours), arguments.seconds)
        show(f"this server on {store}", rows)
        if arguments.reference:
            for title, data in (("durable", Path(folder, "reference")), ("in memory", None)):
                if data is not None:
                    data.mkdir()
                with servers.running(servers.reference(data)) as reference:
                    theirs = measure(Server(reference), arguments.seconds)
                show(f"the reference server, {title}", theirs)
                show(f"this server against it, {title}", rows, theirs)


if __name__ == "__main__":
    main()
