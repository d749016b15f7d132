"""A process that used obstore ends with its own exit code, however late obstore's threads get out of Python."""

import _thread
import asyncio
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from storage.core.root import Config
from storage.creation import Creation
from storage.log import Append, Log
from storage.native_threads import let_out, strangers
from storage.opening import StoreOptions, open_objects
from tests.bucket.servers import S3Server
from tests.web.lambda_payloads import function_url
from tests.web.processes import REPOSITORY

# A thread that wakes the loop asks for the interpreter's lock again and again before it gets out, so that it is sure to
# do so while the process ends.
LATE = """\
import asyncio, sys, threading, time

class Late(asyncio.SelectorEventLoop):
    def call_soon_threadsafe(self, *given, **named):
        handle = super().call_soon_threadsafe(*given, **named)
        if threading.current_thread() is not threading.main_thread():
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                time.sleep(0.001)
        return handle

class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Late()

asyncio.set_event_loop_policy(Policy())
"""
COMMAND = """\
from handler.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
APPEND = """\
from storage.log import Append, Log
from storage.opening import StoreOptions, open_objects

async def run(store, endpoint_url):
    log = Log(await open_objects(store, StoreOptions(driver="obstore", endpoint_url=endpoint_url)))
    print(await log.append("s", Append(b"y", media_type="text/plain")))

asyncio.run(run(*sys.argv[1:]))
"""
FUNCTION = """\
import json
from handler.aws import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 30_000

print(handler(json.loads(sys.argv[1]), Context()))
"""


@pytest.fixture
def store(moto: S3Server, moto_bucket: str) -> str:
    """The URL of a store that holds a stream, `s`."""

    async def fill() -> None:
        objects = await open_objects(moto_bucket, StoreOptions(endpoint_url=moto.endpoint_url))
        log = Log(objects)
        await log.create("s", Creation(Config("text/plain")))
        await log.append("s", Append(b"x", media_type="text/plain"))
        await log.aclose()
        await objects.aclose()

    asyncio.run(fill())
    return moto_bucket


def end_of(code: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the code with threads that are late; return its exit code, and what it said."""
    ran = subprocess.run(
        [sys.executable, "-c", LATE + code, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize("command", ["check", "sweep"])
def test_a_command_that_has_done_its_work_exits_with_0(command: str, moto: S3Server, store: str) -> None:
    options = ("--store", store, "--s3-driver", "obstore", "--endpoint-url", moto.endpoint_url)
    code, said, complaints = end_of(COMMAND, command, *options)
    assert (code, complaints) == (0, ""), said


def test_a_copy_that_is_the_same_exits_with_0(moto: S3Server, store: str) -> None:
    options = ("--s3-driver", "obstore", "--endpoint-url", moto.endpoint_url)
    code, said, complaints = end_of(COMMAND, "copy", store, f"s3://{moto.new_bucket()}", *options)
    assert (code, complaints) == (0, "")
    assert "both are the same" in said


def test_a_program_that_ends_with_its_last_answer_exits_with_0(moto: S3Server, store: str) -> None:
    code, said, complaints = end_of(APPEND, store, moto.endpoint_url)
    assert (code, complaints) == (0, "")
    assert said


def test_a_function_that_is_run_as_a_program_exits_with_0(moto: S3Server, store: str) -> None:
    event = function_url("POST", "/s", "", {"content-type": "text/plain"}, b"y")
    code, said, complaints = end_of(
        FUNCTION,
        json.dumps(event),
        AWS_LAMBDA_FUNCTION_NAME="f",
        DURABLE_STREAMS_STORE=store,
        DURABLE_STREAMS_ENDPOINT_URL=moto.endpoint_url,
        DURABLE_STREAMS_S3_DRIVER="obstore",
    )
    assert (code, complaints) == (0, "")
    assert "'statusCode': 204" in said


def test_a_thread_that_stays_is_not_waited_for_longer_than_said() -> None:
    inside, free, out = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:  # as no thread of `threading`, and so as one of a library's
        inside.set()
        free.wait()
        out.set()

    number = _thread.start_new_thread(stay, ())
    inside.wait()
    assert number in strangers()
    began = time.monotonic()
    let_out(0.05)
    assert 0.05 <= time.monotonic() - began < 1.0
    free.set()
    out.wait()
    let_out(30.0)
    assert number not in strangers()


def test_pythons_own_threads_are_no_strangers() -> None:
    free = threading.Event()
    thread = threading.Thread(target=free.wait, daemon=True)
    thread.start()
    assert thread.ident not in strangers()
    assert threading.get_ident() not in strangers()
    free.set()
    thread.join()
