"""Measure how a sandbox starts: from the first import to the first acknowledged append, beside the SDK's own start.

    python -m bench.cold_start [--rounds 15]                        on a MinIO of its own
    python -m bench.cold_start --store s3://bucket --endpoint-url http://host:9000

Each start is a process of its own that has nothing but a function's artifact, built for this machine. The bare one
imports aioboto3 and makes an S3 client, as any function on S3 must; the others load `handler.aws` and answer one event,
an append to a stream that is there. They take turns, so only the ratio of one run counts; that of their own CPU time
does not notice who else uses the machine. What the artifact weighs follows, the heaviest first.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from handler import bundle
from tests.bucket.servers import CREDENTIALS, run_minio
from tests.install_minio import find_minio

BARE = """\
import sys, time
began, used = time.perf_counter(), time.process_time()
sys.path.insert(0, sys.argv[1])
import asyncio, os
import aioboto3

async def main():
    url = os.environ["DURABLE_STREAMS_ENDPOINT_URL"]
    async with aioboto3.Session().client("s3", endpoint_url=url):
        print(0, time.perf_counter() - began, time.process_time() - used)

asyncio.run(main())
"""
OURS = """\
import sys, time
began, used = time.perf_counter(), time.process_time()
sys.path.insert(0, sys.argv[1])
import json, os
os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "bench"
from handler.aws import handler
loaded = time.perf_counter() - began

class Context:
    def get_remaining_time_in_millis(self):
        return 30_000

answer = handler(json.loads(sys.argv[2]), Context())
assert answer["statusCode"] in (201, 204), answer
print(loaded, time.perf_counter() - began, time.process_time() - used)
"""


def main() -> None:
    """Run the starts in turns, and print what they took."""
    parser = argparse.ArgumentParser(description="Measure how a sandbox starts.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--store", default="")
    parser.add_argument("--endpoint-url", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, store_of(given.store, given.endpoint_url) as (store, endpoint_url):
        artifact = Path(folder) / "function"
        bundle.bundle(artifact, [*bundle.NEEDED, *bundle.OF_OBSTORE], for_host=True)
        environment = {
            **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
            "DURABLE_STREAMS_STORE": f"{store}/cold-{uuid.uuid4().hex[:8]}",
            "DURABLE_STREAMS_ENDPOINT_URL": endpoint_url,
        }
        _measure(artifact, environment, given.rounds)
        _print_weights(artifact)


@contextlib.contextmanager
def store_of(store: str, endpoint_url: str) -> Iterator[tuple[str, str]]:
    """Yield a bucket and where it is: the one named, or a new one on a MinIO of its own."""
    if store:
        yield store, endpoint_url
        return
    binary = find_minio()
    if binary is None:
        raise SystemExit("there is no MinIO here: run `python tests/install_minio.py`, or name a --store")
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory() as folder, run_minio(binary, Path(folder)) as server:
        yield f"s3://{server.new_bucket()}", server.endpoint_url


def _measure(artifact: Path, environment: dict[str, str], rounds: int) -> None:
    _start("first", OURS, artifact, environment, _event("PUT", b""))  # the stream, and the disk's caches
    ways = {
        "bare": (BARE, environment),
        "aioboto3": (OURS, environment),
        "obstore": (OURS, {**environment, "DURABLE_STREAMS_S3_DRIVER": "obstore"}),
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, (code, variables) in sorted(ways.items(), reverse=bool(number % 2)):
            taken[name].append(_start(name, code, artifact, variables, _event("POST", f"append {number}".encode())))
    print(f"{'':44} wall clock          CPU")
    for name in ways:
        _, wall, cpu = (statistics.median(each) for each in zip(*taken[name], strict=True))
        what = "import aioboto3, make an S3 client" if name == "bare" else f"first acknowledged append, {name}"
        ratios = [_ratio(taken[name], taken["bare"], which) for which in (1, 2)]
        print(f"{what:40} {wall * 1000:6.0f} ms  {ratios[0]:.2f}   {cpu * 1000:6.0f} ms  {ratios[1]:.2f}")
    for name in ("aioboto3", "obstore"):
        loaded = statistics.median(each[0] for each in taken[name])
        print(f"before the first event, and so in a snapshot: {loaded * 1000:.0f} ms of {name}'s")


def _ratio(ours: list[list[float]], alone: list[list[float]], which: int) -> float:
    return statistics.median(a[which] / b[which] for a, b in zip(ours, alone, strict=True))


def _start(name: str, code: str, artifact: Path, environment: dict[str, str], event: str) -> list[float]:
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "faulthandler", "-c", code, str(artifact), event],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(_failure(name, ran))
    return [float(number) for number in ran.stdout.split()]


def _failure(name: str, ran: "subprocess.CompletedProcess[str]") -> str:
    """Say all that is known of a start that failed. A signal without a word leaves the rest to a core."""
    how = f"signal {signal.Signals(-ran.returncode).name}" if ran.returncode < 0 else f"exit code {ran.returncode}"
    when = "after its answer" if ran.stdout else "before its answer"
    core = f"; where its core is, if `ulimit -c` allows one: {_core()}" if ran.returncode < 0 else ""
    return f"a start ({name}) ended with {how}, {when}{core}\n{ran.stderr or 'it said nothing'}"


def _core() -> str:
    try:
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    except OSError:
        return "see this system's manual"
    return pattern if pattern.startswith(("/", "|")) else str(Path.cwd() / pattern)


def _event(method: str, body: bytes) -> str:
    return json.dumps(
        {
            "version": "2.0",
            "rawPath": "/cold",
            "rawQueryString": "",
            "headers": {"host": "bench", "content-type": "text/plain"},
            "requestContext": {
                "stage": "$default",
                "http": {"method": method, "path": "/cold", "sourceIp": "127.0.0.1"},
            },
            "body": body.decode(),
            "isBase64Encoded": False,
        }
    )


def _print_weights(artifact: Path) -> None:
    weights = bundle.weigh(artifact)
    print(
        f"\nthe artifact weighs {sum(weights.values()) / 1e6:.1f} MB, obstore's {weights['obstore'] / 1e6:.1f} included"
    )
    for name, size in list(weights.items())[:12]:
        print(f"  {size / 1e6:6.1f} MB  {name}")


if __name__ == "__main__":
    main()
