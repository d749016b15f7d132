"""Judge what clients were answered: each answer must have been right at some moment of its call."""

from collections.abc import Iterator

from storage.core.admission import Append, Appended, Repeated
from storage.core.offset import Offset
from storage.core.root import media_type
from storage.creation import Created, Creation, Description, Differs, Existed
from storage.errors import AmbiguousWriteError, ContentionError, UnavailableError
from storage.log import Deleted, NotFound, OffsetGone, Page
from tests.log.ledger import Call, Delete, Generation, Head, Ledger, Read, View, judge


class Violation(AssertionError):
    """The log did what it must never do."""


def judge_calls(ledger: Ledger) -> list[str]:
    """Return what was answered wrongly."""
    answered = [call for call in ledger.calls if call.responded is not None]
    wrong = [f"{why}: {call}" for call in answered for why in Judge(ledger, call).why()]
    return wrong + list(early_expiries(ledger, answered))


def early_expiries(ledger: Ledger, answered: list[Call]) -> Iterator[str]:
    """Yield the accesses after which a stream with a sliding TTL was declared dead too early. Section 5.1."""
    for (path, number), generation in ledger.generations.items():
        ttl = generation.root.config.ttl_seconds
        if ttl is None or generation.buried is None:
            continue
        _, buried_at, write_id = generation.buried
        burial = ledger.calls[ledger.world.authors[write_id]]
        if isinstance(burial.verb, Delete):
            continue
        for call in answered:
            if call.path != path or not isinstance(call.answer, Appended | Repeated | Page):
                continue
            of = call.answer.root.generation if isinstance(call.answer, Page) else ledger.generation_of(call)
            # Whoever had looked at the touches before this access was answered could not know of it.
            if of == number and burial.invoked_at > call.responded_at and buried_at < call.invoked_at + ttl:
                yield f"expired {buried_at - call.invoked_at:.3f} s after an access, by {burial}: {call}"


