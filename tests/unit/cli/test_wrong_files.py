"""What is said about a wrong file: every message as its user sees it."""

# ruff: noqa: E501

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lbproto_cli.load import parse
from lbproto_cli.positions import MAX_BYTES
from lbproto_cli.problems import ConfigProblems

if TYPE_CHECKING:
    from lbproto.config import Config

RUNTIMES = ("asyncio", "uvloop")


def problems(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigProblems) as caught:
        parse(data, "conf.yaml", RUNTIMES)
    return str(caught.value).split("\n")


def config(text: str) -> Config:
    return parse(text.encode(), "conf.yaml", RUNTIMES).config


def service(*lines: str) -> str:
    """Write a file with one good service and these lines of it."""
    text = 'services:\n- listen: ["127.0.0.1:80"]\n  upstream: a\n'
    text += "".join(f"  {line}\n" for line in lines)
    return text + 'upstreams: {a: {backends: ["h:1"]}}\n'


def listener(*lines: str) -> str:
    """Write a file with one good service and these lines of its listener."""
    text = 'services:\n- listen:\n  - address: "127.0.0.1:80"\n'
    text += "".join(f"    {line}\n" for line in lines)
    return text + "  upstream: {backends: [h:1]}\n"


def upstream(*lines: str) -> str:
    return "upstreams:\n  a:\n    backends: [h:1]\n" + "".join(
        f"    {line}\n" for line in lines
    )


LATER = [
    ("metrics: {listen: x}", "1:1: metrics: not supported yet"),
    ("access_log: {path: /x}", "1:1: access_log: not supported yet"),
]


@pytest.mark.parametrize(("text", "expected"), LATER)
def test_a_key_that_works_later_is_refused_as_such(text: str, expected: str) -> None:
    assert problems(text) == [f"conf.yaml:{expected}"]


