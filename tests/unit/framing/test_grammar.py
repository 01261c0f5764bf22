"""The elements of the strict grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing import grammar
from lbproto.framing.messages import NO_BODY, STREAM, Version, length
from lbproto.machine.errors import ErrorCode, RemoteProtocolError


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b'get /a?b=[]|^`{}"<> HTTP/1.0',
        b"M-SEARCH * HTTP/1.9",
        b"GET /%00 HTTP/2.0",
    ],
)
def test_request_lines(line):
    assert grammar.REQUEST_LINE.fullmatch(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1",
        b"GET /",
        b"GET HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /#f HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\x80 HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET / HTTP/1.1\n",
    ],
)
def test_what_is_no_request_line(line):
    assert grammar.REQUEST_LINE.fullmatch(line) is None


@pytest.mark.parametrize(
    "line",
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 599 ", b"HTTP/1.1 100", b"HTTP/1.1 200 \xe9 x"],
)
def test_status_lines(line):
    assert grammar.STATUS_LINE.fullmatch(line)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1 099 X",
        b"HTTP/1.1 600 X",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 OK\n",
        b"ICY 200 OK",
    ],
)
def test_what_is_no_status_line(line):
    assert grammar.STATUS_LINE.fullmatch(line) is None


@pytest.mark.parametrize("line", [b"a:", b"A: b", b"a:\tb \xff", b"!#$%&'*+.^`|~9: v"])
def test_field_lines(line):
    assert grammar.FIELD_LINE.fullmatch(line)


@pytest.mark.parametrize(
    "line",
    [b"", b":", b": v", b"a :b", b" a: b", b"a", b"a(: b", b"a: \0", b"a: \x01",
     b"a: b\r", b"a: b\n", b"a: \x7f", b"\xe9: v"],
)  # fmt: skip
def test_what_is_no_field_line(line):
    assert grammar.FIELD_LINE.fullmatch(line) is None


@pytest.mark.parametrize(
    "text",
    [
        b"a",
        b"a.example.",
        b"under_score.example:8080",
        b"127.0.0.1:0",
        b"a:65535",
        b"a:",
        b"[::1]",
        b"[::ffff:1.2.3.4]:443",
        b"x~!$&+=-",
    ],
)
def test_authorities(text):
    assert grammar.is_authority(text)


@pytest.mark.parametrize(
    "text",
    [b"", b":80", b"a:65536", b"a:80x", b"a:+1", b"a:123456", b"::1", b"[::1", b"[]",
     b"[::1%eth0]", b"[v1.a]", b"[1:2]", b"u@a", b"u:p@a", b"a/x", b"a b", b"a,b",
     b'a"', b"a;b", b"a'b", b"(a)", b"a*", b"a%41", b"\xffa", b"a\n", b"[::1]x"],
)  # fmt: skip
def test_what_is_no_authority(text):
    assert not grammar.is_authority(text)
    assert not grammar.has_port(text)


def test_authority_form_needs_a_port():
    assert grammar.has_port(b"a:443")
    assert not grammar.has_port(b"a:")
    assert not grammar.has_port(b"a")
    assert not grammar.has_port(b"a:70000")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"0", 0),
        (b"0005", 5),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", None),
        (b"00000000000000000005", None),
        (b"", None),
        (b"+5", None),
        (b"-5", None),
        (b"1_0", None),
        (b"0x5", None),
        (b"5, 5", None),
        (b"5\n", None),
        (b" 5", None),
        (b"\xd9\xa5", None),
    ],
)
def test_content_length_is_digits(text, count):
    assert grammar.content_length(text) == count


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"5\r\n", (5, 0)),
        (b"0\r\n", (0, 0)),
        (b"00fF\r\n", (255, 0)),
        (b"5;a\r\n", (5, 2)),
        (b"5;a=b;c\r\n", (5, 6)),
        (b"5 ; a = b\r\n", (5, 8)),
        (b'5;a="q;\\"\xff"\r\n', (5, 10)),
        (b"7fffffffffffffff\r\n", (2**63 - 1, 0)),
        (b"8000000000000000\r\n", None),
        (b"00000000000000005\r\n", None),
        (b"\r\n", None),
        (b"5;\r\n", None),
        (b"5 \r\n", None),
        (b"5;a \r\n", None),
        (b"5;a=\r\n", None),
        (b"5;a=b=c\r\n", None),
        (b'5;a="b\r\n', None),
        (b"5;a\rb\r\n", None),
        (b"5;\0\r\n", None),
        (b"5\n", None),
        (b"5", None),
        (b" 5\r\n", None),
        (b"0x5\r\n", None),
        (b"0_5\r\n", None),
        (b"+5\r\n", None),
        (b"ZZ\r\n", None),
        (b"5\r\r\n", None),
    ],
)
def test_chunk_lines(line, found):
    assert grammar.chunk_line(line) == found


def test_options_that_are_no_tokens_are_left_out():
    values = [b"Close, x y,, ", b'"q", KEEP-alive', b""]
    assert grammar.connection_options(values) == {b"close", b"keep-alive"}


def test_only_framing_fields_are_picked_out():
    block = (
        b"GET / HTTP/1.1\r\nHOST: a\r\nX-Host: b\r\ncontent-length:\t5 \r\n"
        b"Connection: a\r\nconnection: b\r\nHostx: c\r\nX: host: d\r\n\r\n"
    )
    assert grammar.framing_fields(block) == {
        b"host": [b"a"],
        b"content-length": [b"5"],
        b"connection": [b"a", b"b"],
    }


@pytest.mark.parametrize(
    ("method", "target", "forms"),
    [
        (b"GET", b"/a//b", (b"/a//b", b"http", None)),
        (b"OPTIONS", b"*", (b"*", b"http", None)),
        (b"GET", b"http://a/p?q", (b"/p?q", b"http", b"a")),
        (b"GET", b"HTTPS://A:1", (b"/", b"https", b"A:1")),
        (b"GET", b"http://a?q", (b"/?q", b"http", b"a")),
        (b"OPTIONS", b"http://a", (b"*", b"http", b"a")),
        (b"OPTIONS", b"http://a?q", (b"/?q", b"http", b"a")),
        (b"OPTIONS", b"http://a/", (b"/", b"http", b"a")),
        (b"CONNECT", b"a:443", (b"a:443", b"http", b"a:443")),
    ],
)
def test_forms_of_targets(method, target, forms):
    assert grammar.target_forms(method, target) == forms


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"*"),
        (b"GET", b"a:80"),
        (b"GET", b"admin"),
        (b"GET", b"ftp://a/"),
        (b"GET", b"http:/a"),
        (b"GET", b"http:///p"),
        (b"GET", b"http://u:p@a/"),
        (b"GET", b"http://a:x/"),
        (b"GET", b"http://a%0d/"),
        (b"CONNECT", b"/"),
        (b"CONNECT", b"a"),
    ],
)
def test_wrong_forms_of_targets(method, target):
    with pytest.raises(RemoteProtocolError) as refusal:
        grammar.target_forms(method, target)
    assert refusal.value.code is ErrorCode.SYNTAX


def code_of(call, *args):
    with pytest.raises(RemoteProtocolError) as refusal:
        call(*args)
    return refusal.value.code


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([b"gzip"], ErrorCode.TRANSFER_CODING),
        ([b"identity"], ErrorCode.TRANSFER_CODING),
        ([b"xchunked"], ErrorCode.TRANSFER_CODING),
        ([b"gzip, chunked"], ErrorCode.TRANSFER_CODING),
        ([b"gzip", b"chunked"], ErrorCode.TRANSFER_CODING),
        ([b"chunked;q=1"], ErrorCode.TRANSFER_CODING),
        ([b"chunked, gzip"], ErrorCode.SYNTAX),
        ([b"chunked", b"chunked"], ErrorCode.SYNTAX),
        ([b"chunked, chunked"], ErrorCode.SYNTAX),
        ([b"chunked,"], ErrorCode.SYNTAX),
        ([b",chunked"], ErrorCode.SYNTAX),
        ([b""], ErrorCode.SYNTAX),
    ],
)
def test_other_codings_than_chunked(values, code):
    fields = {b"transfer-encoding": values}
    assert code_of(grammar.request_body, fields, Version.HTTP11) is code
    invalid = code_of(grammar.response_body, fields, Version.HTTP11)
    assert invalid is ErrorCode.RESPONSE_INVALID


def test_framing_that_is_certain():
    chunked = {b"transfer-encoding": [b"Chunked"]}
    five = {b"content-length": [b"05"]}
    assert grammar.request_body(chunked, Version.HTTP11) == STREAM
    assert grammar.request_body(five, Version.HTTP10) == length(5)
    assert grammar.request_body({}, Version.HTTP11) == NO_BODY
    assert grammar.response_body(chunked, Version.HTTP11) == STREAM
    assert grammar.response_body(five, Version.HTTP11) == length(5)
    assert grammar.response_body({}, Version.HTTP11) == STREAM


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({b"transfer-encoding": [b"chunked"]}, Version.HTTP10),
        (
            {b"transfer-encoding": [b"chunked"], b"content-length": [b"5"]},
            Version.HTTP11,
        ),
        ({b"content-length": [b"5", b"5"]}, Version.HTTP11),
        ({b"content-length": [b"x"]}, Version.HTTP11),
        ({b"content-length": [b"5, 5"]}, Version.HTTP11),
    ],
)
def test_framing_in_doubt(fields, version):
    code = code_of(grammar.request_body, fields, version)
    assert code is ErrorCode.SYNTAX
    code = code_of(grammar.response_body, fields, version)
    assert code is ErrorCode.RESPONSE_INVALID


def test_host_is_one_valid_line():
    assert grammar.host({b"host": [b"a"]}, Version.HTTP11) == b"a"
    assert grammar.host({}, Version.HTTP10) == b""
    for hosts in ([], [b""], [b"a", b"a"], [b"a b"]):
        fields = {b"host": hosts} if hosts else {}
        code = code_of(grammar.host, fields, Version.HTTP11)
        assert code is ErrorCode.SYNTAX
    assert code_of(grammar.host, {b"host": [b"a"] * 2}, Version.HTTP10)


def test_the_only_expectation_is_one_100_continue():
    once = {b"expect": [b"100-Continue"]}
    assert grammar.expects_continue(once, Version.HTTP11)
    assert not grammar.expects_continue(once, Version.HTTP10)
    assert not grammar.expects_continue({}, Version.HTTP11)
    for values in ([b"100-continue"] * 2, [b"x"], [b"100-continue;a"], [b""]):
        fields = {b"expect": values}
        code = code_of(grammar.expects_continue, fields, Version.HTTP11)
        assert code is ErrorCode.EXPECTATION


def test_what_is_shown_of_a_peer_is_short_and_quoted():
    assert grammar.show(b"a\r\n") == "b'a\\r\\n'"
    assert grammar.show(b"x" * 65) == repr(b"x" * 64) + "..."


@given(st.binary(max_size=40))
def test_no_bytes_make_the_grammar_raise(data):
    grammar.is_authority(data)
    grammar.content_length(data)
    grammar.chunk_line(data + b"\r\n")
    grammar.framing_fields(data)
    options = grammar.connection_options([data])
    assert all(grammar.TOKEN.fullmatch(option) for option in options)
    absolute = grammar.split_absolute(b"http://" + data)
    assert absolute is None or b"".join(absolute[1:]) == data