class Judge:
    """Looks at one call that was answered."""

    def __init__(self, ledger: Ledger, call: Call) -> None:
        assert call.responded is not None
        self.ledger = ledger
        self.call = call
        self.responded = call.responded

    def why(self) -> Iterator[str]:
        """Yield what is wrong with the answer."""
        call = self.call
        match call.error:
            case None:
                yield from self.why_answer()
            case UnavailableError() | ContentionError() if "metadata" not in str(call.error):
                yield from self.why_nothing_written()
            case AmbiguousWriteError():
                if isinstance(call.verb, Head | Read):
                    yield "nothing was written, so nothing can be ambiguous"
            case _:
                yield "an error that the store gave no reason for"

    def views(self) -> Iterator[View]:
        """Yield what the path was at each moment of the call."""
        moments = self.ledger.history(self.call.path)
        for moment, following in zip(moments, [*moments[1:], None], strict=True):
            lasted = following is None or following.step > self.call.invoked
            if lasted and moment.step <= self.responded:
                yield moment.view

    def during(self, step: int) -> bool:
        return self.call.invoked <= step <= self.responded

    def authored(self, write_id: str) -> bool:
        return self.ledger.world.authors.get(write_id) == self.call.number

    def generations(self) -> Iterator[Generation]:
        return (each for (path, _), each in self.ledger.generations.items() if path == self.call.path)

    # -- failures

    def why_nothing_written(self) -> Iterator[str]:
        call = self.call
        if isinstance(call.verb, Append) and call.number in self.ledger.applied:
            yield "said that nothing was written, and it was appended"
        for generation in self.generations():
            if isinstance(call.verb, Creation) and generation.born and self.authored(generation.root.creation):
                yield "said that nothing was written, and it was created"
            buried = generation.buried and generation.root.config.ttl_seconds is None and generation.buried[2]
            if isinstance(call.verb, Delete) and buried and self.authored(buried):
                yield "said that nothing was written, and it was deleted"

    # -- answers

    def why_answer(self) -> Iterator[str]:
        call = self.call
        if isinstance(call.answer, NotFound):
            if not any(view.generation == 0 for view in self.views()):
                yield "the stream was there all the time"
            return
        match call.verb:
            case Append():
                yield from self.why_append(call.verb)
            case Creation():
                yield from self.why_creation(call.verb)
            case Delete():
                yield from self.why_delete()
            case Head():
                if not (isinstance(call.answer, Description) and self.describes(call.answer)):
                    yield "the stream was never so"
            case Read():
                yield from self.why_read(call.verb)

    def describes(self, told: Description) -> bool:
        fact = (told.root.generation, told.root.config, told.tail.position, told.tail.closed)
        return any((v.generation, v.config, v.position, v.closed) == fact for v in self.views())

    def why_append(self, append: Append) -> Iterator[str]:
        answer = self.call.answer
        if not isinstance(answer, Appended):
            if not any(view.generation and judge(view, append) == answer for view in self.views()):
                yield "the answer was right at no moment"
        elif append.payload:
            applied = self.ledger.applied.get(self.call.number)
            if applied is None:
                yield "acknowledged and not there"
            elif not self.during(applied.step):
                yield "acknowledged before it was there"
            elif answer != Appended(applied.position, applied.closed, append.claim):
                yield f"acknowledged as {answer}, and it is {applied}"
        else:
            closings = [g for g in self.generations() if g.closed_alone and self.during(g.closed_alone[0])]
            fact = (answer.position, append.claim)
            if not answer.closed or not any(g.closed_alone and g.closed_alone[1:] == fact for g in closings):
                yield "acknowledged a close that did not happen"

    def why_creation(self, creation: Creation) -> Iterator[str]:
        born = [g for g in self.generations() if g.born is not None and self.authored(g.root.creation)]
        if born and not isinstance(self.call.answer, Created):
            yield "said that others created it, and its own creation took effect"
        match self.call.answer:
            case Created(told):
                if [g.number for g in born] != [told.root.generation]:
                    yield f"created {told.root.generation}, and born were {[g.number for g in born]}"
                elif not self.during(born[0].born or 0):
                    yield "acknowledged before it was there"
                is_json = media_type(creation.config.content_type) == "application/json"
                length = len(creation.payload) + bool(is_json and creation.payload)
                if (told.root.config, told.tail.position, told.tail.closed) != (
                    creation.config,
                    length,
                    creation.closed,
                ):
                    yield "created something else"
            case Existed(told):
                same = told.root.config == creation.config and told.tail.closed == creation.closed
                if not (same and self.describes(told)):
                    yield "such a stream was never there"
            case Differs(field):
                if not any(view.generation and field in differences(view, creation) for view in self.views()):
                    yield "it did not differ at any moment"
            case _:
                yield "not foreseen without forks"

    def why_delete(self) -> Iterator[str]:
        if not isinstance(self.call.answer, Deleted):
            yield "not foreseen without forks"
            return
        mine = [g for g in self.generations() if g.buried and self.authored(g.buried[2])]
        if not any(g.buried and self.during(g.buried[0]) for g in mine):
            yield "acknowledged a deletion that did not happen"
        if any(g.left is None or g.left > self.responded for g in mine):
            yield "acknowledged a deletion that the root did not know of"

    def why_read(self, read: Read) -> Iterator[str]:
        page = self.call.answer
        if isinstance(page, OffsetGone):
            asked = read.offset.generation if isinstance(read.offset, Offset) else 0
            if not any(view.generation not in (0, asked) for view in self.views()):
                yield "the offset's generation was there, and no other"
            return
        if not isinstance(page, Page):
            yield "the offset was one that the stream had handed out"
            return
        generation = self.ledger.generations[self.call.path, page.root.generation]
        if isinstance(read.offset, Offset) and (read.offset.generation, read.offset.position) != (
            generation.number,
            page.start,
        ):
            yield "the page begins elsewhere"
        held = generation.content[page.start : page.end]
        if media_type(page.root.config.content_type) == "application/json":
            held = b"[" + held[:-1] + b"]"
        if page.body != held or not page.start <= page.end <= generation.content_by(self.responded):
            yield f"the page is not what the stream held: {held[:200]!r}"
        if page.up_to_date:
            fact = (page.root.generation, page.end, page.closed)
            if not any((v.generation, v.position, v.closed) == fact for v in self.views()):
                yield "the page was up to date at no moment"
        else:
            # It says nothing of the tail, so of a deletion it knows what the root says: nobody is told of one before
            # that, and the root may be remembered for a while.
            since = self.call.invoked_at - self.call.settings.root_cache_seconds
            there = generation.born is not None and generation.born <= self.responded
            gone = generation.left is not None and generation.left <= self.call.invoked and generation.left_at < since
            if page.closed or not there or gone:
                yield "the page's generation was not there"


def differences(view: View, creation: Creation) -> list[str]:
    """Return the headers in which a stream is not as a creation asks for."""
    there, asked = view.config, creation.config
    assert there is not None
    return [
        name
        for name, differs in {
            "Content-Type": media_type(there.content_type) != media_type(asked.content_type),
            "Stream-TTL": there.ttl_seconds != asked.ttl_seconds,
            "Stream-Expires-At": there.expires_at_ms != asked.expires_at_ms,
            "Stream-Closed": view.closed != creation.closed,
        }.items()
        if differs
    ]
