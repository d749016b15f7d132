"""The commands that look after a store: sweep, check, copy, bill; and the sweeper beside a server. Knows no HTTP.

Exit codes: 0 all is well, 1 something is not (it is said what) or the store cannot be used, 2 wrong arguments.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from handler.assembly import build_subscriptions, log_settings, store_options
from handler.settings import OPTIONS, ServerSettings
from storage.bucket import reading
from storage.check import Checker, Finding
from storage.clock import Chance, Clock
from storage.copying import Copier
from storage.core.keys import normalise_path
from storage.core.sweeping import Sweeping
from storage.errors import LogError
from storage.log import Log
from storage.objects import Objects, StoreError
from storage.opening import open_objects
from storage.sweep import Sweeper, Swept

STORE_OPTIONS = ("store", "s3_driver", "endpoint_url", "region", "addressing", "pool_size")
BAR = 30  # characters
# Beside a server, and with its connections: slow enough not to be noticed.
BACKGROUND = Sweeping(requests=2000, requests_per_second=20.0, parallel=2)

_log = logging.getLogger("handler")


class Failed(Exception):
    """The command could not do its work; the text is one sentence for whoever gave it."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the commands and their arguments."""
    sweep = commands.add_parser(
        "sweep",
        help="reclaim what nobody can need any more, one bounded pass",
        description="Make one pass over the store: merge what nobody merged, and delete what nobody can need any more. "
        "The next pass goes on where this one ends. Any number may run at once, beside any number of servers.",
    )
    sweep.add_argument("--dry-run", action="store_true", help="say what a pass would do, and do nothing")
    sweep.add_argument("--all", action="store_true", help="make passes until the whole store was looked at")
    sweep.add_argument("--requests", type=int, default=Sweeping().requests, metavar="N", help="of one pass, about")
    sweep.add_argument(
        "--rate", type=float, default=Sweeping().requests_per_second, metavar="N", help="requests per second; 0: any"
    )
    check = commands.add_parser(
        "check",
        help="read every chain and say whether it is what it must be",
        description="Read a stream, or all of them, and say of everything that is not as it must be what and where.",
    )
    check.add_argument("path", nargs="?", help="of one stream; by default all are checked")
    for command in (sweep, check):
        for option in OPTIONS:
            if option.name in STORE_OPTIONS:
                command.add_argument(option.flag, dest=option.name, metavar=option.metavar, help=option.help)
    copy = commands.add_parser(
        "copy",
        help="move a deployment to another store",
        description="Copy every object of a store to another one, then compare them all. One that was interrupted goes "
        "on where it was. No server may write to FROM meanwhile.",
    )
    copy.add_argument("source", metavar="FROM", help="sqlite:file.db or s3://bucket/optional/prefix")
    copy.add_argument("target", metavar="TO", help="the same kinds")
    for option in OPTIONS:
        if option.name in STORE_OPTIONS[1:]:
            copy.add_argument(option.flag, dest=option.name, metavar=option.metavar, help=option.help)
    commands.add_parser(
        "bill",
        help="what a million operations of each kind cost",
        description="Run named workloads against a store in memory that counts, and print the requests and the dollars "
        "of a million operations by list price.",
    )


def run(given: argparse.Namespace, settings: ServerSettings) -> int:
    """Run a command; return its exit code."""
    try:
        match given.command:
            case "sweep":
                return asyncio.run(_with_store(settings.store, settings, lambda store: _sweep(store, settings, given)))
            case "check":
                return asyncio.run(_with_store(settings.store, settings, lambda store: _check(store, given.path)))
            case "copy":
                return asyncio.run(_copy(given.source, given.target, settings))
            case _:
                return _bill()
    except Failed as error:
        sys.stderr.write(f"durable-streams-server: {error}\n")
        return 1


async def _with_store(url: str, settings: ServerSettings, work: Callable[[Objects], Awaitable[int]]) -> int:
    try:
        objects = await open_objects(url, store_options(settings))
    except (ValueError, StoreError) as error:
        raise Failed(f"the store cannot be opened: {error}") from error
    try:
        return await work(objects)
    except LogError as error:
        raise Failed(f"the store cannot be used: {error}") from error
    finally:
        await objects.aclose()


