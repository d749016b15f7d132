"""Build MinIO into the cache where the tests look for it, unless it is there. Needs Go, and no Python package.

MinIO is published as source only, so it is built once: about five minutes on two cores.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"


def cache_folder() -> Path:
    """Return where programs that tests need are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "durable-streams" / "bin"


def find_minio() -> Path | None:
    """Return MinIO's binary: the one named by DURABLE_STREAMS_MINIO, one on the PATH, or the one in the cache."""
    named = os.environ.get("DURABLE_STREAMS_MINIO")
    if named:
        return Path(named)
    found = shutil.which("minio") or shutil.which("minio", path=str(cache_folder()))
    return Path(found) if found else None


def main() -> int:
    """Return 0 where MinIO can be run now, 1 where it cannot be had; say which."""
    found = find_minio()
    if found is not None:
        print(f"MinIO: {found}")
        return 0
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        print("MinIO: not to be had, because Go is not installed; its tests will be skipped", file=sys.stderr)
        return 1
    print("MinIO: building it, which takes about five minutes; the next run finds it in the cache", flush=True)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # Built beside, then moved: a build that was broken off must not look like a binary.
    with tempfile.TemporaryDirectory(dir=folder.parent) as building:
        run = subprocess.run([go, "install", MODULE], env={**os.environ, "GOBIN": building}, check=False)
        if run.returncode != 0:
            print("MinIO: it could not be built (see above); its tests will be skipped", file=sys.stderr)
            return 1
        os.replace(Path(building) / "minio", folder / "minio")
    print(f"MinIO: {folder / 'minio'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
