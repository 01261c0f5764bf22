"""Fields over the bytes in which they came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing.field_lines import field_line
from lbproto.framing.headers import Headers
from lbproto.framing.search import Search

RAW = b"Host: a\r\nX-A:1\r\nx-a: 2 \r\nSet-Cookie:\t b=c\t\r\nEmpty:\r\n"


def test_untouched_fields_keep_order_case_and_bytes():
    assert Headers(RAW).wire() == (
        b"Host: a\r\nX-A:1\r\nx-a: 2\r\nSet-Cookie: b=c\r\nEmpty:\r\n"
    )


def test_iteration_gives_lower_case_names_and_trimmed_values():
    assert list(Headers(RAW)) == [
        (b"host", b"a"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"set-cookie", b"b=c"),
        (b"empty", b""),
    ]


def test_raw_items_give_names_as_they_were_written():
    assert [name for name, _ in Headers(RAW).raw_items()] == [
        b"Host",
        b"X-A",
        b"x-a",
        b"Set-Cookie",
        b"Empty",
    ]
    assert list(Headers(b"A:b\r\n").raw_items()) == [(b"A", b"b")]


def test_no_fields_are_empty():
    assert len(Headers()) == 0
    assert list(Headers()) == []
    assert Headers().wire() == b""
    assert Headers().get(b"a") is None


def test_lookups():
    headers = Headers(RAW)
    assert headers.get(b"x-a") == b"1"
    assert headers.get_all(b"x-a") == [b"1", b"2"]
    assert b"host" in headers
    assert b"Host" not in Headers(RAW)
    assert len(Headers(RAW)) == 5
    assert Headers(RAW).get(b"host") == b"a"


def test_insert_replaces_the_first_and_drops_the_others():
    headers = Headers(RAW)
    headers.insert_header(b"X-a", b"new")
    assert headers.get_all(b"x-a") == [b"new"]
    assert headers.wire().startswith(b"Host: a\r\nX-a: new\r\nSet-Cookie")


def test_insert_adds_a_missing_field_at_the_end():
    headers = Headers(RAW)
    assert headers.get(b"z") is None
    headers.insert_header(b"Z", b"1")
    assert headers.wire().endswith(b"Empty:\r\nZ: 1\r\n")


def test_append_keeps_fields_of_the_same_name():
    headers = Headers(b"A: 1\r\n")
    headers.append_header(b"a", b"2")
    headers.append_header(b"a", b" 3 ")
    assert headers.wire() == b"A: 1\r\na: 2\r\na: 3\r\n"


def test_remove_tells_whether_there_was_one():
    headers = Headers(RAW)
    assert headers.remove_header(b"x-a")
    assert not headers.remove_header(b"x-a")
    assert len(headers) == 4 - 1


def test_remove_all_of_none_changes_nothing():
    headers = Headers(RAW)
    before = Headers(RAW).wire()
    headers.remove_all([b"q"])
    assert headers.wire() == before


def test_a_copy_can_be_edited_alone():
    for touched in (False, True):
        headers = Headers(b"A: 1\r\n")
        if touched:
            assert len(headers) == 1
        twin = headers.copy()
        twin.append_header(b"B", b"2")
        assert headers.wire() == b"A: 1\r\n"
        assert twin.wire() == b"A: 1\r\nB: 2\r\n"


@pytest.mark.parametrize(
    "look",
    [
        lambda headers: headers.remove_all([b"a"]),
        lambda headers: headers.remove_header(b"a"),
        lambda headers: headers.insert_header(b"A", b"2"),
        lambda headers: b"a" in headers,
        lambda headers: headers.get_all(b"a"),
    ],
)
def test_whatever_is_asked_first_sees_every_field(look):
    headers = Headers(b"A: 1\r\nB: 2\r\n")
    look(headers)
    assert headers.get(b"b") == b"2"


def test_equality_is_that_of_the_lines():
    assert Headers(b"A: 1\r\n") == Headers.from_pairs([(b"A", b"1")])
    assert Headers(b"A: 1\r\n") != Headers(b"a: 1\r\n")
    assert Headers() != b""
    assert repr(Headers(b"A: 1\r\n")) == "Headers(b'A: 1\\r\\n')"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"", b"v"),
        (b"a b", b"v"),
        (b"a:", b"v"),
        (b"a", b"v\r\nb: c"),
        (b"a", b"v\n"),
        (b"a", b"\0"),
        (b"a", b"\x7f"),
    ],
)
def test_what_would_split_a_message_is_refused(name, value):
    headers = Headers()
    with pytest.raises(ValueError, match="field"):
        field_line(name, value)
    with pytest.raises(ValueError, match="field"):
        headers.append_header(name, value)
    with pytest.raises(ValueError, match="field"):
        headers.insert_header(name, value)
    assert len(headers) == 0


values = st.binary(max_size=20).map(
    lambda raw: bytes(c for c in raw if c == 9 or 32 <= c != 127).strip(b" \t")
)
pairs = st.lists(st.tuples(st.sampled_from([b"A", b"b", b"X-Y"]), values), max_size=6)


@given(pairs)
def test_what_was_built_is_read_back(items):
    headers = Headers(Headers.from_pairs(items).wire())
    assert list(headers.raw_items()) == items


def test_names_are_lower_case_and_in_order():
    headers = Headers(b"B: 1\r\na: 2\r\nb: 3\r\n")
    assert list(headers.names()) == [b"b", b"a", b"b"]
    headers.append_header(b"C", b"4")
    assert list(headers.names()) == [b"b", b"a", b"b", b"c"]


# -- fields that were searched already ----------------------------------------

LOOKED_FOR = frozenset({b"host", b"date", b"via", b"te"})
LINES = [
    b"Host: a.example\r\n",
    b"X-A: 1\r\n",
    b"DATE: now\r\n",
    b"x-a:2\r\n",
    b"TE: trailers\r\n",
    b"Empty:\r\n",
    b"Cookie: date: x\r\n",
]


def searched(lines):
    there = LOOKED_FOR.intersection(line.partition(b":")[0].lower() for line in lines)
    return Headers(b"".join(lines), Search(LOOKED_FOR, there, ordinary=True))


some_names = st.sampled_from([b"host", b"date", b"via", b"te", b"x-a", b"empty", b"b"])
some_values = st.sampled_from([b"", b"v", b"a b"])
banned = st.frozensets(some_names, max_size=4)
edits = st.one_of(
    st.tuples(st.just("insert_header"), some_names, some_values),
    st.tuples(st.just("append_header"), some_names.map(bytes.upper), some_values),
    st.tuples(st.just("remove_header"), some_names),
    st.tuples(st.just("remove_all"), banned),
    st.tuples(st.just("remove_all"), banned.map(tuple)),
    st.tuples(st.just("append_lines"), st.just(b"Via: x\r\n"), st.just((b"via",))),
    st.tuples(st.just("get"), some_names),
    st.tuples(st.just("get_all"), some_names),
    st.tuples(st.just("holds_once"), some_names, some_values),
    st.tuples(st.just("__contains__"), some_names),
    st.tuples(st.just("wire")),
    st.tuples(st.just("wire"), banned),
    st.tuples(st.just("copy")),
    st.tuples(st.just("__len__")),
    st.tuples(st.just("any_name_has"), some_names),
)


@given(st.permutations(LINES), st.integers(0, len(LINES)), st.lists(edits, max_size=8))
def test_fields_that_were_searched_behave_like_any(lines, count, script):
    ours, plain = searched(lines[:count]), Headers(b"".join(lines[:count]))
    for verb, *arguments in script:
        found = getattr(ours, verb)(*arguments)
        expected = getattr(plain, verb)(*arguments)
        if verb == "wire":
            # An empty value that was added keeps its space until it is parsed.
            found, expected = (x.replace(b": \r", b":\r") for x in (found, expected))
        if verb == "copy":
            ours, plain = found, expected
        else:
            assert found == expected
        assert list(ours.copy()) == list(plain.copy())


def test_a_copy_is_edited_alone():
    first = searched(LINES)
    first.remove_all((b"te", b"x-a"))
    second = first.copy()
    second.remove_header(b"host")
    second.append_header(b"B", b"c")
    assert first.get(b"host") == b"a.example"
    assert b"b" not in first
    assert second.wire() == b"DATE: now\r\nEmpty:\r\nCookie: date: x\r\nB: c\r\n"


def test_only_what_was_searched_is_ordinary():
    assert searched(LINES).ordinary
    assert not Headers(b"").ordinary
    assert not Headers(b"", Search(LOOKED_FOR, frozenset(), ordinary=False)).ordinary


def test_a_field_that_was_added_is_replaced_where_it_stands():
    headers = searched(LINES[:2])
    headers.append_header(b"B", b"1")
    headers.append_header(b"C", b"2")
    headers.insert_header(b"b", b"3")
    assert headers.wire() == b"Host: a.example\r\nX-A: 1\r\nb: 3\r\nC: 2\r\n"
