"""The heads that a gateway sends on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from lbproto.config import HeaderRules, Service
from lbproto.framing.codec import CodecLimits
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
from lbproto.framing.usual import UsualRequests, UsualResponses
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.rewriting import outgoing
from lbproto.rewriting.outgoing import answers_itself, has_underscore, loops
from lbproto.rewriting.policy import HeadPolicy
from lbproto.rewriting.variables import template

PEER = PeerInfo(address="192.0.2.1", port=4711, local="127.0.0.1:80")
SERVICE = Service(name="web", upstream="web")
BARE = Service(name="web", upstream="web", via=None)
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
FORWARDING = (
    b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n"
    b"X-Forwarded-Host: a.example\r\n"
)


def request(
    fields: bytes = b"",
    *,
    method: bytes = b"GET",
    authority: bytes = b"a.example",
    host: bytes = b"Host: a.example\r\n",
    version: Version = Version.HTTP11,
    nominated: frozenset[bytes] = frozenset(),
    upgrade: bytes = b"",
    expects_continue: bool = False,
) -> RequestHead:
    return RequestHead(
        stream=3,
        method=method,
        target=b"/x?y",
        authority=authority,
        scheme=b"http",
        headers=Headers(host + fields),
        body=length(5),
        version=version,
        nominated=nominated,
        upgrade=upgrade,
        expects_continue=expects_continue,
    )


def response(
    fields: bytes = b"",
    *,
    status: int = 200,
    body: BodyHint = NO_BODY,
    nominated: frozenset[bytes] = frozenset(),
    upgrade: bytes = b"",
) -> ResponseHead:
    return ResponseHead(
        stream=3,
        status=status,
        reason=b"Fine",
        headers=Headers(fields),
        body=body,
        version=Version.HTTP11,
        nominated=nominated,
        upgrade=upgrade,
    )


def upstream_request(
    head: RequestHead, peer: PeerInfo, service: Service
) -> RequestHead:
    return outgoing.upstream_request(head, peer, HeadPolicy(service))


def answered(head: ResponseHead, service: Service = SERVICE) -> ResponseHead:
    policy = HeadPolicy(service)
    return outgoing.downstream_response(head, request(), PEER, policy, DATE)


def sent(
    fields: bytes = b"",
    *,
    service: Service = BARE,
    peer: PeerInfo = PEER,
    **facts: object,
) -> bytes:
    """Return the fields that go out for a request, without the forwarding ones."""
    out = upstream_request(request(fields, **facts), peer, service)
    return out.headers.wire().replace(FORWARDING, b"")


def test_a_plain_request_gains_forwarding_fields_and_via():
    head = request(b"accept:*/*\r\nCookie: a=1\r\nContent-Length: 5\r\n")
    out = upstream_request(head, PEER, SERVICE)
    assert out == replace(
        head,
        headers=Headers(
            b"Host: a.example\r\naccept:*/*\r\nCookie: a=1\r\nContent-Length: 5\r\n"
            + FORWARDING
            + b"Via: 1.1 lb\r\n"
        ),
    )


def test_the_head_that_came_in_stays_as_it_was():
    fields = b"Connection: x-a\r\nX-A: 1\r\nX_B: 2\r\nMax-Forwards: 5\r\n"
    nominated = frozenset({b"x-a"})
    head = request(fields, method=b"OPTIONS", nominated=nominated)
    upstream_request(head, PEER, SERVICE)
    assert head == request(fields, method=b"OPTIONS", nominated=nominated)


def test_hop_fields_go_and_nominations_with_them():
    fields = (
        b"Connection: close, X-A\r\nX-A: 1\r\nTE: trailers\r\nTrailer: X-T\r\n"
        b"Proxy-Authorization: Basic eDp5\r\nX-B: 2\r\n"
    )
    head = request(fields, nominated=frozenset({b"close", b"x-a"}))
    out = upstream_request(head, PEER, BARE)
    assert out.nominated == frozenset()
    assert out.headers.wire() == b"Host: a.example\r\nX-B: 2\r\n" + FORWARDING


def test_nomination_cannot_delete_what_we_set():
    nominated = frozenset({b"host", b"via", b"x-forwarded-for", b"content-length"})
    head = request(
        b"Connection: Host, Via, X-Forwarded-For, Content-Length\r\n"
        b"Content-Length: 5\r\nVia: 1.0 fred\r\n",
        nominated=nominated,
    )
    assert upstream_request(head, PEER, SERVICE).headers.wire() == (
        b"Host: a.example\r\nContent-Length: 5\r\n" + FORWARDING + b"Via: 1.1 lb\r\n"
    )


@pytest.mark.parametrize(
    ("underscores", "kept"),
    [("drop", b""), ("pass", b"X_A: 1\r\n"), ("reject", b"X_A: 1\r\n")],
)
def test_underscores_follow_the_policy(underscores, kept):
    service = replace(BARE, underscores=underscores)
    assert sent(b"X_A: 1\r\nX-B: 2\r\n", service=service) == (
        b"Host: a.example\r\n" + kept + b"X-B: 2\r\n"
    )


def test_has_underscore_looks_at_names_alone():
    assert has_underscore(request(b"X_A: 1\r\n"))
    assert not has_underscore(request(b"X-A: a_b\r\n"))


def test_expect_is_passed_on_when_it_holds():
    head = request(b"Expect: 100-continue\r\n", expects_continue=True)
    out = upstream_request(head, PEER, BARE)
    assert out.expects_continue
    assert out.headers.get(b"expect") == b"100-continue"


@pytest.mark.parametrize(
    "head",
    [
        request(b"Expect: 100-continue\r\n"),
        request(
            b"Expect: 100-continue\r\n", expects_continue=True, version=Version.HTTP10
        ),
        request(
            b"Connection: Expect\r\nExpect: 100-continue\r\n",
            expects_continue=True,
            nominated=frozenset({b"expect"}),
        ),
    ],
    ids=["not heeded", "1.0", "nominated"],
)
def test_expect_goes_when_it_does_not_hold(head):
    out = upstream_request(head, PEER, BARE)
    assert not out.expects_continue
    assert b"expect" not in out.headers


def test_an_equal_host_keeps_its_bytes():
    assert sent(host=b"A: 1\r\nhOST:a.example\r\n") == b"A: 1\r\nhOST:a.example\r\n"


def test_another_host_is_replaced_in_place():
    out = sent(b"B: 2\r\n", host=b"A: 1\r\nhost: other\r\n")
    assert out == b"A: 1\r\nHost: a.example\r\nB: 2\r\n"


def test_a_missing_host_comes_first():
    assert sent(b"B: 2\r\n", host=b"") == b"Host: a.example\r\nB: 2\r\n"


@pytest.mark.parametrize(
    ("local", "host"),
    [
        ("127.0.0.1:80", b"127.0.0.1:80"),
        ("[::1]:80", b"[::1]:80"),
        ("unix:/run/lb.sock", b"localhost"),
    ],
)
def test_a_request_for_nobody_is_for_our_own_address(local, host):
    head = request(b"B: 2\r\n", host=b"", authority=b"", version=Version.HTTP10)
    out = upstream_request(head, replace(PEER, local=local), BARE)
    assert out.authority == host
    assert out.headers.wire() == (
        b"Host: " + host + b"\r\nB: 2\r\n"
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n"
    )


def test_a_trusted_peer_is_believed():
    service = replace(BARE, trusted_proxies=(ip_network("192.0.2.0/24"),))
    out = upstream_request(request(b"X-Forwarded-For: 6.6.6.6\r\n"), PEER, service)
    assert out.headers.get_all(b"x-forwarded-for") == [b"6.6.6.6, 192.0.2.1"]


@pytest.mark.parametrize(
    ("version", "via"), [(Version.HTTP10, b"1.0 lb"), (Version.HTTP11, b"1.1 lb")]
)
def test_via_is_a_line_after_those_before_it(version, via):
    head = request(b"Via: 1.0 fred\r\n", version=version)
    out = upstream_request(head, PEER, SERVICE)
    assert out.headers.get_all(b"via") == [b"1.0 fred", via]


def test_via_can_be_switched_off():
    assert sent(b"Via: 1.0 fred\r\n") == b"Host: a.example\r\nVia: 1.0 fred\r\n"


@pytest.mark.parametrize(
    ("method", "value", "left"),
    [
        (b"OPTIONS", b"5", b"4"),
        (b"OPTIONS", b"1", b"0"),
        (b"OPTIONS", b"007", b"6"),
        (b"OPTIONS", b"0", b"0"),
        (b"OPTIONS", b"1000000000", b"999999999"),
        (b"OPTIONS", b"9" * 5000, b"999999999"),
        (b"OPTIONS", b"+5", b"+5"),
        (b"OPTIONS", b"1_0", b"1_0"),
        (b"OPTIONS", b"", b""),
        (b"GET", b"5", b"5"),
    ],
)
def test_max_forwards_is_counted_down_on_options(method, value, left):
    head = request(b"Max-Forwards: " + value + b"\r\n", method=method)
    out = upstream_request(head, PEER, BARE)
    assert out.headers.get_all(b"max-forwards") == [left]


def test_max_forwards_is_never_invented():
    assert sent(method=b"OPTIONS") == b"Host: a.example\r\n"


@pytest.mark.parametrize(
    ("method", "fields", "here"),
    [
        (b"OPTIONS", b"Max-Forwards: 0\r\n", True),
        (b"OPTIONS", b"Max-Forwards: 00\r\n", True),
        (b"OPTIONS", b"Max-Forwards: 1\r\n", False),
        (b"OPTIONS", b"Max-Forwards: -0\r\n", False),
        (b"OPTIONS", b"", False),
        (b"GET", b"Max-Forwards: 0\r\n", False),
    ],
)
def test_options_that_may_go_no_further_are_answered_here(method, fields, here):
    assert answers_itself(request(fields, method=method)) is here


@pytest.mark.parametrize(
    ("via", "loop"),
    [
        (b"1.1 lb", True),
        (b"1.1 LB", True),
        (b"HTTP/1.1 lb (a comment)", True),
        (b"1.0 fred, 1.1\tlb", True),
        (b" , ,1.0 fred (x),1.1 lb,", True),
        (b"1.1 lb2", False),
        (b"1.1 lb:80", False),
        (b"lb 1.1", False),
        (b"1.1 fred (lb)", False),
        (b"1.1", False),
        (b"", False),
    ],
)
def test_our_pseudonym_in_via_is_a_loop(via, loop):
    assert loops(request(b"Via: 1.0 ann\r\nVia: " + via + b"\r\n"), b"lb") is loop


def test_there_is_no_loop_without_via_or_a_pseudonym():
    assert not loops(request(), b"lb")
    assert not loops(request(b"Via: 1.1 lb\r\n"), None)


@pytest.mark.parametrize(
    ("offered", "allowed", "kept"),
    [
        (b"websocket", (b"websocket",), True),
        (b"WebSocket", (b"websocket",), True),
        (b"websocket/13 , , foo", (b"websocket", b"Foo"), True),
        (b"websocket, foo", (b"websocket",), False),
        (b"foo", (), False),
        (b"foo/2", (b"*",), True),
        (b"h2c", (b"*",), False),
        (b"H2C", (b"h2c",), False),
        (b"websocket, h2c", (b"*", b"websocket"), False),
        (b"", (b"*",), False),
    ],
)
def test_an_upgrade_is_kept_if_every_protocol_is_allowed(offered, allowed, kept):
    service = replace(BARE, upgrades=allowed)
    head = request(b"Upgrade: " + offered + b"\r\n", upgrade=offered)
    out = upstream_request(head, PEER, service)
    assert out.upgrade == (offered if kept else b"")
    assert b"upgrade" not in out.headers


def test_an_upgrade_of_a_1_0_client_is_ignored():
    head = request(upgrade=b"websocket", version=Version.HTTP10)
    assert upstream_request(head, PEER, BARE).upgrade == b""


def test_request_rules_have_the_last_word():
    rules = HeaderRules(
        remove=(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
        set=((b"Host", b"one.example"),),
        add=((b"X_Own", b"1"),),
    )
    service = replace(SERVICE, request_headers=rules)
    out = upstream_request(request(), PEER, service)
    assert out.authority == b"one.example"
    assert out.headers.wire() == b"Host: one.example\r\nVia: 1.1 lb\r\nX_Own: 1\r\n"


def test_a_request_may_lose_its_host_to_a_rule():
    service = replace(BARE, request_headers=HeaderRules(remove=(b"host",)))
    out = upstream_request(request(), PEER, service)
    assert out.authority == b""
    assert out.headers.wire() == FORWARDING


def test_a_response_loses_hop_fields_and_gains_a_date():
    head = response(
        b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX_End: 2\r\n",
        nominated=frozenset({b"x-hop"}),
        body=STREAM,
    )
    before = head.headers.wire()
    out = answered(head)
    assert out == response(b"X_End: 2\r\nDate: " + DATE + b"\r\n", body=STREAM)
    assert head.headers.wire() == before


def test_a_date_that_is_for_one_hop_is_replaced_by_ours():
    head = response(b"Date: then\r\n", nominated=frozenset({b"date"}))
    assert answered(head).headers.wire() == b"Date: " + DATE + b"\r\n"


def test_a_date_is_kept():
    out = answered(response(b"date: then\r\n"), SERVICE)
    assert out.headers.wire() == b"date: then\r\n"


@pytest.mark.parametrize("status", [100, 103])
def test_interim_responses_get_neither_date_nor_rules(status):
    service = replace(SERVICE, response_headers=HeaderRules(set=((b"X-Rule", b"1"),)))
    head = response(b"Link: </s.css>\r\n", status=status)
    assert answered(head, service) == head


def test_rules_apply_to_final_responses():
    rules = HeaderRules(remove=(b"server", b"date"), add=((b"X-Rule", b"1"),))
    service = replace(SERVICE, response_headers=rules)
    out = answered(response(b"Server: origin\r\n"), service)
    assert out.headers.wire() == b"X-Rule: 1\r\n"


@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (200, length(4), True),
        (304, NO_BODY, True),
        (200, STREAM, False),
        (204, NO_BODY, False),
        (103, NO_BODY, False),
    ],
)
def test_a_length_is_passed_on_only_where_it_may_stand(status, body, kept):
    head = response(b"Content-Length: 4\r\n", status=status, body=body)
    out = answered(head)
    assert (b"content-length" in out.headers) is kept


@pytest.mark.parametrize(
    ("status", "kept"), [(101, b"foo"), (426, b"foo"), (200, b""), (400, b"")]
)
def test_upgrade_is_passed_on_where_it_means_something(status, kept):
    head = response(b"Upgrade: foo\r\n", status=status, upgrade=b"foo")
    out = answered(head)
    assert out.upgrade == kept
    assert b"upgrade" not in out.headers


TLS = TlsInfo(alpn="", sni="a.example", version="TLSv1.3", peer_cert="CN=ann")
RULES = HeaderRules(
    set=((b"X-Subject", template(b"$ssl_client_s_dn")), (b"X-Name", b"set")),
    add=(
        (b"X-Name", template(b"$ssl_server_name")),
        (b"X-Seen", template(b"$scheme://$host from $remote_addr")),
    ),
)


def test_rules_may_tell_who_the_client_is():
    service = replace(BARE, request_headers=RULES)
    assert sent(service=service, peer=replace(PEER, tls=TLS)) == (
        b"Host: a.example\r\n"
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: a.example\r\n"
        b"X-Subject: CN=ann\r\nX-Name: set\r\nX-Name: a.example\r\n"
        b"X-Seen: https://a.example from 192.0.2.1\r\n"
    )


def test_a_client_never_supplies_what_a_rule_vouches_for():
    service = replace(BARE, request_headers=RULES)
    fields = b"X-Subject: CN=root\r\nx-subject: CN=root\r\nX_Subject: CN=root\r\n"
    assert sent(fields, service=service) == (
        b"Host: a.example\r\nX-Name: set\r\nX-Seen: http://a.example from 192.0.2.1\r\n"
    )


def test_rules_of_responses_tell_of_the_request():
    service = replace(SERVICE, response_headers=RULES)
    head = response(b"X-Subject: CN=root\r\nDate: then\r\n")
    assert answered(head, service).headers.wire() == (
        b"Date: then\r\nX-Name: set\r\nX-Seen: http://a.example from 192.0.2.1\r\n"
    )


# -- heads that were searched are rewritten without being taken apart ---------

LIMITS = CodecLimits()
EDITS = HeaderRules(
    remove=(b"cookie", b"host", b"b"),
    set=((b"X-A", b"1"), (b"A", b"2"), (b"Via", b"3"), (b"Host", b"h")),
    add=((b"A", b"4"), (b"X-Forwarded-For", b"5")),
)


@pytest.mark.parametrize(
    "service",
    [
        SERVICE,
        BARE,
        replace(SERVICE, underscores="reject"),
        replace(SERVICE, request_headers=EDITS),
        replace(SERVICE, trusted_proxies=(ip_network("0.0.0.0/0"),)),
    ],
)
@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"A: 1\r\nConnection: keep-alive\r\nB: 2\r\na: 3\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nConnection: close\r\nCookie: host: a_b\r\n",
    ],
)
def test_a_searched_request_is_rewritten_as_any(fields, service):
    wire = b"PUT / HTTP/1.1\r\nA: 0\r\nHost: a.example\r\n" + fields + b"\r\n"
    head, _ = UsualRequests(LIMITS).read(wire, 1)
    raw = wire[wire.index(b"\n") + 1 : -2]
    out = upstream_request(head, PEER, service)
    assert out == upstream_request(replace(head, headers=Headers(raw)), PEER, service)
    assert head.headers.wire() == raw
    assert not has_underscore(head)
    assert not loops(head, b"lb")


@pytest.mark.parametrize("service", [SERVICE, replace(SERVICE, response_headers=EDITS)])
@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Date: x\r\nConnection: close\r\nContent-Length: 5\r\nSet-Cookie: b\r\n",
        b"Keep-Alive: x\r\nA: 1\r\nTransfer-Encoding: chunked\r\nB: _\r\nb: 2\r\n",
    ],
)
def test_a_searched_response_is_rewritten_as_any(fields, service):
    wire = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n"
    head, *_ = UsualResponses(LIMITS).read(wire, 1, b"GET")
    plain = replace(head, headers=Headers(wire[wire.index(b"\n") + 1 : -2]))
    assert answered(head, service) == answered(plain, service)
