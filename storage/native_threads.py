"""See threads that Python did not start out of Python before it ends. Knows nothing of stores, or of what they do here.

obstore answers from threads of its own: one wakes the event loop, and then waits for the interpreter's lock, to get out
again. Whoever was woken may be ending the process by then. Up to Python 3.13, a thread that asks for the lock of an
interpreter that is ending is ended on the spot, which Rust's frames on its stack do not allow: abort(). So a command
that had done its work, and said so, exited by SIGABRT without a word why: one `check` in six on a busy machine.

CPython's issue 87135, which 3.14 resolves by letting such threads hang, and issue 40 of pyo3-async-runtimes.
"""

import atexit
import sys
import threading
import time
from functools import cache

LEAVE_SECONDS = 5.0  # a thread that asks for credentials may be at it for as long; others need microseconds
LOOK_SECONDS = 0.001
# One that is still waiting for the lock to get in is not to be seen: of a request that was given up at the end. A pause
# gives it the lock.
QUIET_LOOKS = 5


@cache
def let_out_at_exit() -> None:
    """Have the end of this process wait until they are out; the first call counts."""
    atexit.register(let_out)


def let_out(seconds: float = LEAVE_SECONDS) -> None:
    """Wait until no such thread has been in the midst of Python for a few looks, or for so long."""
    deadline = time.monotonic() + seconds
    quiet = 0
    while quiet < QUIET_LOOKS and time.monotonic() < deadline:
        quiet = 0 if strangers() else quiet + 1
        time.sleep(LOOK_SECONDS)


def strangers() -> set[int]:
    """Return the threads that are in the midst of Python, and that Python did not start."""
    # One that asked who it is, as logging does, is in the list too, as a dummy.
    known = {each.ident for each in threading.enumerate() if not isinstance(each, threading._DummyThread)}
    return sys._current_frames().keys() - known - {threading.get_ident()}
