"""SQLite in memory against a dictionary: whatever is done to both, they answer alike."""

import asyncio
from hashlib import md5

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from storage.objects import Always, Condition, IfAbsent, IfMatch
from storage.sqlite import SqliteObjects

# Few of each, so that they meet: keys that are each other's prefixes, and equal bodies under different metadata.
KEYS = st.sampled_from(["a", "a%2F", "a%2Fb", "a/b", "a/", "A", "b", "~"])
BODIES = st.sampled_from([b"", b"1", b"22", b"\x00\xff"])
METADATA = st.dictionaries(st.sampled_from(["x", "y-z"]), st.text("ab%\"' ", max_size=3), max_size=2)
PREFIXES = st.sampled_from(["", "a", "a%", "a/", "A", "c"])


def etag_of(body: bytes) -> str:
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


class StoreMachine(RuleBasedStateMachine):
    etags = Bundle("etags")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.runner.run(SqliteObjects.open_memory())
        self.model: dict[str, tuple[bytes, dict[str, str]]] = {}

    def teardown(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()

    def _put(self, key: str, body: bytes, condition: Condition, metadata: dict[str, str], holds: bool) -> str:
        answer = self.runner.run(self.store.put(key, body, condition, metadata=metadata))
        assert answer == (etag_of(body) if holds else None)
        if holds:
            self.model[key] = (body, metadata)
        return etag_of(body)

    @rule(target=etags, key=KEYS, body=BODIES, metadata=METADATA)
    def create(self, key: str, body: bytes, metadata: dict[str, str]) -> str:
        return self._put(key, body, IfAbsent(), metadata, key not in self.model)

    @rule(target=etags, key=KEYS, body=BODIES, metadata=METADATA)
    def overwrite(self, key: str, body: bytes, metadata: dict[str, str]) -> str:
        return self._put(key, body, Always(), metadata, True)

    @rule(target=etags, key=KEYS, body=BODIES, etag=etags, metadata=METADATA)
    def exchange(self, key: str, body: bytes, etag: str, metadata: dict[str, str]) -> str:
        holds = key in self.model and etag_of(self.model[key][0]) == etag
        return self._put(key, body, IfMatch(etag), metadata, holds)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.runner.run(self.store.delete(key))
        self.model.pop(key, None)

    @rule(key=KEYS, start=st.integers(0, 3), length=st.none() | st.integers(0, 3))
    def get(self, key: str, start: int, length: int | None) -> None:
        found = self.runner.run(self.store.get(key, start=start, length=length))
        if key not in self.model:
            assert found is None
            return
        body, metadata = self.model[key]
        assert found is not None
        assert found.body == body[start:][:length]
        assert (found.head.size, found.head.etag, found.head.metadata) == (len(body), etag_of(body), metadata)

    @rule(prefix=PREFIXES, after=st.just("") | KEYS, limit=st.integers(1, 4))
    def list_some(self, prefix: str, after: str, limit: int) -> None:
        expected = sorted(key for key in self.model if key.startswith(prefix) and key > after)[:limit]
        entries = self.runner.run(self.store.list(prefix, after=after, limit=limit))
        assert [entry.key for entry in entries] == expected

    @invariant()
    def has_exactly_what_the_model_has(self) -> None:
        listed = {entry.key: (entry.etag, entry.size) for entry in self.runner.run(self.store.list(""))}
        assert listed == {key: (etag_of(body), len(body)) for key, (body, _) in self.model.items()}


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
