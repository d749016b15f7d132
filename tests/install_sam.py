"""Install AWS SAM's command line where the tests look for it, unless it is there: a virtual environment of its own.

Its dependencies are pinned, and would move those of the tests.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PACKAGE = "aws-sam-cli"


def folder() -> Path:
    """Return where it is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "durable-streams" / "sam"


def find_sam() -> Path | None:
    """Return SAM's command: one on the PATH, or the one in the cache."""
    found = shutil.which("sam") or shutil.which("sam", path=str(folder() / "bin"))
    return Path(found) if found else None


def main() -> int:
    """Return 0 where SAM can be run now, 1 where it cannot be had; say which."""
    found = find_sam()
    if found is None:
        print("SAM: installing it into a virtual environment of its own; the next run finds it there", flush=True)
        venv.create(folder(), with_pip=True)
        pip = [str(folder() / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, PACKAGE], check=False).returncode != 0:
            shutil.rmtree(folder())
            print("SAM: it could not be installed (see above); its tests will be skipped", file=sys.stderr)
            return 1
        found = folder() / "bin" / "sam"
    print(f"SAM: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
