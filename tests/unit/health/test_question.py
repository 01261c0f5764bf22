"""What is asked in a probe over HTTP, and what an answer says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.config import HealthCheck
from lbproto.health.finding import Finding
from lbproto.health.question import MOST, Question
from lbproto.machine.effects import Target
from lbproto.machine.tls import ClientTls

TARGET = Target("10.0.0.1", 8080)
GOOD = Finding(True, "")


def asked(target: Target = TARGET, **check: Any) -> Question:
    question = Question(HealthCheck(type="http", **check))
    question.ask(target)
    return question


def response(content: bytes = b"OK", status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(content))
    return head + content


@pytest.mark.parametrize(
    ("target", "check", "start", "host"),
    [
        (TARGET, {}, b"GET / HTTP/1.1", b"10.0.0.1:8080"),
        (Target("::1", 80), {}, b"GET / HTTP/1.1", b"[::1]:80"),
        (Target("", 0, "/run/app"), {}, b"GET / HTTP/1.1", b"localhost"),
        (
            Target("app.example", 443, tls=ClientTls()),
            {"path": b"/healthz?full", "host": b"a.example", "method": b"HEAD"},
            b"HEAD /healthz?full HTTP/1.1",
            b"a.example",
        ),
    ],
)
def test_the_request(
    target: Target, check: dict[str, Any], start: bytes, host: bytes
) -> None:
    request = Question(HealthCheck(type="http", **check)).ask(target)
    assert request == (
        start + b"\r\nHost: " + host + b"\r\nUser-Agent: lb health check\r\n\r\n"
    )


def test_a_post_says_that_it_has_no_content() -> None:
    request = Question(HealthCheck(type="http", method=b"POST")).ask(TARGET)
    assert request.startswith(b"POST / HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 0\r\n" in request


@pytest.mark.parametrize(
    ("check", "data", "finding"),
    [
        ({}, response(), GOOD),
        ({}, b"HTTP/1.1 100 Continue\r\n\r\n" + response(), GOOD),
        ({}, response(status=b"204 No Content", content=b""), None),
        ({"expect_status": (200, 204)}, b"HTTP/1.1 204 N\r\n\r\n", GOOD),
        (
            {},
            response(status=b"500 Oh"),
            Finding(False, "status 500, expected 200"),
        ),
        (
            {"expect_status": (200, 204)},
            response(status=b"302 Found"),
            Finding(False, "status 302, expected 200 or 204"),
        ),
        (
            {},
            b"HTTP/1.1 101 Oh\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            Finding(False, "status 101, expected 200"),
        ),
        ({"expect_body": b"up"}, response(b"it is up!"), GOOD),
        (
            {"expect_body": b"up"},
            response(b"it is down"),
            Finding(False, "expected text is not in the content"),
        ),
        (
            {"expect_body": b"up"},
            response(b""),
            Finding(False, "expected text is not in the content"),
        ),
        (
            {},
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
            Finding(False, "response head too large"),
        ),
    ],
)
def test_what_a_response_says(
    check: dict[str, Any], data: bytes, finding: Finding | None
) -> None:
    if finding is None:
        finding = Finding(False, "status 204, expected 200")
    assert asked(**check).hear(data) == finding


def test_garbage_is_not_http() -> None:
    finding = asked().hear(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert finding is not None
    assert finding.reason.startswith("not HTTP: ")


def test_nothing_is_settled_in_the_midst() -> None:
    question = asked()
    assert not question.heard
    assert question.hear(b"HTTP/1.1 200 OK\r\nContent-Le") is None
    assert question.heard
    assert question.hear(b"ngth: 2\r\n\r\nO") is None
    assert question.hear(b"K") == GOOD
    assert question.reusable


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (b"", Finding(False, "closed before a response")),
        (b"HTTP/1.1 20", Finding(False, "response cut off")),
        (response()[:-1], Finding(False, "response cut off")),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", GOOD),
    ],
)
def test_the_end_of_the_stream(data: bytes, finding: Finding) -> None:
    question = asked()
    if data:
        assert question.hear(data) is None
    assert question.hear_end() == finding
    assert not question.reusable


@given(st.integers(0, 40), st.lists(st.integers(1, 9)))
def test_text_is_found_however_the_content_is_cut(before: int, cuts: list[int]) -> None:
    question = asked(expect_body=b"aab")
    data = response(b"x" * before + b"aaab" + b"x" * 20)
    found = None
    for cut in cuts:
        found = found or question.hear(data[:cut])
        data = data[cut:]
    if data:
        found = found or question.hear(data)
    assert found == GOOD


def test_who_never_ends_has_answered() -> None:
    question = asked()
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST - 1)
    assert question.hear(endless) is None
    assert question.hear(b"x" * 70_000) == GOOD
    assert not question.reusable


def test_text_must_come_early() -> None:
    question = asked(expect_body=b"up")
    assert question.hear(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST - 1)) is None
    assert question.hear(b"up") == Finding(
        False, "expected text is not in the first 65536 bytes of the content"
    )
