"""A request as phases see it."""

from __future__ import annotations

import pytest

from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, RequestHead, Version
from lbproto.machine.events import PeerInfo
from lbproto.phases.session import Session

HEAD = RequestHead(
    stream=1,
    method=b"GET",
    target=b"/a",
    authority=b"a.example",
    scheme=b"http",
    headers=Headers(b"Host: a.example\r\n"),
    body=NO_BODY,
    version=Version.HTTP11,
)


def session(address: str = "192.0.2.1") -> Session:
    return Session(HEAD, PeerInfo(address, 40000, "127.0.0.1:80"), "web")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.1", "192.0.2.1:40000"),
        ("2001:db8::1", "[2001:db8::1]:40000"),
        ("unix:", "unix:"),
    ],
)
def test_a_client_has_an_address(address: str, shown: str) -> None:
    assert session(address).client_addr == shown
    assert session(address).server_addr == "127.0.0.1:80"
    assert session(address).service == "web"


def test_a_text_is_utf_8_unless_the_application_says_otherwise() -> None:
    one = session()
    one.respond(200, "\u20ac", [("Content-Type", "text/html"), ("Date", "then")])
    head, content = one.take_reply(3, b"now")
    assert content == "\u20ac".encode()
    assert dict(head.headers) == {
        b"content-type": b"text/html",
        b"date": b"then",
        b"content-length": b"3",
    }
    assert (head.stream, head.reason) == (3, b"OK")
    assert not one.answered


def test_a_status_without_words_has_none() -> None:
    one = session()
    one.respond_error(599)
    head, content = one.take_reply(1, b"now")
    assert (head.status, head.reason, content) == (599, b"", b"599\n")