SEEN_AND_EXPECTED = [
    # Shapes
    ("- a\n", "1:1: got a list, expected a mapping"),
    ("5\n", "1:1: got 5, expected a mapping"),
    ("services: {}\n", "1:11: services: got a mapping, expected a list"),
    (
        "services: []\n",
        "1:11: services: got an empty list, expected at least one service",
    ),
    ("upstreams: []\n", "1:12: upstreams: got a list, expected a mapping"),
    ("upstreams: {a: {}}\n", "1:16: upstreams.a.backends: missing, expected this key"),
    (
        "upstreams: {backends: {}}\n",
        "1:23: upstreams.backends.backends: missing, expected this key",
    ),
    (
        "upstreams: {a: {backends: []}}\n",
        "1:27: upstreams.a.backends: got an empty list, expected at least one backend",
    ),
    (
        "upstreams: {a: {backends: [[]]}}\n",
        "1:28: upstreams.a.backends[0]: got a list,"
        " expected an address or a mapping with one",
    ),
    # Unknown keys
    ("runtim: uvloop\n", "1:1: runtim: unknown key, did you mean runtime?"),
    (
        service("limits: {header_sise: 1}"),
        "4:12: services[0].limits.header_sise: unknown key, did you mean header_size?",
    ),
    (
        service("limits: {requests_per_connection: 0}"),
        "4:37: services[0].limits.requests_per_connection: got 0,"
        " expected a whole number of 1-1000000, or null",
    ),
    ("qqqqq: 1\n", "1:1: qqqqq: unknown key, the nearest known one is version"),
    (
        "upgrade_sock_mode: 600",
        '1:20: upgrade_sock_mode: got 600, expected a mode such as "0600", in quotes,'
        " with 6 or 7 for the owner",
    ),
    (
        '"[key]": 1\n',
        '1:1: "[key]": unknown key, the nearest known one is upgrade_bake',
    ),
    (
        '"a\\eb": 1\n',
        '1:1: "a\\u001bb": unknown key, the nearest known one is upgrade_bake',
    ),
    (
        "threads: 1\nuser: null\nthreads: 2\n",
        "3:1: threads: duplicate key, first seen on line 1",
    ),
    ("<<: {threads: 1}\n", '1:1: "<<": unknown key, the nearest known one is version'),
    # Numbers and switches
    ("version: 2\n", "1:10: version: got 2, expected 1"),
    ('version: "1"\n', '1:10: version: got "1", expected 1'),
    ("threads: 017\n", '1:10: threads: got "017", expected a whole number of 0-1024'),
    ("threads: 1.0\n", "1:10: threads: got 1.0, expected a whole number of 0-1024"),
    ("threads: -1\n", "1:10: threads: got -1, expected a whole number of 0-1024"),
    ("threads: true\n", "1:10: threads: got true, expected a whole number of 0-1024"),
    ("threads: null\n", "1:10: threads: got null, expected a whole number of 0-1024"),
    ("threads: 1_0\n", '1:10: threads: got "1_0", expected a whole number of 0-1024'),
    (
        service("proxy_status: off"),
        '4:17: services[0].proxy_status: got "off", expected'
        " true or false (yes, no, on and off are text here)",
    ),
    (
        service("limits: {connections: -1}"),
        "4:25: services[0].limits.connections: got -1,"
        " expected a whole number of 1-1000000, or 0 or null for no limit",
    ),
    (
        service("limits: {body_size: -1}"),
        "4:23: services[0].limits.body_size: got -1, expected a size of 0 or more",
    ),
    (
        service("limits: {header_size: 0}"),
        "4:25: services[0].limits.header_size: got 0, expected a size above 0",
    ),
    (
        service("limits: {header_size: 9k}"),
        "4:25: services[0].limits.header_size: got"
        ' "9k", expected a size: bytes, or a number with B, KiB, MiB, GiB, KB, MB or GB,'
        " such as 64KiB",
    ),
    (
        service("limits: {header_size: 2000000GiB}"),
        "4:25: services[0].limits.header_size:"
        ' got "2000000GiB", expected at most 1048576GiB',
    ),
    (
        service("timeouts: {connect: 0}"),
        "4:23: services[0].timeouts.connect: got 0, expected a duration above 0",
    ),
    (
        service("timeouts: {connect: 1:30}"),
        "4:23: services[0].timeouts.connect: got"
        ' "1:30", expected a duration: seconds, or a number with ms, s, m, h or d, such as'
        " 250ms",
    ),
    (
        service("timeouts: {connect: 366d}"),
        '4:23: services[0].timeouts.connect: got "366d", expected at most 365d',
    ),
    (
        "grace_period_seconds: -1\n",
        "1:23: grace_period_seconds: got -1, expected a duration of 0 or more",
    ),
    (
        'upstreams: {a: {backends: [{address: "h:1", weight: 0}]}}\n',
        "1:53: upstreams.a.backends[0].weight: got 0, expected a whole number of 1-65535",
    ),
    # Words
    (
        "runtime: uvlop\n",
        '1:10: runtime: got "uvlop", expected one of asyncio, uvloop, did you mean uvloop?',
    ),
    (
        "runtime: 5\n",
        '1:10: runtime: got 5, expected a name (in quotes, "5", it is text)',
    ),
    (
        "pid_file: 5\n",
        '1:11: pid_file: got 5, expected a path or null (in quotes, "5", it is text)',
    ),
    (
        service("via: a b"),
        '4:8: services[0].via: got "a b", expected a token such as lb, or null',
    ),
    (
        service("underscores: yes"),
        '4:16: services[0].underscores: got "yes", expected one of drop, reject, pass',
    ),
    (
        service("framing: h12"),
        '4:12: services[0].framing: got "h12", expected one of native, h11',
    ),
    (
        service("upgrades: [H2C]"),
        "4:14: services[0].upgrades[0]: got h2c, expected a"
        " protocol that may be tunnelled",
    ),
    (
        service("upgrades: [a b]"),
        '4:14: services[0].upgrades[0]: got "a b", expected a'
        ' protocol such as websocket, or "*"',
    ),
    (
        upstream("policy: robin"),
        '4:13: upstreams.a.policy: got "robin", expected one of round_robin, random,'
        " least_connections, p2c, peak_ewma, hash, ketama, maglev, did you mean"
        " round_robin?",
    ),
    (
        upstream("policy: 5"),
        "4:13: upstreams.a.policy: got 5, expected one of round_robin, random,"
        " least_connections, p2c, peak_ewma, hash, ketama, maglev",
    ),
    *(
        (
            upstream(f'hash_on: "{value}"'),
            f'4:14: upstreams.a.hash_on: got "{value}", expected client_ip, path, uri,'
            " header:NAME or cookie:NAME",
        )
        for value in ("ip", "header:", "cookie:a b", "path:x", "header: x")
    ),
    (
        upstream("hash_on: [path]"),
        "4:14: upstreams.a.hash_on: got a list, expected client_ip, path, uri,"
        " header:NAME or cookie:NAME",
    ),
    (
        upstream("balance_factor: 100", "policy: ketama"),
        "4:21: upstreams.a.balance_factor: got 100, expected a whole number of"
        " 101-10000",
    ),
    (
        upstream("balance_factor: 125", "policy: hash"),
        '4:21: upstreams.a.balance_factor: no bound on loads with "hash", expected it'
        " with ketama or maglev",
    ),
    (
        upstream("panic_percent: 101"),
        "4:20: upstreams.a.panic_percent: got 101, expected a whole number of 0-100",
    ),
    (
        upstream("slow_start: -1"),
        "4:17: upstreams.a.slow_start: got -1, expected a duration of 0 or more",
    ),
    (
        upstream("outlier_detection: 5"),
        "4:24: upstreams.a.outlier_detection: got 5, expected true, false or a mapping",
    ),
    (
        upstream("outlier_detection: {base_ejection: 0}"),
        "4:40: upstreams.a.outlier_detection.base_ejection: got 0, expected a duration"
        " above 0",
    ),
    (
        upstream("outlier_detection: {base_ejction: 1}"),
        "4:25: upstreams.a.outlier_detection.base_ejction: unknown key, did you mean"
        " base_ejection?",
    ),
    (
        'upstreams: {a: {backends: [{address: "h:1", max_connections: 1.5}]}}',
        "1:62: upstreams.a.backends[0].max_connections: got 1.5, expected a whole number"
        " of 1-1000000, or 0 or null for no limit",
    ),
    (
        'upstreams: {a: {policy: ketama, backends: [{address: "h:1", weight: 9000}, '
        '{address: "h:2", weight: 1001}, "h:3"]}}',
        "1:43: upstreams.a.backends: weights of 10002 in all, expected at most 10000"
        " with ketama",
    ),
    (
        service("trusted_proxies: [10.0.0.1/8]"),
        "4:21: services[0].trusted_proxies[0]: got"
        ' "10.0.0.1/8", expected 10.0.0.0/8 for that network',
    ),
    (
        service("trusted_proxies: [lb]"),
        "4:21: services[0].trusted_proxies[0]: got"
        ' "lb", expected an IP address, a network such as 10.0.0.0/8, or unix:',
    ),
    # Header fields
    (
        service("request_headers: {set: {content-length: 1}}"),
        "4:27:"
        " services[0].request_headers.set.content-length: content-length is the balancer's"
        " own field, expected one that it does not manage itself",
    ),
    (
        service("response_headers: {remove: [Transfer-Encoding]}"),
        "4:31:"
        " services[0].response_headers.remove[0]: Transfer-Encoding is the balancer's"
        " own field, expected one that it does not manage itself",
    ),
    (
        service("request_headers: {add: {Host: x}}"),
        "4:27:"
        " services[0].request_headers.add.Host: Host can be neither added nor removed,"
        " expected it in set",
    ),
    (
        service("request_headers: {set: {a b: x}}"),
        "4:27: services[0].request_headers.set."
        '"a b": got "a b", expected the name of a header field',
    ),
    (
        service(r'request_headers: {set: {A: "x\r\nB: y"}}'),
        "4:30:"
        r' services[0].request_headers.set.A: got "x\r\nB: y", expected text without control'
        " characters",
    ),
    (
        service("request_headers: {set: {A: 1.10}}"),
        "4:30:"
        " services[0].request_headers.set.A: got 1.1, expected text (in quotes,"
        ' "1.1", it is text)',
    ),
    (
        service("request_headers: {set: {A: x, a: y}}"),
        "4:36:"
        ' services[0].request_headers.set.a: the same field as "A", expected it once',
    ),
    (
        service("request_headers: {set: {A: a-$hots}}"),
        "4:30: services[0].request_headers.set.A: unknown variable hots in"
        ' "a-$hots", did you mean host? ($$ is a dollar sign)',
    ),
    (
        service('response_headers: {add: {A: [x, "${}"]}}'),
        '4:31: services[0].response_headers.add.A: got "${}", expected a name and }'
        " after ${",
    ),
    (
        service('request_headers: {set: {A: "${host"}}'),
        '4:30: services[0].request_headers.set.A: got "${host", expected a name and }'
        " after ${",
    ),
    (
        service("request_headers: {set: {hOST: $host}}"),
        '4:33: services[0].request_headers.set.hOST: got "$host", expected a host'
        " without variables (Host is the client's own unless it is set)",
    ),
    (
        service('request_headers: {set: {Host: "${"}}'),
        '4:33: services[0].request_headers.set.Host: got "${", expected a name and }'
        " after ${",
    ),
    # TLS
    (
        listener("tls: true"),
        "4:10: services[0].listen[0].tls: got true, expected a mapping with certificates",
    ),
    (
        listener("tls: on"),
        '4:10: services[0].listen[0].tls: got "on", expected a mapping',
    ),
    (
        listener("tls: {}"),
        "4:10: services[0].listen[0].tls.certificates: missing, expected this key",
    ),
    (
        listener("tls: {certificates: []}"),
        "4:25: services[0].listen[0].tls.certificates: got an empty list,"
        " expected at least one certificate",
    ),
    (
        listener("tls: {certificates: [{cert: a.pem}]}"),
        "4:26: services[0].listen[0].tls.certificates[0].key: missing, expected this key",
    ),
    (
        listener("tls: {certificates: [{cert: 5, key: a.key}]}"),
        "4:33: services[0].listen[0].tls.certificates[0].cert: got 5, expected a path"
        ' (in quotes, "5", it is text)',
    ),
    (
        listener("tls: {certificates: [{cert: a, key: a, sni: a}]}"),
        "4:44: services[0].listen[0].tls.certificates[0].sni: unknown key, the nearest"
        " known one is key",
    ),
    (
        listener("tls: {certificats: []}", "proxy_protocol: v1"),
        "4:10: services[0].listen[0].tls.certificates: missing, expected this key\n"
        "conf.yaml:4:11: services[0].listen[0].tls.certificats: unknown key, did you mean"
        " certificates?\n"
        'conf.yaml:5:21: services[0].listen[0].proxy_protocol: got "v1", expected true or'
        " false",
    ),
    (
        listener("tls: {certificates: [{cert: a, key: a}], client_auth: require}"),
        '4:59: services[0].listen[0].tls.client_auth: got "require", expected client_ca'
        " beside it, a file of authorities",
    ),
    (
        listener("tls: {certificates: [{cert: a, key: a}], client_auth: yes}"),
        '4:59: services[0].listen[0].tls.client_auth: got "yes", expected one of none,'
        " optional, require",
    ),
    (
        listener("tls: {certificates: [{cert: a, key: a}], client_ca: b}"),
        "4:57: services[0].listen[0].tls.client_ca: nobody is asked for a certificate,"
        " expected client_auth: optional or require beside it",
    ),
    (
        upstream("tls: yes"),
        '4:10: upstreams.a.tls: got "yes", expected true, false or a mapping',
    ),
    (
        upstream("tls: {sni: 10.0.0.1}"),
        '4:16: upstreams.a.tls.sni: got "10.0.0.1", expected a host name, no address and'
        " no port",
    ),
    (
        upstream('tls: {sni: "::1"}'),
        '4:16: upstreams.a.tls.sni: got "::1", expected a host name, no address and no'
        " port",
    ),
    (
        upstream("tls: {sni: é.example}"),
        '4:16: upstreams.a.tls.sni: got "\\u00e9.example", expected a host name in ASCII'
        " such as app.example",
    ),
    (
        upstream("tls: {sni: a.example.}"),
        '4:16: upstreams.a.tls.sni: got "a.example.", expected a host name in ASCII'
        " such as app.example",
    ),
    (
        upstream("tls: {sni: 5}"),
        "4:16: upstreams.a.tls.sni: got 5, expected a host name",
    ),
    (
        upstream("tls: {certificate: {cert: a}}"),
        "4:24: upstreams.a.tls.certificate.key: missing, expected this key",
    ),
    (
        upstream("proxy_protocol: true"),
        "4:21: upstreams.a.proxy_protocol: got true, expected v1, v2 or null",
    ),
    (
        upstream("proxy_protocol: v3"),
        '4:21: upstreams.a.proxy_protocol: got "v3", expected v1, v2 or null',
    ),
    (
        'upstreams: {a: {tls: true, backends: [h:1, "unix:/a"]}}\n',
        "1:44: upstreams.a.backends[1]: no name to find in its certificate, expected sni"
        " in tls, or verify: false there",
    ),
    # References
    (
        "services: [{listen: [], upstream: {backends: [h:1]}}]\n",
        "1:21: services[0].listen: got an empty list, expected at least one address",
    ),
    (
        'services: [{listen: ["*:1"], upstream: web}]\n',
        "1:40: services[0].upstream: got"
        ' "web", expected the name of one of upstreams, and there is none',
    ),
    (
        'services: [{listen: ["*:1"], upstream: wbe}]\nupstreams: {web: {backends: [h:1]}}\n',
        '1:40: services[0].upstream: got "wbe", expected the name of one of upstreams, did'
        " you mean web?",
    ),
    (
        'services: [{listen: ["*:1"], upstream: 5}]\n',
        "1:40: services[0].upstream: got 5,"
        " expected the name of an upstream or a mapping",
    ),
    # YAML
    ("a: b: c\n", "1:5: not YAML: mapping values are not allowed in this context"),
    (
        "a: [1\n",
        "2:1: not YAML: while parsing a flow sequence, did not find expected ','"
        " or ']'",
    ),
    ("services:\n\t- name: a\n", "2:1: not YAML: a tab, expected spaces"),
    ("services:\n- name: a\n\tvia: b\n", "3:1: not YAML: a tab, expected spaces"),
    (
        "user: @web\n",
        "1:7: not YAML: text cannot begin with @, expected quotes around it",
    ),
    ("a: \x07\n", "1:4: not YAML: control characters are not allowed"),
    (
        "threads: 1\n---\nthreads: 1\n",
        "2:1: a second document starts here, expected one document",
    ),
    (
        "threads: &a 1\n",
        "1:10: threads: an anchor, expected a value without one (write it out)",
    ),
    ("threads: !!int 5\n", '1:10: threads: the tag "!!int", expected no tag'),
    (
        "user: !!python/object/apply:os.system [ls]\n",
        '1:7: user: the tag "!!python/object/apply:os.system", expected no tag',
    ),
    ("[a, b]: 1\n", "1:1: a key that is no text, expected a name"),
    (
        "a: " + "[" * 40,
        "1:35: a" + "[0]" * 31 + ": nested too deeply, expected at most 32 levels",
    ),
]


