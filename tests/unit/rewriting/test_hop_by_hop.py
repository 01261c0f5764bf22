"""Which fields end at this hop."""

from __future__ import annotations

import pytest

from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    STREAM,
    BodyHint,
    RequestHead,
    ResponseHead,
    Version,
    length,
)
from lbproto.rewriting.hop_by_hop import HOP_BY_HOP, hop_fields


def request(
    *nominated: bytes, body: BodyHint = NO_BODY, version: Version = Version.HTTP11
) -> RequestHead:
    return RequestHead(
        stream=1,
        method=b"GET",
        target=b"/",
        authority=b"a.example",
        scheme=b"http",
        headers=Headers(b"Host: a.example\r\n"),
        body=body,
        version=version,
        nominated=frozenset(nominated),
    )


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ],
)
def test_known_hop_fields_go_without_being_nominated(name):
    assert name in hop_fields(request())


def test_a_plain_message_loses_only_the_known_ones():
    assert hop_fields(request(body=length(3))) == HOP_BY_HOP


def test_nominated_fields_go():
    assert hop_fields(request(b"x-foo", b"close")) == HOP_BY_HOP | {b"x-foo", b"close"}


@pytest.mark.parametrize("name", [b"content-length", b"host"])
def test_framing_and_host_cannot_be_nominated(name):
    assert name not in hop_fields(request(name, b"x-foo"))


def test_a_length_beside_a_transfer_coding_goes():
    assert b"content-length" in hop_fields(request(body=STREAM))


def test_responses_obey_the_same_rule():
    head = ResponseHead(
        stream=1,
        status=200,
        reason=b"OK",
        headers=Headers(),
        body=NO_BODY,
        version=Version.HTTP11,
        nominated=frozenset({b"x-hop"}),
    )
    assert hop_fields(head) == HOP_BY_HOP | {b"x-hop"}
