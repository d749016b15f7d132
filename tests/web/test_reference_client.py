"""The reference TypeScript client, unchanged, in a real session against the server."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.bucket.servers import S3Server
from tests.web.processes import REPOSITORY, server

NODE = REPOSITORY / "tests" / "node"
SESSION_SECONDS = 120.0
MESSAGES = [{"n": n} for n in range(500)]


def run_session(url: str) -> None:
    """Run the session, and check what the client saw."""
    if not (NODE / "node_modules" / "@durable-streams" / "client").exists():
        pytest.skip("the reference client is not installed: run `npm install` in tests/node")
    ran = subprocess.run(
        ["node", "session.mjs"],
        cwd=NODE,
        env={**os.environ, "DURABLE_STREAMS_URL": url},
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    saw = json.loads(ran.stdout.splitlines()[-1])
    assert saw["errors"] == []
    assert saw["sse"] == {"items": MESSAGES, "closed": True}
    assert saw["longPoll"] == {"items": MESSAGES, "closed": True}
    assert saw["caughtUp"] == MESSAGES
    assert saw["forked"] == [*MESSAGES[:250], {"n": "fork"}]
    assert saw["closed"] is True
    assert saw["deleted"] is True


def test_the_reference_client_holds_a_session_on_sqlite(sqlite_path: Path) -> None:
    with server(f"sqlite://{sqlite_path}") as process:
        run_session(process.url())


def test_the_reference_client_holds_a_session_on_minio(minio: S3Server, minio_bucket: str) -> None:
    with server(minio_bucket, "--endpoint-url", minio.endpoint_url) as process:
        run_session(process.url())