@pytest.mark.parametrize(("text", "expected"), SEEN_AND_EXPECTED)
def test_a_problem_says_where_what_was_seen_and_what_is_expected(
    text: str, expected: str
) -> None:
    assert problems(text) == f"conf.yaml:{expected}".split("\n")


@pytest.mark.parametrize(
    "tls", ["{sni: a.example}", "{verify: false}", "{verify: 5}", "false", "null"]
)
def test_a_unix_socket_needs_a_name_only_where_it_is_checked(tls: str) -> None:
    text = f'upstreams: {{a: {{tls: {tls}, backends: ["unix:/a"]}}}}'
    if tls == "{verify: 5}":
        assert len(problems(text)) == 1
    else:
        assert len(config(text).upstreams) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user: !x [1]\n", '1:7: user: the tag "!x", expected no tag'),
        ("user: !x {a: 1}\n", '1:7: user: the tag "!x", expected no tag'),
        ("a: 1\n&k a: 2\n", "2:1: a: an anchor or a tag, expected a plain key"),
    ],
)
def test_tags_and_anchors_are_refused_wherever_they_stand(
    text: str, expected: str
) -> None:
    assert f"conf.yaml:{expected}" in problems(text)


def test_what_stands_under_a_second_key_is_skipped_but_its_syntax_is_checked() -> None:
    got = problems("threads: 1\nthreads: {a: [*x, {}]}\nmetrics: 5\n")
    assert got == [
        "conf.yaml:2:1: threads: duplicate key, first seen on line 1",
        "conf.yaml:2:15: threads.a[0]: an alias, expected the value itself",
        "conf.yaml:3:10: metrics: 5 is not supported yet",
    ]


