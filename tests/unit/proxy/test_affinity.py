from __future__ import annotations

import re

import pytest

from lbproto.config import Secret, Sticky
from lbproto.framing.headers import Headers
from lbproto.machine.effects import Target
from lbproto.proxy.affinity import Affinity
from lbproto.selection.backend import BackendId
from lbproto.selection.balancer import Members

ONE, TWO = Target("10.0.0.1", 80), Target("10.0.0.2", 80)
MEMBERS: Members = ((BackendId(7), ONE), (BackendId(8), TWO))
SECRET = Secret(b"a secret of the operator")


def affinity(secret: Secret = SECRET) -> Affinity:
    return Affinity(Sticky(cookie=b"lb", secret=secret))


def value(target: Target, secret: Secret = SECRET) -> bytes:
    pair = affinity(secret).cookie(target, secure=False).partition(b";")[0]
    return pair.removeprefix(b"lb=")


def taken(cookie: bytes, members: Members = MEMBERS) -> tuple[BackendId | None, bytes]:
    """The backend, and what is left of the request."""
    headers = Headers(b"Host: a\r\nCookie: " + cookie + b"\r\nX: y\r\n")
    return affinity().take(headers, members), headers.wire()


def test_a_value_is_opaque() -> None:
    assert re.fullmatch(rb"[A-Za-z0-9_-]{22}", value(ONE))
    assert value(ONE) != value(TWO)


def test_a_value_survives_restarts_and_hangs_on_the_secret() -> None:
    # Another value here would send every client elsewhere on an upgrade.
    assert value(ONE) == b"qdUSgsKF3KBgPAU-9pjmrg"
    assert value(ONE, Secret(b"another one")) != value(ONE)


def test_a_cookie_names_its_backend_whatever_its_id_is() -> None:
    assert taken(b"lb=" + value(TWO))[0] == 8
    assert taken(b"lb=" + value(TWO), ((BackendId(3), TWO),))[0] == 3
    assert taken(b"lb=" + value(TWO), ((BackendId(7), ONE),))[0] is None


def test_members_that_change_are_noticed() -> None:
    one = affinity()
    for backend in (1, 2):
        headers = Headers(b"Cookie: lb=" + value(ONE) + b"\r\n")
        assert one.take(headers, ((BackendId(backend), ONE),)) == backend


@pytest.mark.parametrize(
    ("cookie", "left"),
    [
        (b"lb=%b", b""),
        (b"a=b; lb=%b; c=d", b"Cookie: a=b; c=d\r\n"),
        (b"a=b;lb=%b", b"Cookie: a=b\r\n"),
        (b'lb="%b"; a="b c"', b'Cookie: a="b c"\r\n'),
        (b"lb=x; lb=%b; a", b"Cookie: a\r\n"),
        (b";a=b; ;lb=%b; ", b"Cookie: a=b\r\n"),
        (b"lb=%b;", b""),
        (b"lbx=1; lb = %b", b"Cookie: lbx=1\r\n"),
        (b"a=b\r\nCookie: lb=%b\r\nCookie: c=d", b"Cookie: a=b; c=d\r\n"),
    ],
)
def test_the_cookie_goes_no_further(cookie: bytes, left: bytes) -> None:
    backend, rest = taken(cookie % value(ONE))
    assert backend == 7
    assert rest == b"Host: a\r\n" + left + b"X: y\r\n"


@pytest.mark.parametrize("made_up", [b"", b"10.0.0.1:80", b"x" * 22, b"\xff"])
def test_what_nobody_signed_names_nobody(made_up: bytes) -> None:
    assert taken(b"a=b; lb=" + made_up) == (
        None,
        b"Host: a\r\nCookie: a=b\r\nX: y\r\n",
    )


def test_other_cookies_are_left_alone() -> None:
    for cookie in (b"a=b;c=d", b"xlb=%b" % value(ONE), b"LB=1"):
        assert taken(cookie) == (
            None,
            b"Host: a\r\nCookie: " + cookie + b"\r\nX: y\r\n",
        )
    assert affinity().take(Headers(b"Host: a\r\n"), MEMBERS) is None


@pytest.mark.parametrize(
    ("sticky", "secure", "attributes"),
    [
        ({}, False, b"Path=/; HttpOnly"),
        ({}, True, b"Path=/; Secure; HttpOnly"),
        ({"secure": True}, False, b"Path=/; Secure; HttpOnly"),
        ({"secure": False}, True, b"Path=/; HttpOnly"),
        (
            {"http_only": False, "same_site": "strict", "max_age": 60},
            False,
            b"Path=/; Max-Age=60; SameSite=Strict",
        ),
    ],
)
def test_attributes(sticky: dict, secure: bool, attributes: bytes) -> None:
    one = Affinity(Sticky(cookie=b"lb", secret=SECRET, **sticky))
    got = one.cookie(ONE, secure=secure).partition(b"; ")
    assert got == (b"lb=" + value(ONE), b"; ", attributes)


def test_a_secret_is_not_shown() -> None:
    assert "operator" not in repr(Sticky(cookie=b"lb", secret=SECRET))
