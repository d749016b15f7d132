"""A Lambda sandbox: a process that answers one event at a time. Run as a script: `python sandbox.py FOLDER`.

`FOLDER` is what is loaded, such as a function's artifact. Reads a line for each invocation, `{"entry": "handler",
"event": …, "milliseconds": …}`, and writes a line with its answer, or with what it raised; `null` says that it is
ready. Knows nothing of pytest, and needs nothing but what is in the folder and the standard library.
"""

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any


class Context:
    """What Lambda tells of an invocation."""

    def __init__(self, milliseconds: int) -> None:
        self._deadline = time.monotonic() + milliseconds / 1000

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still take."""
        return int((self._deadline - time.monotonic()) * 1000)


def main(folder: str) -> None:
    """Answer events until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed is no answer
    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "streams"
    sys.path.insert(0, folder)
    module = importlib.import_module("handler.aws")
    told: dict[str, Any] | None = None
    while True:
        print(json.dumps(told), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        invocation = json.loads(line)
        try:
            entry = getattr(module, invocation["entry"])
            told = {"answer": entry(invocation["event"], Context(invocation["milliseconds"]))}
        except Exception:
            told = {"error": traceback.format_exc()}


if __name__ == "__main__":
    main(sys.argv[1])
