"""Rules of the operator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.config import HeaderRules, Template, Variable
from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, RequestHead, Version
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.rules import apply_rules, combined

PEER = PeerInfo(address="192.0.2.1", port=4711, local="127.0.0.1:80")
REQUEST = RequestHead(
    stream=1,
    method=b"GET",
    target=b"/",
    authority=b"a.example",
    scheme=b"http",
    headers=Headers(b"Host: a.example\r\n"),
    body=NO_BODY,
    version=Version.HTTP11,
)
KNOWN = Template((b"from ", Variable.CLIENT_ADDRESS))
UNKNOWN = Template((Variable.CLIENT_SUBJECT,))


def edited(raw: bytes, rules: HeaderRules) -> bytes:
    headers = Headers(raw)
    apply_rules(headers, rules, REQUEST, PEER)
    return headers.wire()


def test_no_rules_change_nothing():
    assert edited(b"a:1\r\nB: 2\r\n", HeaderRules()) == b"a:1\r\nB: 2\r\n"


def test_rules_apply_in_the_order_remove_set_add():
    rules = HeaderRules(
        remove=(b"x-a",),
        set=((b"X-A", b"set"), (b"X-B", b"set")),
        add=((b"X-A", b"added"), (b"X-D", b"added")),
    )
    assert edited(b"X-A: 1\r\nX-B: 2\r\nX-C: 3\r\nx-b: 4\r\n", rules) == (
        b"X-B: set\r\nX-C: 3\r\nX-A: set\r\nX-A: added\r\nX-D: added\r\n"
    )


def test_a_template_is_filled_in():
    rules = HeaderRules(set=((b"X-A", KNOWN),), add=((b"X-B", KNOWN),))
    assert edited(b"x-a: 1\r\nX-B: 2\r\nX-A: 3\r\n", rules) == (
        b"X-A: from 192.0.2.1\r\nX-B: 2\r\nX-B: from 192.0.2.1\r\n"
    )


def test_a_template_that_comes_out_empty_leaves_no_field_to_set():
    rules = HeaderRules(set=((b"X-A", UNKNOWN),))
    assert edited(b"x-a: 1\r\nX-B: 2\r\nX-A: 3\r\n", rules) == b"X-B: 2\r\n"


def test_a_template_that_comes_out_empty_adds_nothing():
    rules = HeaderRules(add=((b"X-A", UNKNOWN),))
    assert edited(b"x-a: 1\r\n", rules) == b"x-a: 1\r\n"


def test_an_empty_text_is_a_field_with_an_empty_value():
    rules = HeaderRules(set=((b"X-A", b""),), add=((b"X-B", b""),))
    assert edited(b"", rules) == b"X-A: \r\nX-B: \r\n"


@pytest.mark.parametrize(
    "rules",
    [
        HeaderRules(set=((b"X-A", b"1\r\nX-B: 2"),)),
        HeaderRules(add=((b"X A", b"1"),)),
        HeaderRules(set=((b"X-A", Template((b"1\r\nX-B: ", Variable.SCHEME))),)),
    ],
)
def test_a_rule_that_would_split_the_message_is_refused(rules):
    with pytest.raises(ValueError, match="field"):
        edited(b"", rules)


NAMES = st.sampled_from([b"X-A", b"x-a", b"X-B", b"X-C"])
PAIRS = st.lists(st.tuples(NAMES, st.sampled_from([b"1", b"2"])), max_size=3)
RULES = st.builds(
    HeaderRules,
    remove=st.lists(NAMES.map(bytes.lower), max_size=2).map(tuple),
    set=PAIRS.map(tuple),
    add=PAIRS.map(tuple),
)


@given(RULES, RULES)
def test_combined_rules_do_what_one_after_the_other_would(
    first: HeaderRules, then: HeaderRules
) -> None:
    raw = b"X-A: 0\r\nX-B: 0\r\n"
    one, other = Headers(raw), Headers(raw)
    apply_rules(one, first, REQUEST, PEER)
    apply_rules(one, then, REQUEST, PEER)
    apply_rules(other, combined(first, then), REQUEST, PEER)
    for name in (b"x-a", b"x-b", b"x-c"):
        assert one.get_all(name) == other.get_all(name)
