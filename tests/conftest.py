"""What every test may ask for: the loop, and object stores that really run.

Async tests and fixtures need no mark (`anyio_mode = "auto"`), and all run on asyncio. A test that needs MinIO where it
is not to be had is skipped by name; `.ci/run` counts those skips as failures.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bucket.servers import CREDENTIALS, S3Server, run_minio, run_moto
from tests.install_minio import find_minio


def pytest_configure() -> None:
    """Take interrupts, whoever started us: a shell's background job ignores them, and so would all that we start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the SDK's usual chain the test servers' credentials, and nothing of whoever runs the tests."""
    nothing = str(tmp_path_factory.mktemp("aws") / "nothing")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "DURABLE_STREAMS_"))]:
            if name not in ("DURABLE_STREAMS_MINIO", "DURABLE_STREAMS_WEB_ADAPTER"):
                patch.delenv(name)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_CONFIG_FILE", nothing)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", nothing)
        yield


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory, credentials: None) -> Iterator[S3Server]:
    """A MinIO process; skips the test by name where there is none."""
    binary = find_minio()
    if binary is None:
        pytest.skip("MinIO is not to be had: run `python tests/install_minio.py`, which needs Go")
    with run_minio(binary, tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def moto(credentials: None) -> Iterator[S3Server]:
    """A moto server in a thread of this process."""
    with run_moto() as server:
        yield server


@pytest.fixture
def minio_bucket(minio: S3Server) -> str:
    """The URL of a new bucket, such as `s3://test-1`; `minio.endpoint_url` is where it is."""
    return f"s3://{minio.new_bucket()}"


@pytest.fixture
def moto_bucket(moto: S3Server) -> str:
    """The URL of a new bucket; `moto.endpoint_url` is where it is."""
    return f"s3://{moto.new_bucket()}"


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "streams.db"
