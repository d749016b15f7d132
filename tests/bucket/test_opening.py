"""A store is named by a URL; what is no store's name is refused in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.objects import Always, StoreRefused
from storage.opening import open_objects


@pytest.mark.parametrize("spelling", ["sqlite://{}/a.db", "sqlite:{}/a.db", "sqlite://{}/%61.db"])
async def test_a_path_after_sqlite_names_a_file(tmp_path: Path, spelling: str) -> None:
    store = await open_objects(spelling.format(tmp_path))
    assert store.name == f"sqlite:{tmp_path}/a.db"
    await store.aclose()
    assert os.listdir(tmp_path) == ["a.db"]


async def test_a_relative_path_is_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_objects("sqlite:streams.db")
    await store.aclose()
    assert os.listdir(tmp_path) == ["streams.db"]


@pytest.mark.parametrize("url", ["memory:", "sqlite::memory:"])
async def test_two_stores_in_memory_share_nothing(url: str) -> None:
    one, two = await open_objects(url), await open_objects(url)
    await one.put("a", b"", Always())
    assert await two.head("a") is None
    assert one.name == "memory:"
    await one.aclose()
    await two.aclose()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/some/prefix", "s3://bucket/some/prefix"),
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
    ],
)
async def test_a_bucket_may_have_a_prefix(url: str, name: str) -> None:
    store = await open_objects(url)
    assert store.name == name
    await store.aclose()


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "streams.db",
            "/tmp/streams.db",
            "sqlite:",
            "sqlite://",
            "sqlite:///",
            "sqlite://streams.db",
            "sqlite:a/",
        ),
        *("memory", "memory:x", "s3:bucket", "s3://", "s3:///prefix", "s3://ab", "s3://bucket?region=x", "gs://bucket"),
    ],
)
async def test_what_names_no_store_is_refused_with_a_list_of_what_does(url: str) -> None:
    with pytest.raises(ValueError, match="names no store; accepted are sqlite:///"):
        await open_objects(url)


async def test_a_file_in_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="its folder exists and is writable"):
        await open_objects(f"sqlite://{tmp_path}/nowhere/streams.db")


def test_a_server_on_sqlite_never_loads_the_sdk() -> None:
    script = (
        "import asyncio, sys; from storage.opening import open_objects;"
        "asyncio.run(asyncio.wait_for(open_objects('memory:'), 5));"
        "print([name for name in sys.modules if 'boto' in name])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
