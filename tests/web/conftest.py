"""What several tests of the web need, and what takes a while to make."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.install_web_adapter import await_web_adapter
from tests.web.processes import REPOSITORY


@pytest.fixture(scope="session")
def web_adapter() -> Path:
    """The AWS Lambda Web Adapter; waits for one that is being built, and skips the test by name where there is none."""
    found = await_web_adapter()
    if found is None:
        pytest.skip("the Lambda Web Adapter is not to be had: run `python tests/install_web_adapter.py`, needs Cargo")
    return found


@pytest.fixture(scope="session")
def streaming_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The streaming function's folder, built as `sam build` does but for this Python and this processor."""
    folder = tmp_path_factory.mktemp("streaming")
    bundle = [sys.executable, str(REPOSITORY / "handler" / "bundle.py"), "--host", "--uvicorn", str(folder)]
    subprocess.run(bundle, check=True)
    return folder
