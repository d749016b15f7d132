"""Where a long JSON body may be cut, against the parser's own word for it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from storage.core.cuts import are_cuts, is_between_messages, last_comma
from storage.core.json_mode import boundaries

TEXT = st.text(alphabet='ab,"\\[]{}:é\n', max_size=8)
VALUES = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
BODIES = st.lists(VALUES, min_size=1, max_size=6).map(
    lambda values: b"[" + b",".join(json.dumps(value, ensure_ascii=False).encode() for value in values) + b"]"
)


@given(BODIES, st.data())
def test_the_last_comma_is_the_last_boundary_that_the_parser_knows(body: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(body) - 1))
    text = body[1:end]
    commas = [position - 1 for position in boundaries(body)[1:-1]]
    assert last_comma(text) == max((comma for comma in commas if comma < len(text)), default=-1)


@given(BODIES)
def test_only_what_ends_with_a_boundarys_comma_is_between_messages(body: bytes) -> None:
    commas = set(boundaries(body)[1:-1])
    assert {end - 1 for end in range(1, len(body)) if is_between_messages(body[:end])} == commas


def test_a_message_that_is_cut_has_no_comma_behind_it() -> None:
    assert last_comma(b'{"a": [1, 2, "x, y') == -1
    assert last_comma(b'"\\\\",{"a":1') == 4
    assert last_comma(b"") == -1


@given(BODIES, st.data())
def test_cuts_are_commas_between_messages_and_nothing_else_is(body: bytes, data: st.DataObject) -> None:
    commas = boundaries(body)[1:-1]
    some = data.draw(st.lists(st.sampled_from(commas), unique=True) if commas else st.just([]))
    assert are_cuts(body, sorted(some))
    wrong = data.draw(st.integers(0, len(body) - 1).filter(lambda at: at not in commas))
    assert not are_cuts(body, sorted({*some, wrong}))
