"""The operator's own edits."""

from __future__ import annotations

import pytest

from lbproto.config import HeaderRules
from lbproto.framing.headers import Headers
from lbproto.rewriting.rules import apply_rules


def test_no_rules_change_nothing():
    headers = Headers(b"a:1\r\nB: 2\r\n")
    apply_rules(headers, HeaderRules())
    assert headers.wire() == b"a:1\r\nB: 2\r\n"


def test_rules_apply_in_the_order_remove_set_add():
    headers = Headers(b"X-A: 1\r\nX-B: 2\r\nX-C: 3\r\nx-b: 4\r\n")
    rules = HeaderRules(
        remove=(b"x-a",),
        set=((b"X-A", b"set"), (b"X-B", b"set")),
        add=((b"X-A", b"added"), (b"X-D", b"added")),
    )
    apply_rules(headers, rules)
    assert headers.wire() == (
        b"X-B: set\r\nX-C: 3\r\nX-A: set\r\nX-A: added\r\nX-D: added\r\n"
    )


@pytest.mark.parametrize(
    "rules",
    [
        HeaderRules(set=((b"X-A", b"1\r\nX-B: 2"),)),
        HeaderRules(add=((b"X A", b"1"),)),
    ],
)
def test_a_rule_that_would_split_the_message_is_refused(rules):
    with pytest.raises(ValueError, match="field"):
        apply_rules(Headers(), rules)
