from __future__ import annotations

import pytest

from lbproto.config import Service
from lbproto.framing.messages import length
from lbproto.machine.errors import VERDICTS, ErrorCode
from lbproto.proxy.replies import ALLOW, error_reply, options_reply

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
WEB = Service(name="web", upstream="web")
ANSWERED = [code for code in ErrorCode if VERDICTS[code].status]


@pytest.mark.parametrize("code", ANSWERED)
def test_every_error_has_a_short_plain_response(code: ErrorCode) -> None:
    head, content = error_reply(code, WEB, 3, DATE)
    assert head.stream == 3
    assert head.status == VERDICTS[code].status
    assert head.reason
    assert content == b"%d %b\n" % (head.status, head.reason)
    assert head.body == length(len(content))
    assert head.headers.get(b"content-length") == b"%d" % len(content)
    assert head.headers.get(b"date") == DATE
    assert head.headers.get(b"content-type") == b"text/plain; charset=utf-8"
    assert (head.headers.get(b"allow") == ALLOW) is (head.status == 405)
    assert (b"retry-after" in head.headers) is (head.status == 503)
    error = VERDICTS[code].proxy_error.encode("ascii")
    assert head.headers.get(b"proxy-status") == b"lb; error=" + error


def test_proxy_status_names_us_as_via_does_and_can_be_off() -> None:
    edge = Service(name="web", upstream="web", via=b"edge")
    head, _ = error_reply(ErrorCode.LOOP, edge, 1, DATE)
    assert head.headers.get(b"proxy-status") == b"edge; error=proxy_loop_detected"
    silent = Service(name="web", upstream="web", proxy_status=False)
    head, _ = error_reply(ErrorCode.LOOP, silent, 1, DATE)
    assert b"proxy-status" not in head.headers


def test_options_is_answered_without_content() -> None:
    head = options_reply(1, DATE)
    assert head.status == 200
    assert head.headers.get(b"allow") == ALLOW
    assert head.body == length(0)
