"""Build the AWS Lambda Web Adapter into the cache where the tests look for it, unless it is there. Needs Cargo only.

    python tests/install_web_adapter.py             builds it now: two minutes on two idle cores
    python tests/install_web_adapter.py --beside    builds it in the background, below the priority of everything else

Whoever builds holds a lock for as long, and `await_web_adapter` waits for it.
"""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CRATE, VERSION = "lambda_web_adapter", "1.0.0-rc1"
LAYER = 26  # the version under which AWS has published this one as a layer
COMMAND = "lambda-adapter"


def folder() -> Path:
    """Return where programs that tests need are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "durable-streams" / "bin"


def find_web_adapter() -> Path | None:
    """Return the adapter: the one named by DURABLE_STREAMS_WEB_ADAPTER, or the one in the cache."""
    named = os.environ.get("DURABLE_STREAMS_WEB_ADAPTER")
    if named:
        return Path(named)
    found = folder() / f"{COMMAND}-{VERSION}"
    return found if found.exists() else None


def await_web_adapter() -> Path | None:
    """Return the adapter, once a build that is under way has ended; None where there is none."""
    found = find_web_adapter()
    if found is None and _lock().exists():
        with open(_lock()) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        found = find_web_adapter()
    return found


def main() -> int:
    """Return 0 where the adapter can be run now, or will be, and 1 where it cannot be had; say which."""
    parser = argparse.ArgumentParser(description="Build the AWS Lambda Web Adapter, unless it is there.")
    parser.add_argument("--beside", action="store_true", help="in the background")
    beside = parser.parse_args().beside
    folder().mkdir(parents=True, exist_ok=True)
    with open(_lock(), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if beside else 0))
        except BlockingIOError:
            print("Lambda Web Adapter: another process is building it")
            return 0
        found = find_web_adapter()
        if found is not None:
            print(f"Lambda Web Adapter: {found}")
            return 0
        cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
        if cargo is None:
            _complain("not to be had, because Cargo is not installed")
            return 1
        if beside:
            log = folder() / f"{COMMAND}.log"
            print(f"Lambda Web Adapter: building it beside the tests, for the first time; see {log}", flush=True)
            if os.fork():
                return 0  # the lock is still held, by the child
            _go_aside(log)
        return _build(cargo)


def _build(cargo: str) -> int:
    print("Lambda Web Adapter: building it, which takes some minutes; the next run finds it in the cache", flush=True)
    # Built beside, then moved: a build that was broken off must not look like a binary.
    with tempfile.TemporaryDirectory(dir=folder().parent) as building:
        command = [cargo, "install", "--quiet", "--locked", "--root", building, "--version", VERSION, CRATE]
        if subprocess.run(command, check=False).returncode != 0:
            _complain("it could not be built (see above)")
            return 1
        os.replace(Path(building) / "bin" / COMMAND, folder() / f"{COMMAND}-{VERSION}")
    print(f"Lambda Web Adapter: {find_web_adapter()}")
    return 0


def _go_aside(log: Path) -> None:
    """Let go of the terminal, and of whoever waits for what is written to it."""
    os.setsid()
    os.nice(19)
    with open(log, "w") as written, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)


def _complain(why: str) -> None:
    print(f"Lambda Web Adapter: {why}; its tests will be skipped", file=sys.stderr)


def _lock() -> Path:
    return folder() / f"{COMMAND}.lock"


if __name__ == "__main__":
    sys.exit(main())
