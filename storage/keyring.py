"""Keep the signing keys in the store: every process signs with the same one. Knows when to look and to rotate."""

import secrets
from collections.abc import Callable

from storage.bucket import reading
from storage.clock import Clock
from storage.core.signing_key import (
    PREFIX,
    SEED_BYTES,
    DamagedKey,
    SigningKey,
    active,
    decode_signing_key,
    encode_signing_key,
    next_number,
    published,
    signing_key_key,
)
from storage.errors import DamageError, UnavailableError
from storage.objects import IfAbsent, Objects, OutcomeUnknown, StoreError

RELOAD_SECONDS = 60.0  # far below the time that a key is published before it signs
ROTATE_SECONDS = 90 * 86_400.0
TRIES = 5


class Keyring:
    """The keys of a store. Loaded when first needed, and again after RELOAD_SECONDS."""

    def __init__(
        self,
        objects: Objects,
        clock: Clock | None = None,
        *,
        rotate_seconds: float = ROTATE_SECONDS,
        new_seed: Callable[[], bytes] = lambda: secrets.token_bytes(SEED_BYTES),
    ) -> None:
        self._objects = objects
        self._clock = clock or Clock()
        self._rotate_ms = int(rotate_seconds * 1000)
        self._new_seed = new_seed
        self._keys: dict[str, SigningKey] = {}  # by object key, ascending
        self._loaded = float("-inf")

    async def active(self) -> SigningKey:
        """Return the key that signs now; the first one is made when it is first asked for. Raises LogError."""
        key = active(await self._current(), self._clock.now_ms())
        assert key is not None
        return key

    async def published(self) -> list[SigningKey]:
        """Return the keys whose public halves receivers may need. Raises LogError."""
        return published(await self._current(), self._clock.now_ms())

    async def _current(self) -> list[SigningKey]:
        if self._clock.steady() - self._loaded > RELOAD_SECONDS:
            at = self._clock.steady()
            await self._load()
            for _ in range(TRIES):
                number = next_number(list(self._keys.values()), self._clock.now_ms(), self._rotate_ms)
                if number is None:
                    break
                await self._make(number)
                await self._load()
            else:
                raise UnavailableError(f"{signing_key_key(number or 1)} could not be written")
            self._loaded = at
        return list(self._keys.values())

    async def _load(self) -> None:
        for entry in await reading(self._objects.list(PREFIX)):
            if entry.key in self._keys:
                continue
            found = await reading(self._objects.get(entry.key))
            if found is not None:
                try:
                    self._keys[entry.key] = decode_signing_key(found.body)
                except DamagedKey as error:
                    raise DamageError(f"{entry.key} is not a signing key: {error}") from error

    async def _make(self, number: int) -> None:
        """Write a key unless its number is taken; which one stands there is read afterwards."""
        key = SigningKey(number, self._new_seed(), self._clock.now_ms())
        try:
            await self._objects.put(
                signing_key_key(number), encode_signing_key(key), IfAbsent(), content_type="application/json"
            )
        except OutcomeUnknown:
            pass
        except StoreError as error:
            raise UnavailableError(str(error)) from error