async def _sweep(objects: Objects, settings: ServerSettings, given: argparse.Namespace) -> int:
    log = Log(objects, log_settings(settings))
    subscriptions = build_subscriptions(log, settings, settings.host)

    async def due() -> None:
        await subscriptions.sweep()
        await subscriptions.settle()

    sweeping = Sweeping(requests=given.requests, requests_per_second=given.rate)
    dry = given.dry_run
    sweeper = Sweeper(objects, log_settings(settings), sweeping, due=due, tell=_say, dry=dry)
    failed = False
    try:
        while True:
            swept = await sweeper.sweep()
            failed = failed or bool(swept.failed)
            _say(_summary(swept, dry=dry))
            if swept.finished or not given.all or dry:
                return int(failed)
    finally:
        await subscriptions.aclose()
        await log.aclose()


def _summary(swept: Swept, *, dry: bool) -> str:
    done = ", ".join(f"{what} {count}" for what, count in sorted(swept.done.items())) or "nothing"
    ending = "the whole store was looked at" if swept.finished else "the next pass goes on from here"
    failures = f", {len(swept.failed)} failed" if swept.failed else ""
    return f"{'would do' if dry else 'done'}: {done}{failures}; {swept.requests} requests; {ending}"


async def _check(objects: Objects, path: str | None) -> int:
    bar = Bar()

    def found(finding: Finding) -> None:
        bar.clear()
        _say(str(finding))

    def progress(done: int, total: int, count: int) -> None:
        bar.show(done, total, f"{count} objects")

    checked = await Checker(objects, found, progress).check(None if path is None else normalise_path(path))
    bar.clear()
    if not checked.streams and not checked.findings:
        raise Failed(f"{objects.name} holds no streams; is it the right one?")
    of = "1 stream" if checked.streams == 1 else f"{checked.streams} streams"
    count = len(checked.findings)
    verdict = "all is as it must be" if not count else f"{count} {'thing is' if count == 1 else 'things are'} not"
    _say(f"{of}, {checked.objects} objects, {checked.bytes} bytes: {verdict}")
    return int(bool(count))


async def _copy(source: str, target: str, settings: ServerSettings) -> int:
    bar = Bar()

    def progress(phase: str, done: int, total: int) -> None:
        bar.show(done, total, phase)

    async def between(here: Objects) -> int:
        if not await reading(here.list("", limit=1)):
            raise Failed(f"{here.name} holds nothing; is it the right one?")

        async def copy(there: Objects) -> int:
            copied = await Copier(here, there, progress).copy()
            bar.clear()
            for difference in copied.differences:
                _say(difference)
            verdict = f"{len(copied.differences)} differ" if copied.differences else "both are the same"
            _say(f"{copied.copied} objects copied ({copied.bytes} bytes), {copied.present} were there; {verdict}")
            return int(bool(copied.differences))

        return await _with_store(target, settings, copy)

    return await _with_store(source, settings, between)


def _bill() -> int:
    from handler.bill import run_bill
    from handler.core.prices import tabulate

    sys.stdout.write(tabulate(run_bill()))
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Bar:
    """A progress bar on a terminal, and nothing anywhere else."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._text = ""

    def show(self, done: int, total: int, note: str) -> None:
        """Draw it; `total` is 0 as long as it is not known."""
        share = done / total if total else 0.0
        text = f"[{'#' * round(BAR * share):<{BAR}}] {done}" + (f" of {total}" if total else "") + f", {note}"
        if self._is_shown and text != self._text:
            self._text = text
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take it away, so that something else can be said."""
        if self._text:
            sys.stderr.write("\r\x1b[K")
            self._text = ""


class BackgroundSweeper:
    """Makes passes beside a server, as long as it runs. What is due is not its business: the server sees to that."""

    def __init__(self, objects: Objects, settings: ServerSettings) -> None:
        self._sweeper = Sweeper(objects, log_settings(settings), BACKGROUND)
        self._seconds = settings.sweep_interval
        self._clock = Clock()
        self._chance = Chance()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, a while from now: a server that has just started has other things to do."""
        if not self._seconds:
            return
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._chance.jitter(self._seconds))
            try:
                swept = await self._sweeper.sweep()
            except LogError as error:
                _log.warning("the sweeper cannot use the store: %s", error)
            else:
                for failure in swept.failed:
                    _log.warning("the sweeper left something to the next pass: %s", failure)

    async def aclose(self) -> None:
        """Stop where it is; another pass goes on from the last place that was written down."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
