"""The mistakes that are easy to make in this protocol, each made in a copy of the tree: the tests named must notice it.

The list is that of the model (its known wrong variants), for what is built here. A mutation whose text is no longer in
the code is an error: whoever changes the code changes it here too.

    python -m tests.log.mutations [words of a name]
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

ROOT = Path(__file__).parent.parent.parent
AT_ONCE = 2
# A mutant that fails for one of these was not a mistake of the protocol but of whoever wrote it down here.
CLUMSY = re.compile(r"\b(NameError|TypeError|AttributeError|ImportError|ModuleNotFoundError|SyntaxError)\b")


class Edit(msgspec.Struct, frozen=True):
    """One exact replacement."""

    file: str
    old: str
    new: str


class Mutation(msgspec.Struct, frozen=True):
    """A mistake, and the test that has to notice it."""

    name: str
    test: str
    edits: tuple[Edit, ...]


class Survived(AssertionError):
    """A mistake that nobody noticed, or that could not be made."""


def runs(name: str) -> str:
    return f"tests/log/test_random_runs.py::test_every_answer_was_right_at_some_moment_of_its_call[{name}]"


def crash(name: str) -> str:
    return f"tests/log/test_crashes.py::test_a_writer_may_stop_anywhere_and_the_others_go_on[{name}]"


def race(name: str) -> str:
    return f"tests/log/test_races.py::test_{name}"


GROUP, TAIL, CREATION, BUCKET = "storage/group.py", "storage/tail.py", "storage/creation.py", "storage/bucket.py"

MUTATIONS = (
    Mutation(
        "412 on a resend not compared with the own write id",
        runs("appends"),
        (Edit(BUCKET, 'if head.metadata.get("write-id") != metadata["write-id"]:', "if True:"),),
    ),
    Mutation(
        "delete of an empty-closed stream at its literal key",
        crash("delete of a closed one"),
        (Edit("storage/core/chunk.py", "return self.next + (self.kind is Kind.CLOSE)", "return self.next"),),
    ),
    Mutation(
        "duplicate or refusal answered from a stale cache",
        runs("lifecycle"),
        (
            Edit(
                GROUP,
                """                await tails.confirm(stream)
                if stream.tail is tail and not tail.deleted:
""",
                """                if stream.tail is tail and not tail.deleted:
