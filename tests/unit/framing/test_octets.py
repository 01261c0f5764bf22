"""Runs of octets: both ways to find their end agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing.octets import Octets, begins_with


@given(st.binary(min_size=1), st.binary(max_size=20), st.integers(0, 20))
def test_a_run_ends_before_the_first_octet_of_another_class(members, text, begin):
    begin = min(begin, len(text))
    end = begin
    while end < len(text) and text[end] in members:
        end += 1
    assert Octets(members, by_table=False).end(text, begin) == end
    by_table = Octets(members, by_table=True)
    if end < len(text):
        assert by_table.end(text, begin) == end
    else:
        with pytest.raises(IndexError):
            by_table.end(text, begin)


@pytest.mark.parametrize("text", [b"..Keep-Alive:", b"..keep-alive", b"..KEEP-ALIVEs"])
def test_the_case_of_a_beginning_does_not_matter(text):
    assert begins_with(text, 2, b"keep-alive")
    assert not begins_with(text, 1, b"keep-alive")
    assert not begins_with(text, 2, b"keep-open")


def test_a_beginning_may_not_be_there_yet():
    with pytest.raises(IndexError):
        begins_with(b"keep", 0, b"keep-alive")
