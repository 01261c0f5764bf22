"""Rewriting, for every message that the grammar could let through."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from lbproto.config import HeaderRules, Service, Variable
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    STREAM,
    RequestHead,
    ResponseHead,
    Version,
    length,
)
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.rewriting import outgoing
from lbproto.rewriting.hop_by_hop import HOP_BY_HOP
from lbproto.rewriting.outgoing import loops
from lbproto.rewriting.policy import HeadPolicy
from lbproto.rewriting.trust import MOST_LINKS, client_of, is_trusted, links
from lbproto.rewriting.variables import template

if TYPE_CHECKING:
    from collections.abc import Iterable

CLAIM = b"6.6.6.6"
"""What only a client says of itself; no field that we write holds it."""

PEER = PeerInfo(address="192.0.2.1", port=4711, local="127.0.0.1:80")
SERVICE = Service(name="web", upstream="web")
TRUSTING = replace(SERVICE, trusted_proxies=(ip_network("192.0.2.0/24"),))

CLAIMS = [
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"Forwarded",
    b"X-Real-IP",
    b"X-Forwarded_For",
]
HOP_NAMES = sorted(HOP_BY_HOP)
OURS = {b"host", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
PLAIN = [b"Accept", b"Cookie", b"X-A", b"X-B", b"X-C", b"Set-Cookie", b"Authorization"]


@st.composite
def cased(draw: st.DrawFn, names: Iterable[bytes]) -> bytes:
    """Draw a name in some mixture of upper and lower case."""
    name = draw(st.sampled_from(list(names)))
    upper = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    return b"".join(
        name[at : at + 1].upper() if up else name[at : at + 1].lower()
        for at, up in enumerate(upper)
    )


VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]),
    max_size=12,
).map(lambda text: text.encode("latin-1").strip(b" \t"))
PLAIN_LINES = st.builds(
    lambda name, space, value: name + b":" + space + value + b"\r\n",
    cased(PLAIN),
    st.sampled_from([b"", b" "]),
    VALUES,
)
HOP_LINES = st.builds(
    lambda name, value: name + b": " + value + b"\r\n", cased(HOP_NAMES), VALUES
)
CLAIM_LINES = st.builds(lambda name: name + b": " + CLAIM + b"\r\n", cased(CLAIMS))
LINES = st.lists(st.one_of(PLAIN_LINES, HOP_LINES, CLAIM_LINES), max_size=20)
NOMINATED = st.frozensets(
    st.one_of(
        st.sampled_from(PLAIN + CLAIMS),
        st.sampled_from([b"close", b"keep-alive", b"host", b"content-length", b"via"]),
    ).map(bytes.lower),
    max_size=4,
)


@st.composite
def requests(draw: st.DrawFn) -> RequestHead:
    lines = draw(LINES)
    lines.insert(draw(st.integers(0, len(lines))), b"Host: a.example\r\n")
    return RequestHead(
        stream=1,
        method=draw(st.sampled_from([b"GET", b"POST", b"OPTIONS"])),
        target=b"/",
        authority=b"a.example",
        scheme=b"http",
        headers=Headers(b"".join(lines)),
        body=draw(st.sampled_from([NO_BODY, STREAM, length(3)])),
        version=draw(st.sampled_from([Version.HTTP10, Version.HTTP11])),
        nominated=draw(NOMINATED),
    )


@st.composite
def responses(draw: st.DrawFn) -> ResponseHead:
    return ResponseHead(
        stream=1,
        status=draw(st.sampled_from([100, 101, 103, 200, 204, 304, 426, 500])),
        reason=b"",
        headers=Headers(b"".join(draw(LINES))),
        body=draw(st.sampled_from([NO_BODY, STREAM, length(3)])),
        version=Version.HTTP11,
        nominated=draw(NOMINATED),
    )


ASKED = RequestHead(
    stream=1,
    method=b"GET",
    target=b"/",
    authority=b"a.example",
    scheme=b"http",
    headers=Headers(b"Host: a.example\r\n"),
    body=NO_BODY,
    version=Version.HTTP11,
)


def answered(head: ResponseHead, date: bytes) -> ResponseHead:
    return outgoing.downstream_response(head, ASKED, PEER, HeadPolicy(SERVICE), date)


def upstream_request(
    head: RequestHead, peer: PeerInfo, service: Service
) -> RequestHead:
    """Make the head that goes to a backend by the rules of a service."""
    return outgoing.upstream_request(head, peer, HeadPolicy(service))


def plain_lines(headers: Headers, nominated: Iterable[bytes]) -> list[bytes]:
    """Return the lines that no step of rewriting names, byte for byte."""
    known = {name.lower() for name in PLAIN} - set(nominated)
    return [
        line
        for line in headers.wire().split(b"\r\n")
        if line.partition(b":")[0].lower() in known
    ]


@given(requests(), st.sampled_from([SERVICE, TRUSTING]))
def test_other_fields_of_a_request_keep_order_case_and_bytes(head, service):
    out = upstream_request(head, PEER, service)
    assert plain_lines(out.headers, head.nominated) == plain_lines(
        head.headers, head.nominated
    )


@given(responses())
def test_other_fields_of_a_response_keep_order_case_and_bytes(head):
    out = answered(head, b"now")
    assert plain_lines(out.headers, head.nominated) == plain_lines(
        head.headers, head.nominated
    )


@given(requests(), st.sampled_from([SERVICE, TRUSTING]))
def test_nothing_of_the_first_hop_reaches_the_second(head, service):
    out = upstream_request(head, PEER, service)
    names = {name for name, _ in out.headers}
    assert names.isdisjoint(HOP_BY_HOP)
    assert names.isdisjoint(head.nominated - OURS)
    assert out.nominated == frozenset()
    assert out.headers.get_all(b"host") == [b"a.example"]


@given(responses())
def test_nothing_of_the_backends_hop_reaches_the_client(head):
    out = answered(head, b"now")
    names = {name for name, _ in out.headers}
    assert names.isdisjoint(HOP_BY_HOP)
    assert names.isdisjoint(head.nominated)


@given(requests(), st.sampled_from(["drop", "pass"]))
def test_what_an_untrusted_client_says_of_itself_never_survives(head, underscores):
    out = upstream_request(head, PEER, replace(SERVICE, underscores=underscores))
    claimed = {name.lower() for name in CLAIMS}
    kept = [(name, value) for name, value in out.headers if name in claimed]
    assert kept == [
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"a.example"),
    ]


@given(requests())
def test_the_last_link_of_a_trusted_chain_is_the_peer(head):
    out = upstream_request(head, PEER, TRUSTING)
    (chain,) = out.headers.get_all(b"x-forwarded-for")
    assert chain.rpartition(b" ")[2] == b"192.0.2.1"


STRANGERS = st.sampled_from(["6.6.6.6", "203.0.113.5:80", "2001:db8::1", "[::1]:1"])
NO_ADDRESSES = st.sampled_from(["unknown", "unix:", "6.6.6.6.6", "[6.6.6.6]", "::%1"])
PROXIES = st.sampled_from(["192.0.2.7", "192.0.2.8:80", "::ffff:192.0.2.9", ""])
ANYBODY = st.one_of(
    PROXIES, STRANGERS, NO_ADDRESSES, st.text("0123456789abcf.:[] ", max_size=12)
)
CHAINS = st.lists(ANYBODY, max_size=MOST_LINKS + 8)
NEAR = st.lists(PROXIES, max_size=MOST_LINKS - 1)


def named(*members: str, lines: int = 1) -> PeerInfo:
    """Return the client of a request whose list stands in so many lines."""
    size = len(members) // lines + 1
    cuts = [members[at : at + size] for at in range(0, len(members), size)]
    pairs = [(b"X-Forwarded-For", ", ".join(cut).encode()) for cut in cuts]
    return client_of(Headers.from_pairs(pairs), PEER, TRUSTING)


@given(CHAINS, STRANGERS, NEAR)
def test_nobody_is_believed_who_stands_left_of_a_stranger(far, stranger, near):
    assert named(*far, stranger, *near) == named(stranger)


@given(CHAINS, NO_ADDRESSES, NEAR)
def test_nobody_is_believed_who_stands_left_of_what_is_no_address(far, junk, near):
    assert named(*far, junk, *near) == named(*near)


@given(CHAINS)
def test_a_client_is_the_peer_or_one_behind_trusted_links_alone(members):
    known = links(
        Headers.from_pairs([(b"X-Forwarded-For", ",".join(members).encode())])
    )
    client = named(*members)
    behind = [replace(PEER, address=str(link.address), port=0) for link in known]
    trusted = [is_trusted(one, TRUSTING) for one in behind]
    if client is PEER:
        assert known == []
        return
    strangers = [at for at, one in enumerate(trusted) if not one]
    wanted = known[strangers[-1] if strangers else 0]
    assert client.port == wanted.port
    address = wanted.address
    assert client.address in (str(address), str(getattr(address, "ipv4_mapped", "")))


@given(CHAINS, st.integers(1, 5))
def test_it_is_the_same_list_in_however_many_lines(members, lines):
    assert named(*members, lines=lines) == named(*members)


@given(CHAINS)
def test_what_goes_on_is_read_as_it_was_by_us(members):
    said = [(b"X-Forwarded-For", ", ".join(members).encode())]
    headers = Headers.from_pairs([(b"Host", b"a.example"), *said])
    out = upstream_request(replace(ASKED, headers=headers), PEER, TRUSTING).headers
    (chain,) = out.get_all(b"x-forwarded-for")
    assert links(out)[:-1] == links(headers)[-MOST_LINKS + 1 :]
    assert len(chain.split(b", ")) <= MOST_LINKS + 1


@given(requests(), st.sampled_from([SERVICE, TRUSTING]))
def test_a_head_is_never_changed_in_place(head, service):
    before = head.headers.wire()
    upstream_request(head, PEER, service)
    assert head.headers.wire() == before


@given(requests())
def test_what_went_through_once_is_known_again(head):
    assert loops(upstream_request(head, PEER, SERVICE), SERVICE.via)


@given(requests())
def test_a_second_pass_changes_nothing_but_via(head):
    once = upstream_request(head, PEER, replace(SERVICE, via=None))
    assert upstream_request(once, PEER, replace(SERVICE, via=None)).headers.wire() == (
        b"".join(reordered(once.headers))
    )


def reordered(headers: Headers) -> list[bytes]:
    """Return the lines with the forwarding fields last, where a pass writes them."""
    lines = [line + b"\r\n" for line in headers.wire()[:-2].split(b"\r\n")]
    return sorted(lines, key=lambda line: line.lower().startswith(b"x-forwarded-"))


@given(responses())
def test_a_second_pass_over_a_response_changes_nothing(head):
    once = answered(head, b"now")
    assert answered(once, b"later") == once


FACTS = st.text(st.characters(codec="utf-8"), max_size=12)
TEMPLATES = st.lists(
    st.sampled_from([b"$" + it.value.encode() for it in Variable] + [b"$$", b"a", b" "])
)


@given(TEMPLATES, FACTS, FACTS, st.sampled_from(["set", "add"]))
def test_no_fact_about_a_client_makes_more_than_one_field(parts, sni, subject, how):
    tls = TlsInfo(alpn="", sni=sni, version="TLSv1.3", peer_cert=subject)
    rules = HeaderRules(**{how: ((b"X-Told", template(b" ".join(parts).strip())),)})
    service = replace(SERVICE, request_headers=rules)
    headers = upstream_request(ASKED, replace(PEER, tls=tls), service).headers
    others = upstream_request(ASKED, replace(PEER, tls=tls), SERVICE).headers
    assert len(headers) in (len(others), len(others) + 1)
    assert headers.wire().startswith(others.wire())
    assert headers.wire().count(b"\n") == len(headers)


@given(requests(), FACTS)
def test_what_a_rule_vouches_for_is_ours_or_nobodys(head, subject):
    rules = HeaderRules(set=((b"X-A", template(b"$ssl_client_s_dn")),))
    tls = TlsInfo(alpn="", sni="", version="TLSv1.3", peer_cert=subject)
    service = replace(SERVICE, request_headers=rules)
    out = upstream_request(head, replace(PEER, tls=tls), service)
    ours = upstream_request(ASKED, replace(PEER, tls=tls), service)
    assert out.headers.get_all(b"x-a") == ours.headers.get_all(b"x-a")
    assert b"x-a" not in upstream_request(head, PEER, service).headers
