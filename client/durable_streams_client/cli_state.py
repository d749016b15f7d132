"""What the command line remembers between runs, in a file of JSON, and how it shows that it is getting on."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class State:
    """A small file that is either the old one or the new one, whenever the program dies. It belongs to one stream."""

    def __init__(self, path: str | None, url: str) -> None:
        self._path = None if path is None else Path(path)
        self._url = url

    @property
    def kept(self) -> bool:
        """Whether there is a file at all."""
        return self._path is not None

    def load(self) -> dict[str, Any]:
        """Return what was stored, nothing the first time.

        Raise ValueError if it is of another stream, or no such file.
        """
        if self._path is None or not self._path.exists():
            return {}
        fields = json.loads(self._path.read_text())
        if not isinstance(fields, dict) or "url" not in fields:
            raise ValueError(f"{self._path} is no state of this program")
        if fields["url"] != self._url:
            raise ValueError(f"{self._path} belongs to {fields['url']}")
        return fields

    def store(self, **fields: Any) -> None:
        """Replace what was stored."""
        if self._path is None:
            return
        new = self._path.with_name(self._path.name + ".new")
        with new.open("w") as file:
            json.dump({"url": self._url, **fields}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


class Progress:
    """A bar on standard error: only on a terminal, only if wanted, only if tqdm is there (the extra `cli`)."""

    def __init__(self, *, wanted: bool, total: int | None = None) -> None:
        self._bar: Any = None
        if wanted and sys.stderr.isatty():
            try:
                tqdm = import_module("tqdm")
            except ImportError:
                return
            self._bar = tqdm.tqdm(
                total=total, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr, leave=False
            )

    def advance(self, size: int) -> None:
        """Count bytes."""
        if self._bar is not None:
            self._bar.update(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
