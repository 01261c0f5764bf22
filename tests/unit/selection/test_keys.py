"""The key of a request."""

from __future__ import annotations

import pytest

from lbproto.config import HashOn
from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, RequestHead, Version
from lbproto.machine.events import PeerInfo
from lbproto.selection.keys import cookie, request_key

PEER = PeerInfo("198.51.100.7", 40000, "127.0.0.1:80")


def head(target: bytes = b"/", *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(
        stream=1,
        method=b"GET",
        target=target,
        authority=b"a",
        scheme=b"http",
        headers=Headers.from_pairs(fields),
        body=NO_BODY,
        version=Version.HTTP11,
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (HashOn(kind="client_ip"), b"198.51.100.7"),
        (HashOn(kind="uri"), b"/a/b?c=d?e"),
        (HashOn(kind="path"), b"/a/b"),
        (HashOn(kind="header", name=b"x-user"), b"ann, bob"),
        (HashOn(kind="header", name=b"x-other"), b""),
        (HashOn(kind="cookie", name=b"sid"), b"one"),
        (HashOn(kind="cookie", name=b"SID"), b""),
    ],
)
def test_a_key_is_made_of_what_the_rule_says(rule, expected):
    fields = (
        (b"X-User", b"ann"),
        (b"Cookie", b"x=y;  sid=one; sid=two"),
        (b"x-user", b"bob"),
    )
    assert request_key(rule, head(b"/a/b?c=d?e", *fields), PEER) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"sid=a=b", b"a=b"),
        (b"xsid=1; sid=", b""),
        (b"sid", b""),
        (b"sid ;sid=2", b"2"),
        (b"a=sid=1;\tsid=3\t", b"3"),
    ],
)
def test_a_cookie_is_found_by_its_whole_name(field, expected):
    assert cookie(Headers.from_pairs([(b"Cookie", field)]), b"sid") == expected


def test_cookies_may_stand_in_several_fields():
    fields = Headers.from_pairs([(b"Cookie", b"a=1"), (b"Cookie", b"b=2")])
    assert cookie(fields, b"b") == b"2"
