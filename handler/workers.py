"""Run several processes on one socket, and keep their number. Knows processes; nothing of HTTP or streams."""

import contextlib
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from handler.settings import ServerSettings

RESTART_SECONDS = 1.0  # a worker that dies at once is not to be started a thousand times a second

Work = Callable[[ServerSettings, socket.socket, Connection], None]


class Workers:
    """The processes, and the pipe to each of them."""

    def __init__(self, work: Work, settings: ServerSettings, listener: socket.socket) -> None:
        self._work = work
        self._settings = settings
        self._listener = listener
        self._processes: dict[Connection, SpawnProcess] = {}
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> int:
        """Start the workers, say when all are ready, replace those that die; return the exit code after a signal."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        for _ in range(self._settings.workers):
            self._start()
        waiting = set(self._processes)
        announced = False
        while self._processes:
            for pipe in wait(list(self._processes), timeout=1.0):
                assert isinstance(pipe, Connection)
                try:
                    failure = pipe.recv()
                except EOFError:
                    self._ended(pipe, announced=announced)
                    continue
                if failure:
                    sys.stderr.write(f"durable-streams-server: {failure}\n")
                    self._stop()
                    announced = False
                waiting.discard(pipe)
            if not waiting and not announced and not self._stopping:
                announced = True
                ready()
        return 0 if announced else 1

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=self._work, args=(self._settings, self._listener, theirs))
        process.start()
        theirs.close()
        self._processes[ours] = process

    def _ended(self, pipe: Connection, *, announced: bool) -> None:
        process = self._processes.pop(pipe)
        process.join()
        pipe.close()
        if self._stopping:
            return
        sys.stderr.write(f"warning: worker {process.pid} ended with {process.exitcode}; another one takes its place\n")
        if not announced:
            self._stop()
            return
        time.sleep(RESTART_SECONDS)
        if not self._stopping:  # a signal may have come meanwhile
            self._start()

    def _stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        self._stopping = True
        for process in self._processes.values():
            if process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