""",
            ),
        ),
    ),
    Mutation(
        "duplicate in a group answered before the PUT",
        runs("producers"),
        (
            Edit(
                GROUP,
                "            verdicts = await self._commit(",
                """            from storage.core.admission import Repeated

            if stream.tail is not None and stream.root is not None:
                early = Draft(stream.tail, stream.media_type, 0)
                for waiting in group:
                    said = early.admit(waiting.append)
                    if isinstance(said, Repeated):
                        waiting.future.set_result(Judged(said, stream.root.lineage))
            verdicts = await self._commit(""",
            ),
        ),
    ),
    Mutation(
        "spilled table named by its position only",
        runs("spilled"),
        (
            Edit(
                GROUP,
                'name = f"{keys.complement(tail.key)}/{chunk.write_id}"',
                'name = keys.complement(tail.key) + "/t"',
            ),
        ),
    ),
    Mutation(
        "next key sent before the outcome is known",
        runs("appends"),
        (
            Edit(
                GROUP,
                "                    await self._commit_and_answer(stream, group)",
                """                    asyncio.ensure_future(self._commit_and_answer(stream, group))
                    await asyncio.sleep(0.005)""",
            ),
            Edit(
                GROUP,
                "        settled = await tails.bucket.settle(",
                """        stream.set_tail(tail_after(tail.generation, chunk, producers), at, is_end=True)
        settled = await tails.bucket.settle(""",
            ),
        ),
    ),
    Mutation(
        "expiry answered before the tombstone",
        runs("expiry"),
        (
            Edit(
                TAIL,
                "            if not await self._expire(stream, root, tail):",
                """            expiry = lifetime.expiry_ms(root.config, self.accessed_ms(stream, root, tail))
            if expiry is not None and self.clock.now_ms() >= expiry:
                return NotFound()
            if not await self._expire(stream, root, tail):""",
            ),
        ),
    ),
    Mutation(
        "expiry declared without another look at the touch",
        runs("expiry"),
        (
            Edit(
                TAIL,
                "        await self._load_touch(stream, root)\n        if stream.tail is not tail:",
                "        if stream.tail is not tail:",
            ),
        ),
    ),
    Mutation(
        "LIST before root and not again",
        race("a_list_that_is_older_than_the_root_is_made_again"),
        (
            Edit(
                TAIL,
                "            newest = await reading(self.objects.list(stream.chunks, limit=1))\n        tail = ",
                "            newest = []\n        tail = ",
            ),
        ),
    ),
    Mutation(
        "root removed on delete",
        crash("delete"),
        (
            Edit(
                TAIL,
                "            written = (await self.bucket.swap(key, found, root)).present",
                """            await self.bucket.remove(key)
            return None
            written = (await self.bucket.swap(key, found, root)).present""",
            ),
        ),
    ),
    Mutation(
        "create without a claim",
        runs("creations"),
        (
            Edit(
                CREATION,
                """            base = (await bucket.swap(stream.root_key, present, claim)).present
            if base is None or not _is_of(base.root, live) or base.root.state is not State.CREATING:
                return None
""",
                "",
            ),
        ),
    ),
    Mutation(
        "takeover keeps the generation",
        runs("creations"),
        (
            Edit(
                CREATION,
                "        return Root(\n            generation=generation,",
                """        if present is not None and present.root.state is State.CREATING:
            generation = present.root.generation
        return Root(
            generation=generation,""",
            ),
        ),
    ),
    Mutation(
        "creating is visible to readers and writers",
        crash("create with a body"),
        (
            Edit(
                TAIL,
                "if root is None or root.state is not State.LIVE:",
                "if root is None or root.state is State.DELETED:",
            ),
            Edit(
                TAIL,
                "if root is None or root.state in (State.CREATING, State.DELETED):",
                "if root is None or root.state is State.DELETED:",
            ),
        ),
    ),
    Mutation(
        "last step of a creation not conditional",
        runs("creations"),
        (
            Edit(
                CREATION,
                "        entered = await bucket.swap(stream.root_key, base, live)",
                """        from storage.bucket import Swapped
        from storage.core.root import encode_root
        from storage.objects import Always, OutcomeUnknown

        try:
            etag = await bucket.objects.put(stream.root_key, encode_root(live), Always())
        except OutcomeUnknown:
            return None
        entered = Swapped(Versioned(live, etag or ""), False)""",
            ),
        ),
    ),
    Mutation(
        "ambiguous creation judged by the number",
        runs("creations"),
        (
            Edit(
                CREATION,
                "return root.generation == creation.generation and root.creation == creation.creation",
                "return root.generation == creation.generation",
            ),
        ),
    ),
    Mutation(
        "fenced taken for created and deleted",
        race("a_creation_that_a_sweeper_fenced_was_not_created"),
        (
            Edit(
                CREATION,
                "        if not there.born:\n            return None",
                "        if False:\n            return None",
            ),
        ),
    ),
    Mutation(
        "ambiguous, then a newer generation taken for lost",
        race("a_creation_that_took_effect_unheard_and_was_replaced_is_not_called_lost"),
        (
            Edit(
                CREATION,
                "            if entered.unknown and (there is None or there.generation > generation):",
                "            if False:",
            ),
        ),
    ),
    Mutation(
        "a tombstone is not entered into the root by whoever sees it",
        crash("delete"),
        (
            Edit(
                TAIL,
                "await self.finish(stream.path, root.generation)\n                if stream.root is root:",
                "if stream.root is root:",
            ),
        ),
    ),
    Mutation(
        "an append over a lost race is acknowledged",
        runs("appends"),
        (
            Edit(
                GROUP,
                "            await tails.adopt(stream, key, settled)\n            return False",
                "            await tails.adopt(stream, key, settled)\n            return True",
            ),
        ),
    ),
    Mutation(
        "unknown outcome taken for nothing written",
        race("an_append_whose_fate_stays_unknown_is_never_said_to_be_unwritten"),
        (Edit(BUCKET, "                unknown, failure = True, error", "                failure = error"),),
    ),
    Mutation(
        "a place where a message begins told a byte too late",
        "tests/log/test_sweeper_histories.py::test_nothing_that_can_be_needed_is_merged_wrongly_or_deleted[history]",
        (
            Edit(
                "storage/core/chunk.py",
                "tuple(position + int(cut, 16) for",
                "tuple(position + int(cut, 16) + 1 for",
            ),
        ),
    ),
    Mutation(
        "a broken connection gone on with from where the run began",
        "tests/log/test_runs.py::test_where_a_connection_breaks_it_goes_on",
        (
            Edit(
                "storage/runs.py",
                "get_parts(self.key, start=self._high, length",
                "get_parts(self.key, start=self._low, length",
            ),
        ),
    ),
)


def make(mutation: Mutation, tree: Path) -> None:
    """Copy what the tests need to `tree`, with the mistake in it."""
    for name in ("storage", "tests/log", "pyproject.toml"):
        source, target = ROOT / name, tree / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for edit in mutation.edits:
        text = (tree / edit.file).read_text()
        if text.count(edit.old) != 1:
            raise Survived(
                f"{mutation.name}: {edit.file} holds this {text.count(edit.old)} times, not once:\n{edit.old}"
            )
        (tree / edit.file).write_text(text.replace(edit.old, edit.new))


def check(mutation: Mutation) -> None:
    """Raise Survived unless the test notices the mistake."""
    with TemporaryDirectory() as folder:
        make(mutation, Path(folder))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--noconftest", "-p", "no:cacheprovider", mutation.test]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode != 1 or "1 failed" not in ran.stdout:
        raise Survived(f"{mutation.name}: nobody noticed\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    if clumsy := CLUMSY.search(ran.stdout):
        raise Survived(f"{mutation.name}: a {clumsy[0]}, which says nothing of the protocol\n{ran.stdout[-3000:]}")


def check_all(mutations: Iterable[Mutation]) -> list[str]:
    """Return what survived."""

    def survived(mutation: Mutation) -> str:
        try:
            check(mutation)
        except Survived as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [text for text in pool.map(survived, mutations) if text]


def main(*words: str) -> int:
    """Try the mutations whose names hold all the words."""
    chosen = [mutation for mutation in MUTATIONS if all(word in mutation.name for word in words)]
    survivors = check_all(chosen)
    print(*survivors, sep="\n\n")
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} noticed")
    return len(survivors)


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
