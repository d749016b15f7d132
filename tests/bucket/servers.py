"""S3 servers for tests and benchmarks: MinIO as a process, moto as a thread. Knows nothing of pytest."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "minioadmin",
    "AWS_SECRET_ACCESS_KEY": "minioadmin",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
START_SECONDS = 30.0  # a machine under load takes its time


class S3Server:
    """A server that runs, and buckets on it. Close it when done."""

    def __init__(self, endpoint_url: str, pid: int | None = None) -> None:
        self.endpoint_url = endpoint_url
        self.pid = pid
        self._numbers = count(1)
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_REGION"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1, "mode": "standard"}),
        )

    def new_bucket(self) -> str:
        """Make a bucket that nobody has used; return its name."""
        name = f"test-{next(self._numbers)}"
        self._client.create_bucket(Bucket=name)
        return name

    def ready(self) -> bool:
        """Return whether the server answers."""
        try:
            self._client.list_buckets()
        except Exception:
            return False
        return True

    def close(self) -> None:
        """Let go of the connections to the server."""
        self._client.close()


@contextmanager
def run_minio(binary: Path, folder: Path) -> Iterator[S3Server]:
    """Run MinIO on a free port with its data in the folder."""
    with open(folder / "log", "wb") as log:
        port, console = _free_ports(2)
        process = subprocess.Popen(
            [
                str(binary),
                *("server", str(folder / "data")),
                *("--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"),
            ],
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(folder),
                "MINIO_ROOT_USER": CREDENTIALS["AWS_ACCESS_KEY_ID"],
                "MINIO_ROOT_PASSWORD": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        server = S3Server(f"http://127.0.0.1:{port}", process.pid)
        try:
            _wait(server.ready, lambda: process.poll() is None, f"MinIO did not start: see {folder / 'log'}")
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait()


@contextmanager
def run_moto() -> Iterator[S3Server]:
    """Run moto's server in a thread, one request at a time.

    One at a time: moto looks at a condition and then writes, with no lock between the two.
    """
    backend = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()

    def application(environ: Any, start_response: Any) -> Any:
        with one_at_a_time:
            return list(backend(environ, start_response))

    listener = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=listener.serve_forever, name="moto", daemon=True)
    thread.start()
    server = S3Server(f"http://127.0.0.1:{listener.server_port}")
    try:
        yield server
    finally:
        server.close()
        listener.shutdown()
        thread.join()
        listener.server_close()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports: list[int] = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _wait(ready: Callable[[], bool], alive: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline or not alive():
            raise RuntimeError(complaint)
        time.sleep(0.05)
