"""Put together what a Lambda function is made of. Needs nothing but pip; run as a script, by any Python.

    python handler/bundle.py FOLDER              for Lambda: arm64, Python 3.13, whatever this machine is
    python handler/bundle.py --host FOLDER       for the Python and the processor it is run by, to be tried here

Wheels only, so that nothing is compiled and any host will do. The service comes without its own dependencies: the list
below is what a function needs of them, and what it can do without weighs more than what it needs.
"""

import argparse
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PYTHON_VERSION = "3.13"  # SnapStart needs 3.12 or later
PLATFORM = "manylinux2014_aarch64"

NEEDED = ("aioboto3", "cryptography", "mangum>=0.21", "msgspec", "starlette")
OF_UVICORN = ("uvicorn", "httptools", "uvloop")  # where the Lambda Web Adapter sends requests instead of events
OF_OBSTORE = ("obstore>=0.12",)

SERVICE = ("handler", "storage")
# The SDK's descriptions of services. All but these belong to services that are never called here.
SERVICES_KEPT = {"lambda", "s3", "sso", "sso-oidc", "sts"}
UNUSED = (
    "boto3/examples",
    "boto3/data",  # resources, which are another way to call clients
    "aioboto3/experimental",
)
NOT_AT_RUN_TIME = ("tests", "test", "__pycache__", "*.pyi", "*.pyx", "*.pxd", "*.c", "*.h")

RUN = """\
#!/bin/sh
# What the Lambda Web Adapter starts, and sends requests to: at the port that it looks for in the same order.
exec python3 -m handler serve --host 127.0.0.1 --port "${AWS_LWA_PORT:-${PORT:-8080}}"
"""


def main(arguments: Sequence[str]) -> None:
    """Build into the folder that is named."""
    parser = argparse.ArgumentParser(description="Put together what a Lambda function is made of.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", action="store_true", help="for the Python and the processor that this is run by")
    parser.add_argument("--uvicorn", action="store_true", help="with the web server, for streamed responses")
    options = parser.parse_args(arguments)
    names = [*NEEDED]
    if options.uvicorn:
        names += OF_UVICORN
    if os.environ.get("S3_DRIVER") == "obstore":
        names += OF_OBSTORE
    bundle(options.folder, names, for_host=options.host)
    if options.uvicorn:
        (options.folder / "run.sh").write_text(RUN)
        (options.folder / "run.sh").chmod(0o755)
    print(f"{options.folder}: {sum(weigh(options.folder).values()) / 1e6:.1f} MB")


def bundle(folder: Path, names: Sequence[str], *, for_host: bool) -> None:
    """Install the packages and the service into the folder, then take out what is not used."""
    folder.mkdir(parents=True, exist_ok=True)
    target = (
        []
        if for_host
        else [
            "--platform",
            PLATFORM,
            "--platform",
            "manylinux_2_28_aarch64",
            "--implementation",
            "cp",
            "--python-version",
            PYTHON_VERSION,
        ]
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, *target, "--only-binary=:all:", "--target", str(folder), *names], check=True)
    here = Path(__file__).resolve().parent.parent
    for name in SERVICE:
        shutil.copytree(here / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    trim(folder)
    compile_for(f"{sys.version_info[0]}.{sys.version_info[1]}" if for_host else PYTHON_VERSION, folder)


def trim(folder: Path) -> None:
    """Take out what no function reads."""
    for description in (folder / "botocore" / "data").iterdir():
        if description.is_dir() and description.name not in SERVICES_KEPT:
            shutil.rmtree(description)
    for name in UNUSED:
        _remove(folder / name)
    _remove(folder / "bin")
    for pattern in NOT_AT_RUN_TIME:
        for path in list(folder.rglob(pattern)):
            _remove(path)


def compile_for(version: str, folder: Path) -> None:
    """Compile the modules ahead, where the Python that will run them is to be had: a function's folder is read-only.

    The files are checked against nothing when they are loaded: packing them up changes their times.
    """
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(folder, quiet=2, invalidation_mode=mode, stripdir=str(folder))
        return
    python = shutil.which(f"python{version}")
    command = ["-m", "compileall", "-q", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), str(folder)]
    if python is None or subprocess.run([python, *command], check=False, capture_output=True).returncode != 0:
        print(f"note: there is no python{version} here, so the first start of a function compiles its modules itself")


def weigh(folder: Path) -> dict[str, int]:
    """Return the bytes of each thing in the folder, the heaviest first."""
    weights = {
        path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if path.is_dir()
        else path.stat().st_size
        for path in folder.iterdir()
    }
    return dict(sorted(weights.items(), key=lambda pair: -pair[1]))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
