"""Run the server on a machine: uvicorn, one process or several on one port, one store. This is where all is wired.

The port is bound once, here; the processes of `--workers` share its socket, and watch the pipe to this one, so that
none of them stays behind when it is killed.

The interpreter's switch interval stays at its default of 5 ms: down to 50 us, no difference could be measured (one and
64 connections on one stream, 64 on a hundred, a dozen rounds in random order).
"""

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import uvicorn

from handler.access_log import AccessLog
from handler.app import StreamsApp
from handler.assembly import build_app, build_subscriptions, log_settings, store_options
from handler.body import AsgiApp
from handler.maintenance import BackgroundSweeper
from handler.origin import OriginGuard
from handler.settings import ServerSettings
from handler.workers import Workers
from storage.clock import Chance
from storage.log import Log
from storage.objects import Objects, StoreError
from storage.opening import open_objects
from storage.probe import UnfitStore, probe

KEEP_ALIVE_SECONDS = 75  # longer than the 60 s after which the usual proxies let go of an idle connection
BACKLOG = 2048  # uvicorn's own default


class CannotStart(Exception):
    """The server cannot run as it was told to; the text is one sentence for whoever told it."""


def serve(settings: ServerSettings) -> int:
    """Serve until told to stop; return the exit code."""
    try:
        listener = bind(settings)

        def ready() -> None:
            sys.stderr.write(exposure(settings, listener))
            sys.stdout.write(banner(settings, listener))
            sys.stdout.flush()

        if settings.workers == 1:
            run(settings, listener, ready, checked=not settings.housekeeping)
            return 0
        if settings.housekeeping:
            asyncio.run(_check(settings))
        return Workers(work, settings, listener).run(ready)
    except CannotStart as error:
        sys.stderr.write(f"durable-streams-server: {error}\n")
        return 1


async def _check(settings: ServerSettings) -> None:
    objects = await open_store(settings)
    try:
        await check_store(objects)
    finally:
        await objects.aclose()


def work(settings: ServerSettings, listener: socket.socket, pipe: Connection) -> None:
    """Be one of several processes; send the pipe nothing where all is well, else what is wrong."""

    def ready() -> None:
        pipe.send("")
        # The pipe ends when the process that started us does, however it does.
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), leave, loop)

    def leave(loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(pipe.fileno())
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        run(settings, listener, ready, checked=True)
    except CannotStart as error:
        pipe.send(str(error))
    pipe.close()


def bind(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens. Raises CannotStart."""
    host, port = settings.host.strip("[]"), settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno is not None and error.errno < 0:  # of the resolver, which create_server passes on as its own
            raise CannotStart(f"--host {host!r} is no address of this machine, nor a name of one") from error
        if error.errno == errno.EADDRINUSE:
            reason = "is in use; stop what listens there, or take another with --port"
        else:
            reason = f"cannot be taken: {os.strerror(error.errno or 0)}"
        raise CannotStart(f"port {port} on {host} {reason}") from error


async def open_store(settings: ServerSettings) -> Objects:
    """Open the store. Raises CannotStart."""
    try:
        return await open_objects(settings.store, store_options(settings))
    except ValueError as error:
        raise CannotStart(f"--store {error}") from error
    except StoreError as error:
        raise CannotStart(f"the store cannot be opened: {error}") from error


async def check_store(objects: Objects) -> None:
    """Try what the log stands on. Raises CannotStart."""
    try:
        await probe(objects, Chance().new_id())
    except UnfitStore as error:
        raise CannotStart(f"this store is unfit: {error}") from error
    except StoreError as error:
        raise CannotStart(f"the store cannot be used: {error}") from error


def run(settings: ServerSettings, listener: socket.socket, ready: Callable[[], None], *, checked: bool) -> None:
    """Serve until a signal says stop. Raises CannotStart. `checked`: the store was tried, or is not to be."""
    import uvloop

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener, ready, checked=checked))


async def _serve(
    settings: ServerSettings, listener: socket.socket, ready: Callable[[], None], *, checked: bool
) -> None:
    objects = await open_store(settings)
    try:
        if not checked:
            await check_store(objects)
        log = Log(objects, log_settings(settings))
        subscriptions = build_subscriptions(log, settings, listener.getsockname()[0])
        streams = build_app(log, settings, subscriptions)
        app: AsgiApp = OriginGuard(streams, settings.origin_secret) if settings.origin_secret else streams
        if settings.access_log:
            app = AccessLog(app)
        server = _Server(app, streams, settings, ready)
        sweeper = BackgroundSweeper(objects, settings)
        if settings.housekeeping:
            subscriptions.start()
            sweeper.start()
        await server.serve(sockets=[listener])
        await sweeper.aclose()
        await subscriptions.aclose()
        await log.aclose()
    finally:
        await objects.aclose()


class _Server(uvicorn.Server):
    """uvicorn, which on its way out first lets those who wait for data go."""

    def __init__(self, app: AsgiApp, streams: StreamsApp, settings: ServerSettings, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout)),
        )
        super().__init__(config)
        self._streams = streams
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal; at a second one, without waiting. Not raised again: the store is still to be closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin to stop."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            gc.collect()
            gc.freeze()  # what is there by now stays, and need not be looked through again and again
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer long-polls and end event streams, finish what is under way, then close."""
        self._streams.drain()
        await super().shutdown(sockets=sockets)


# -- what is said


def banner(settings: ServerSettings, listener: socket.socket) -> str:
    """Return what a person reads first."""
    url = base_url(listener)
    workers = f", {settings.workers} processes" if settings.workers > 1 else ""
    return (
        f"Durable Streams on {url}{workers}\n"
        f"  store   {settings.store}{f' at {settings.endpoint_url}' if settings.endpoint_url else ''}\n"
        f"  health  {url}/__ds/health\n"
        f"  try     curl -i -X PUT {url}/hello -H 'Content-Type: text/plain' --data 'first line'\n"
        f"          curl -i '{url}/hello?offset=-1'\n"
    )


def base_url(listener: socket.socket) -> str:
    """Return where a client on this machine finds the server."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def exposure(settings: ServerSettings, listener: socket.socket) -> str:
    """Return a warning where anybody who reaches the server may do anything, else nothing."""
    host = listener.getsockname()[0]
    if settings.bearer_token or ipaddress.ip_address(host).is_loopback:
        return ""
    return (
        f"warning: {host} can be reached from other machines, and no token is asked for: whoever reaches it can read, "
        "write and delete every stream; set DURABLE_STREAMS_BEARER_TOKEN, or listen on 127.0.0.1\n"
    )
