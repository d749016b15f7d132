"""The protocol's public suite for servers, on each store: how many cases ran, and which of them failed."""

import json
import os
import subprocess
from collections.abc import Set
from pathlib import Path

import pytest

from tests.bucket.servers import S3Server
from tests.web.nginx import free_port, nginx, round_robin
from tests.web.processes import REPOSITORY, server

NODE = REPOSITORY / "tests" / "node"
CASES = 338  # of version 0.3.6, with subscriptions
CASE_MS = 60_000  # hundreds of appends in one case are more than vitest's 5 s where an S3 server shares two busy cores
SUITE_SECONDS = 600.0  # it takes 35 s where nothing else runs; some cases wait for an expiry
TIMED = "TTL Expiration Behavior"
FAILING: frozenset[str] = frozenset()  # names of cases that cannot pass, with the reason beside each


def run_suite(url: str, folder: Path, failing: Set[str] = FAILING) -> None:
    """Run all cases against a server, and compare what failed with what is known to."""
    outcome = run_cases(url, folder)
    assert len(outcome) == CASES, f"{len(outcome)} of {CASES} cases were executed"
    failed = {name: why for name, why in outcome.items() if why and name not in failing}
    if failed and all(name.startswith(TIMED) for name in failed):
        # They race a wall clock: on a machine too busy for them they are tried once more, with nothing before them.
        failed = {name: why for name, why in run_cases(url, folder, TIMED).items() if why and name not in failing}
    assert not failed, failed
    passed = failing - {name for name, why in outcome.items() if why}
    assert not passed, f"these are said to fail, and passed: {passed}"


def run_cases(url: str, folder: Path, pattern: str = "") -> dict[str, list[str]]:
    """Run the cases whose names match; return why each failed, nothing for those that passed."""
    vitest = NODE / "node_modules" / ".bin" / "vitest"
    if not vitest.exists():
        pytest.skip("the public suite is not installed: run `npm install` in tests/node")
    report = folder / "suite.json"
    report.unlink(missing_ok=True)
    ran = subprocess.run(
        [
            vitest,
            "run",
            "conformance.test.mjs",
            "--reporter=json",
            f"--outputFile={report}",
            f"--testTimeout={CASE_MS}",
            *((f"--testNamePattern={pattern}",) if pattern else ()),
        ],
        cwd=NODE,
        env={**os.environ, "DURABLE_STREAMS_URL": url},
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    assert report.exists(), f"the suite did not run: {ran.stdout}{ran.stderr}"
    cases = [case for file in json.loads(report.read_text())["testResults"] for case in file["assertionResults"]]
    return {
        case["fullName"]: case["failureMessages"][:1] if case["status"] == "failed" else []
        for case in cases
        if case["status"] in ("passed", "failed")
    }


def test_the_public_suite_passes_on_an_sqlite_file(sqlite_path: Path, tmp_path: Path) -> None:
    with server(f"sqlite://{sqlite_path}", "--long-poll-timeout", "1s") as process:
        run_suite(process.url(), tmp_path)
        assert process.stop() == 0
        assert process.complained == []


def test_the_public_suite_passes_on_moto(moto: S3Server, moto_bucket: str, tmp_path: Path) -> None:
    options = ("--endpoint-url", moto.endpoint_url, "--long-poll-timeout", "1s")
    with server(moto_bucket, *options) as process:
        run_suite(process.url(), tmp_path)


def test_the_public_suite_passes_on_minio(minio: S3Server, minio_bucket: str, tmp_path: Path) -> None:
    options = ("--endpoint-url", minio.endpoint_url, "--long-poll-timeout", "1s")
    with server(minio_bucket, *options) as process:
        run_suite(process.url(), tmp_path)


def test_the_public_suite_passes_on_two_processes_taken_in_turn(
    minio: S3Server, minio_bucket: str, tmp_path: Path
) -> None:
    """Two servers on one bucket, behind a proxy that sends each request to the other one than the last."""
    options = ("--endpoint-url", minio.endpoint_url, "--long-poll-timeout", "1s")
    port = free_port()
    with server(minio_bucket, *options) as one, server(minio_bucket, *options) as two:
        with nginx(round_robin([one.url(), two.url()], port), port, tmp_path / "nginx") as proxy:
            run_suite(proxy, tmp_path)
        log = (tmp_path / "nginx" / "access.log").read_text()
        assert len(log.splitlines()) > CASES
