"""A real cache in front of a server: nginx with proxy_cache. Knows nothing of what is served."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 20.0


def find_nginx() -> str | None:
    """Return nginx's binary, which Debian keeps where the PATH of users does not lead."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def cdn(origin_url: str, folder: Path) -> Iterator[str]:
    """Run nginx in front of an origin; yield the URL of the cache. Skips the test by name where there is no nginx."""
    nginx = find_nginx()
    if nginx is None:
        pytest.skip("nginx is not installed: `apt-get install nginx-light`")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = Path(__file__).with_name("nginx.conf").read_text()
    filled = {
        "USER": "user root;" if os.geteuid() == 0 else "",  # else the worker may not write into the folder
        "FOLDER": str(folder),
        "PORT": str(port),
        "ORIGIN": origin_url.removeprefix("http://"),
    }
    for name, value in filled.items():
        text = re.sub(rf"\b{name}\b", value, text)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen(
        [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
        stderr=subprocess.PIPE,
    )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"nginx ended: {process.communicate()[1]!r}")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("nginx does not listen")
