"""What is said about a health check that is wrong."""

from __future__ import annotations

import pytest

from lbproto_cli.load import parse
from lbproto_cli.problems import ConfigProblems

CHECK = "upstreams.a.health_check"


def problem(check: str, backend: str = "h:1") -> str:
    text = f"upstreams: {{a: {{backends: ['{backend}'], health_check: {check}}}}}"
    with pytest.raises(ConfigProblems) as caught:
        parse(text.encode(), "conf.yaml", ("uvloop",))
    (found,) = caught.value.problems
    return str(found).split(" ", 1)[1]


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("5", f"{CHECK}: got 5, expected true, false or a mapping"),
        (
            "{type: udp}",
            f'{CHECK}.type: got "udp", expected one of tcp, http',
        ),
        ("{interval: 0}", f"{CHECK}.interval: got 0, expected a duration above 0"),
        ("{timeout: 0s}", f'{CHECK}.timeout: got "0s", expected a duration above 0'),
        (
            "{healthy_after: 0}",
            f"{CHECK}.healthy_after: got 0, expected a whole number of 1-1000",
        ),
        (
            "{unhealthy_after: 1.5}",
            f"{CHECK}.unhealthy_after: got 1.5, expected a whole number of 1-1000",
        ),
        (
            "{port: 0}",
            f"{CHECK}.port: got 0, expected a whole number of 1-65535",
        ),
        (
            "{method: get}",
            f'{CHECK}.method: got "get", expected one of GET, HEAD, OPTIONS, POST',
        ),
        (
            "{path: healthz}",
            f'{CHECK}.path: got "healthz", expected a path such as /healthz, '
            "with %XX for what is not ASCII",
        ),
        (
            '{path: "/a b"}',
            f'{CHECK}.path: got "/a b", expected a path such as /healthz, '
            "with %XX for what is not ASCII",
        ),
        (
            '{path: "/a#b"}',
            f'{CHECK}.path: got "/a#b", expected a path such as /healthz, '
            "with %XX for what is not ASCII",
        ),
        (
            '{host: "a b"}',
            f'{CHECK}.host: got "a b", expected a host such as app.example, or null',
        ),
        (
            "{expect_status: []}",
            f"{CHECK}.expect_status: got an empty list, expected at least one",
        ),
        (
            "{expect_status: [101]}",
            f"{CHECK}.expect_status[0]: got 101, expected a whole number of 200-599",
        ),
        (
            "{expect_status: 200}",
            f"{CHECK}.expect_status: got 200, expected a list",
        ),
        (
            '{expect_body: ""}',
            f'{CHECK}.expect_body: got "", expected text of 1-1024 bytes, or null',
        ),
        (
            "{method: HEAD, expect_body: x}",
            f"{CHECK}.expect_body: no content comes with HEAD (RFC 9110 9.3.2), "
            "expected another method",
        ),
        ("{reuse: 1}", f"{CHECK}.reuse: got 1, expected true or false"),
        (
            "{intervall: 1s}",
            f"{CHECK}.intervall: unknown key, did you mean interval?",
        ),
    ],
)
def test_a_problem_says_what_is_expected(check: str, expected: str) -> None:
    assert problem(check) == expected


def test_a_unix_socket_has_no_port_to_probe() -> None:
    assert problem("{port: 81}", "unix:/run/app") == (
        f"{CHECK}.port: a backend at unix: has no port, expected null"
    )
