"""Templates: how they are read, and what each variable tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbproto.config import Template, Variable
from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, RequestHead, Version
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.rewriting.variables import UnknownVariable, filled, template

PEER = PeerInfo(address="192.0.2.1", port=4711, local="127.0.0.1:80")
TLS = TlsInfo("", "a.example", "TLSv1.3", "CN=ann,O=A\\, B", verified=True)
SECURED = replace(PEER, tls=TLS)
LOCAL = PeerInfo(address="unix:", port=0, local="unix:/run/lb.sock")


def request(authority: bytes = b"a.example") -> RequestHead:
    return RequestHead(
        stream=1,
        method=b"GET",
        target=b"/",
        authority=authority,
        scheme=b"http",
        headers=Headers(),
        body=NO_BODY,
        version=Version.HTTP11,
    )


def told(text: str, peer: PeerInfo = PEER, authority: bytes = b"a.example") -> bytes:
    made = template(text.encode())
    assert isinstance(made, Template)
    return filled(made, request(authority), peer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"plain", b"plain"),
        (b"$$", b"$"),
        (b"$$host", b"$host"),
        (b"$$$$", b"$$"),
        (b"$", b"$"),
        (b"5$", b"5$"),
        (b"$5 $.50 $-a $\xc3\xa9", b"$5 $.50 $-a $\xc3\xa9"),
        (b"{host} }", b"{host} }"),
    ],
)
def test_text_without_a_variable_stays_bytes(text, expected):
    assert template(text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (b"$host", (Variable.HOST,)),
        (b"${host}", (Variable.HOST,)),
        (b"${host}name", (Variable.HOST, b"name")),
        (b"$scheme://$host", (Variable.SCHEME, b"://", Variable.HOST)),
        (b"$host$host", (Variable.HOST, Variable.HOST)),
        (b"$$$host$", (b"$", Variable.HOST, b"$")),
        (b"$${host}", None),
        (b"$host-a $$", (Variable.HOST, b"-a $")),
    ],
)
def test_a_variable_ends_where_its_name_does(text, parts):
    made = template(text)
    assert made == (b"${host}" if parts is None else Template(parts))
    assert hash(made) == hash(template(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"$hots", "hots"),
        (b"$hostname", "hostname"),
        (b"$HOST", "HOST"),
        (b"$_", "_"),
        (b"$host ${1}", "1"),
    ],
)
def test_an_unknown_variable_is_named(text, name):
    with pytest.raises(UnknownVariable, match="there is no variable") as caught:
        template(text)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "text", [b"${", b"${}", b"${host", b"${host-a}", b"a ${ host}"]
)
def test_a_brace_must_close_after_the_name(text):
    with pytest.raises(ValueError, match="expected a name and }"):
        template(text)


def test_every_variable_has_a_name_that_a_template_takes():
    for variable in Variable:
        assert template(f"${variable.value}".encode()) == Template((variable,))


@pytest.mark.parametrize(
    ("name", "plain", "secured", "local"),
    [
        ("ssl_client_s_dn", b"", b"CN=ann,O=A\\, B", b""),
        ("ssl_client_verify", b"NONE", b"SUCCESS", b"NONE"),
        ("ssl_server_name", b"", b"a.example", b""),
        ("ssl_protocol", b"", b"TLSv1.3", b""),
        ("remote_addr", b"192.0.2.1", b"192.0.2.1", b"unix:"),
        ("remote_port", b"4711", b"4711", b""),
        ("scheme", b"http", b"https", b"http"),
        ("host", b"a.example", b"a.example", b"a.example"),
    ],
)
def test_what_a_variable_tells(name, plain, secured, local):
    assert told(f"${name}") == plain
    assert told(f"${name}", SECURED) == secured
    assert told(f"${name}", LOCAL) == local


def test_a_port_that_nobody_has_told_is_empty():
    assert told("<$remote_port>", replace(PEER, port=0)) == b"<>"


def test_a_client_without_a_certificate_is_not_verified():
    peer = replace(PEER, tls=replace(TLS, peer_cert="", verified=False))
    assert told("$ssl_client_verify:$ssl_client_s_dn", peer) == b"NONE:"


def test_a_certificate_may_be_good_and_have_no_subject():
    peer = replace(PEER, tls=replace(TLS, peer_cert=""))
    assert told("$ssl_client_verify:$ssl_client_s_dn", peer) == b"SUCCESS:"


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"A.Example:8080", b"a.example"),
        (b"a.example:", b"a.example"),
        (b"[::1]:80", b"[::1]"),
        (b"[2001:DB8::1]", b"[2001:db8::1]"),
        (b"", b""),
    ],
)
def test_host_is_the_authority_without_its_port(authority, host):
    assert told("$host", authority=authority) == host


def test_what_could_end_a_field_becomes_a_question_mark():
    tls = replace(TLS, sni="a\r\nX-B: 1\0\x7f", peer_cert="CN=\u00e9\udc80")
    peer = replace(PEER, tls=tls)
    assert told("$ssl_server_name", peer) == b"a??X-B: 1??"
    assert told("$ssl_client_s_dn", peer) == b"CN=??"


def test_white_space_around_a_value_is_no_part_of_it():
    assert told("$ssl_server_name $ssl_protocol") == b""
    assert told(" $scheme\t") == b"http"


def test_what_is_told_of_the_target() -> None:
    asked = replace(request(), method=b"PUT", target=b"/x//../%61?b=%20&c")
    made = template(b"$request_method $request_uri $uri $args")
    assert isinstance(made, Template)
    known = filled(made, asked, PEER)
    assert known == b"PUT /x//../%61?b=%20&c /x//../%61 b=%20&c"
    asked = replace(request(), target=b"/x/../%61%20b")
    assert filled(Template((Variable.PATH,)), asked, PEER) == b"/a%20b"
    assert filled(Template((Variable.QUERY,)), asked, PEER) == b""
