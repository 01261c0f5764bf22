from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproto.routing.automaton import PathPattern
from lbproto.routing.pattern import PatternError

EXPRESSIONS = [
    r"\.(jpg|png|gif)$",
    r"^/a(b|c)*d",
    r"(a|ab)(c|bcd)(d*)",
    r"^/(.*)/edit$",
    r"^/(.*?)/edit",
    r"[^/]+/v[0-9]+/",
    r"(?i)^/ADMIN",
    r"(?i)[a-c]x",
    r"a{2,3}b{2}c{1,}?",
    r"(a+)+$",
    r"x?y??z",
    r"(?:a|b|c){0,5}(c+)",
    r"a||b",
    r"[a-c-]+",
    r"[]a]+",
    r"[\d.]+x",
    r"\w+\.\w+",
    r"\D\s?\W",
    r"^(/a)?(/b)*(.*)$",
    r"(?:(a)|b)+",
    r"a{0}b",
    r"(a){0,2}?b",
    r"\/",
    "^$",
    "^(?:a*)*b",
    "(?:a|b*)*?x",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [*"abcdxyz/.-01] AX", "/edit", ".jpg", "/v1/", "admin", "/a", "/b"]
        ),
        max_size=10,
    )
)
def test_it_agrees_with_the_backtracking_matcher(text: str, parts: list[str]) -> None:
    path = "".join(parts).encode()
    ours = PathPattern(text)
    found = re.compile(text.encode(), re.DOTALL).search(path)
    assert ours.matches(path) is (found is not None)
    expected = None if found is None else [group or b"" for group in found.groups()]
    assert ours.match(path) == expected


def test_bytes_beyond_ascii() -> None:
    assert PathPattern("^/(é+)$").match("/éé".encode()) == ["éé".encode()]
    assert PathPattern("^/.$").matches(b"/\xff")
    assert not PathPattern("^/[a-z]$").matches(b"/\xff")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 1-512 characters"),
        ("a" * 513, "expected 1-512 characters"),
        ("(?P<x>a)", "only (?:...) is known"),
        ("(?=a)", "only (?:...) is known"),
        ("a**", "nothing that '*' could repeat"),
        ("a++", "nothing that '+' could repeat"),
        ("*", "nothing that '*' could repeat"),
        ("(a", "a ( without its )"),
        ("a)", "')' has no meaning at character 2"),
        ("[z-a]", "from a character to a later one"),
        (r"[\d-z]", "from a character to a later one"),
        ("[é]", "only ASCII"),
        ("[a", "it ends in the middle"),
        ("\\", "it ends in the middle"),
        (r"\1", r"\1 is not known"),
        ("^a$b", "'$' has no meaning inside"),
        ("a^", "'^' has no meaning inside"),
        ("^a|b", "an anchor beside a|b"),
        ("a|b$", "an anchor beside a|b"),
        ("a{", "expected a number"),
        ("a{101}", "expected a number of 0-100"),
        ("a{2000}", "expected a number of 0-100"),
        ("a{3,2}", "expected {2}, {2,} or {2,5}"),
        ("a{3", "expected {2}, {2,} or {2,5}"),
        ("(" * 33 + ")" * 33, "more than"),
        ("(?:" * 33 + ")" * 33, "more than 32 groups inside"),
        ("()" * 10, "more than 9 groups"),
        ("(?:.{100}){50}", "it is too large"),
        ("(?:(?:(?:(?:){100}){100}){100}){100}", "it is too large"),
        (r"^a.{30}[ab]*b.{0,30}[ab]*a", "it is too complex"),
    ],
)
def test_what_is_outside_of_the_language_is_refused(text: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        PathPattern(text)
    assert message in str(caught.value)


@given(st.text(string.ascii_letters[:3] + r"()[]{}|*+?.^$\/0,-:", max_size=12))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        pattern = PathPattern(text)
    except PatternError:
        return
    assert pattern.matches(b"/ab") in (True, False)
