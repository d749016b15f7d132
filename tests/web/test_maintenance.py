"""The commands that look after a store, as they are typed: what they print, and their exit codes."""

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from handler.__main__ import main
from handler.bill import run_bill
from handler.core.prices import STORE, Workload, tabulate
from handler.maintenance import BackgroundSweeper, Bar
from handler.settings import ServerSettings
from storage.core import keys
from storage.core.compaction import Grouping
from storage.core.root import Config
from storage.creation import Creation
from storage.log import Append, Log, LogSettings
from storage.objects import Always, Objects
from storage.sqlite import SqliteObjects
from storage.sweep import CURSOR_KEY
from tests.bucket.servers import S3Server

DAY_MS = 86_400_000


def fill(path: Path, age_ms: int = 0, appends: int = 9) -> str:
    """Make a store with a history; return its URL."""

    async def run() -> None:
        objects = await SqliteObjects.open(path, now_ms=lambda: time.time_ns() // 1_000_000 - age_ms)
        log = Log(objects, LogSettings(grouping=Grouping(chunks=4)))
        await log.create("s", Creation(Config("text/plain")))
        for n in range(appends):
            await log.append("s", Append(b"%d;" % n, media_type="text/plain"))
        await log.create("dead", Creation(Config("text/plain"), b"x"))
        await log.delete("dead")
        await log.aclose()
        await objects.aclose()

    asyncio.run(run())
    return f"sqlite:{path}"


def keys_of(path: Path, prefix: str = "") -> list[str]:
    async def run() -> list[str]:
        objects = await SqliteObjects.open(path)
        found = [entry.key for entry in await objects.list(prefix)]
        await objects.aclose()
        return found

    return asyncio.run(run())


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_dry_run_says_what_the_pass_then_does(tmp_path: Path, typed) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "old.db"
    url = fill(path, age_ms=2 * DAY_MS)
    before = keys_of(path)
    code, out, err = typed("sweep", "--store", url, "--dry-run")
    assert (code, err) == (0, "")
    assert keys_of(path) == before
    assert "delete 6 objects inside a superset of /s" in out
    assert "would do: delete 3" in out
    code, done, _ = typed("sweep", "--store", url, "--all", "--rate", "0")
    assert code == 0
    assert done.splitlines()[:-1] == out.splitlines()[:-1]
    assert "done: delete 3" in done
    assert keys_of(path, "chunk/dead") == []
    assert len(keys_of(path, "chunk/s/")) == 3
    code, out, _ = typed("check", "--store", url)
    assert (code, out) == (0, "2 streams, 3 objects, 18 bytes: all is as it must be\n")


def test_a_sweep_of_a_young_store_deletes_nothing(tmp_path: Path, typed) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "young.db"
    url = fill(path)
    before = keys_of(path)
    code, out, _ = typed("sweep", "--store", url)
    assert code == 0
    assert out.startswith("done: nothing; ")
    assert [key for key in keys_of(path) if key != CURSOR_KEY] == before


def test_check_names_what_is_wrong_and_says_so_with_its_exit_code(tmp_path: Path, typed) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "damaged.db"
    url = fill(path)
    [newest, *_] = keys_of(path, "chunk/s/")

    async def damage() -> None:
        objects = await SqliteObjects.open(path)
        found = await objects.get(newest)
        assert found is not None
        await objects.put(
            newest, b"?" * len(found.body), Always(), content_type="text/plain", metadata=found.head.metadata
        )
        await objects.aclose()

    asyncio.run(damage())
    code, out, _ = typed("check", "/s", "--store", url)
    assert code == 1
    assert out.startswith(f"{newest}: its bytes have changed")
    assert out.endswith("1 thing is not\n")
    assert typed("check", "dead", "--store", url)[0] == 0
    assert typed("check", "nowhere", "--store", url)[0] == 1
    code, out, err = typed("check", "--store", f"sqlite:{tmp_path / 'empty.db'}")
    assert (code, out) == (1, "")
    assert "holds no streams" in err


def test_a_store_that_cannot_be_opened_is_one_sentence(typed) -> None:  # type: ignore[no-untyped-def]
    code, out, err = typed("check", "--store", "ftp://x")
    assert (code, out) == (1, "")
    assert err.startswith("durable-streams-server: the store cannot be opened: 'ftp://x' names no store")
    assert len(err.splitlines()) == 1


def test_a_deployment_moves_from_sqlite_to_s3_and_back(  # type: ignore[no-untyped-def]
    tmp_path: Path, typed, moto: S3Server, moto_bucket: str
) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    url = fill(first)
    code, out, _ = typed("copy", url, moto_bucket, "--endpoint-url", moto.endpoint_url)
    assert code == 0
    assert re.fullmatch(r"13 objects copied \(\d+ bytes\), 0 were there; both are the same\n", out)
    assert typed("check", "--store", moto_bucket, "--endpoint-url", moto.endpoint_url)[0] == 0
    code, out, _ = typed("copy", moto_bucket, f"sqlite:{second}", "--endpoint-url", moto.endpoint_url)
    assert code == 0
    assert contents(second) == contents(first)
    code, out, _ = typed("copy", url, f"sqlite:{second}")
    assert code == 0
    assert " 11 were there; both are the same" in out
    assert typed("copy", f"sqlite:{tmp_path / 'empty.db'}", f"sqlite:{second}")[0] == 1


def contents(path: Path) -> list[tuple[str, bytes, object, str]]:
    async def run() -> list[tuple[str, bytes, object, str]]:
        objects: Objects = await SqliteObjects.open(path)
        found: list[tuple[str, bytes, object, str]] = []
        for entry in await objects.list(""):
            there = await objects.get(entry.key)
            assert there is not None
            found.append((entry.key, there.body, there.head.metadata, there.head.content_type))
        await objects.aclose()
        return found

    return asyncio.run(run())


def test_the_bill_keeps_to_what_was_promised() -> None:
    bill = {workload.name.split(",")[0]: workload for workload in run_bill()}
    assert bill["single appends"].store_dollars <= 5.3
    assert bill["appends by a producer"].store_dollars <= 0.6
    assert bill["catch-up through a CDN"].store_dollars < 0.01
    # A group of 64 costs one PUT more, groups of eight groups cost theirs, and nothing else is asked.
    assert bill["single appends"].requests == {"put": 4096 + 64 + 8 + 1}
    assert set(bill["idle streams"].requests) <= {"get", "put", "head", "list"}


def test_the_bill_is_a_table_with_its_date() -> None:
    text = tabulate([Workload("appends", "message", 100, {"put": 102, "get": 50}, function_requests=1)])
    assert "appends (message)  1,020,000" in text
    assert "$5.30" in text  # 1.02 x 5.00 + 0.5 x 0.40
    assert "$0.20" in text
    assert "$5.50" in text
    assert "2025" in text
    assert set(STORE) == {"put", "list", "get", "head", "delete"}


def test_the_bill_can_be_printed(typed) -> None:  # type: ignore[no-untyped-def]
    code, out, err = typed("bill")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + 7 + 2


async def test_a_sweeper_beside_a_server_makes_passes_until_it_is_stopped() -> None:
    age_ms = 2 * DAY_MS
    objects = await SqliteObjects.open_memory(now_ms=lambda: time.time_ns() // 1_000_000 - age_ms)
    log = Log(objects, LogSettings(grouping=Grouping(chunks=4)))
    await log.create("dead", Creation(Config("text/plain"), b"x"))
    await log.delete("dead")
    age_ms = 0
    gone = asyncio.Event()
    delete = objects.delete

    async def noting(key: str) -> None:
        await delete(key)
        if not await objects.list(keys.chunks_of_path("dead")):
            gone.set()

    objects.delete = noting  # type: ignore[method-assign]
    sweeper = BackgroundSweeper(objects, ServerSettings(sweep_interval=0.01))
    sweeper.start()
    await asyncio.wait_for(gone.wait(), 20)
    await sweeper.aclose()
    await log.aclose()
    await objects.aclose()


def test_a_progress_bar_is_drawn_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: Sequence[bool] = (False, True)
    for is_terminal in shown:
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        bar = Bar()
        bar.show(5, 10, "5 objects")
        bar.clear()
        said = capsys.readouterr().err
        assert ("[###############               ] 5 of 10, 5 objects" in said) is is_terminal