def test_a_name_that_is_too_long_is_shortened_in_the_message() -> None:
    assert problems(service("name: " + "x" * 65)) == [
        f'conf.yaml:4:9: services[0].name: got "{"x" * 64}"..., expected at most 64'
        " characters"
    ]


def test_a_number_of_many_digits_is_no_number() -> None:
    (line,) = problems("threads: " + "9" * 5000)
    assert line.endswith('99"..., expected a whole number of 0-1024')


def test_a_byte_that_is_not_utf_8_is_named() -> None:
    assert problems(b"threads: 1\nuser: \xff\n") == [
        "conf.yaml:2:7: not YAML: byte 0xff is not UTF-8"
    ]


def test_a_file_over_the_limit_is_refused() -> None:
    assert problems(b"#" * (MAX_BYTES + 1)) == [
        "conf.yaml:1:1: the file is larger than 1 MiB, expected at most 1 MiB"
    ]


def test_thousands_of_levels_are_one_problem() -> None:
    assert len(problems("[" * 100_000)) == 1


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    got = problems("""\
threds: 1
services:
- name: a
  listen: ["127.0.0.1:1", "nowhere:2"]
  upstream: b
- name: a
  listen: [{address: "127.0.0.1:1"}]
  upstream: c
  limits: {header_count: many}
upstreams:
  b: {backends: ["h:0"]}
threads: two
""")
    assert got == [
        "conf.yaml:1:1: threds: unknown key, did you mean threads?",
        "conf.yaml:4:12: services[0].listen[0]: 127.0.0.1:1 is also the address of"
        " services[1].listen[0], expected another",
        'conf.yaml:4:27: services[0].listen[1]: got "nowhere:2", expected an IP address,'
        " localhost or * to listen on",
        'conf.yaml:6:9: services[1].name: "a" is the name of services[0] already,'
        " expected another",
        "conf.yaml:7:12: services[1].listen[0]: 127.0.0.1:1 is also the address of"
        " services[0].listen[0], expected another",
        'conf.yaml:8:13: services[1].upstream: got "c", expected the name of one of'
        " upstreams, the nearest known one is b",
        'conf.yaml:9:26: services[1].limits.header_count: got "many", expected a whole'
        " number of 1-1000000",
        'conf.yaml:11:18: upstreams.b.backends[0]: got "h:0", expected a port of 1-65535',
        'conf.yaml:12:10: threads: got "two", expected a whole number of 0-1024',
    ]


def test_an_alias_is_one_problem_whatever_it_stands_for() -> None:
    assert problems("threads: &a 1\nmax_retries: *a\n") == [
        "conf.yaml:1:10: threads: an anchor, expected a value without one (write it out)",
        "conf.yaml:2:14: max_retries: an alias, expected the value itself",
    ]


def test_port_zero_may_be_asked_for_twice() -> None:
    text = 'services: [{listen: ["127.0.0.1:0", "127.0.0.1:0"], upstream: {backends: [h:1]}}]'
    assert len(config(text).services[0].listen) == 2


def test_a_message_never_holds_control_characters_of_the_file() -> None:
    (line,) = problems('"\\e[31m\\n\\x7f": 1')
    assert line.isascii()
    assert line.isprintable()
