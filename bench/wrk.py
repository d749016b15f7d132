"""Drive a URL with wrk and read its report. Knows wrk's text and nothing of what is measured."""

import re
import subprocess
import tempfile

import msgspec

APPEND = """
local paths, n = {{{paths}}}, 0
wrk.method = "POST"
wrk.body = string.rep("x", {size})
wrk.headers["Content-Type"] = "application/octet-stream"
request = function()
  n = n % #paths + 1
  return wrk.format(nil, paths[n])
end
"""


class Report(msgspec.Struct, frozen=True):
    """What wrk saw. Latency in milliseconds."""

    requests: int
    seconds: float
    errors: int  # answers that are no 2xx, and connections that broke
    median_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def append(base: str, paths: list[str], connections: int, seconds: int, size: int = 100) -> Report:
    """POST bodies of `size` bytes to the paths in turn."""
    script = APPEND.format(paths=",".join(f'"{path}"' for path in paths), size=size)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        return _run(base + paths[0], connections, seconds, ["-s", file.name])


def read(url: str, connections: int, seconds: int) -> Report:
    """GET one URL."""
    return _run(url, connections, seconds, [])


def _run(url: str, connections: int, seconds: int, more: list[str]) -> Report:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", *more, url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return parse(text)


def parse(text: str) -> Report:
    """Read a report of `wrk --latency`."""
    done = re.search(r"(\d+) requests in ([\d.]+)(\w+),", text)
    if done is None:
        raise ValueError(f"this is no report of wrk:\n{text}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Report(
        requests=int(done[1]),
        seconds=float(done[2]) * _UNITS[done[3]] / 1000,
        errors=(int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0),
        median_ms=_latency(text, "50%"),
        p99_ms=_latency(text, "99%"),
    )


def _latency(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")
