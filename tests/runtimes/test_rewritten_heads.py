"""What a backend and a client see of each other's heads, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, answers

ADDED = (
    b"X-Forwarded-For: 127.0.0.1\r\n"
    b"X-Forwarded-Proto: http\r\n"
    b"X-Forwarded-Host: a.example\r\n"
    b"Via: 1.1 lb\r\n"
)


def seen(
    lb: LbFactory, origin: OriginFactory, fields: bytes, **service: Any
) -> list[bytes]:
    """Send a request with these fields; return the lines that a backend got."""
    backend = origin()
    with lb(backend, **service).connect() as client:
        client.send(b"GET /p?q HTTP/1.1\r\nHost: a.example\r\n" + fields + b"\r\n")
        assert client.response().status == 200
    return backend.received.removesuffix(b"\r\n\r\n").split(b"\r\n")


def test_end_to_end_fields_keep_order_case_and_bytes(
    lb: LbFactory, origin: OriginFactory
) -> None:
    kept = (
        b'user-AGENT: x\r\nX-B: 2\r\nx-a: 1\r\nX-B: 3\r\nCookie: a=b; c="d"\r\n'
        b"X-Bin: \xe9\xff\r\nX-Empty: \r\nAuthorization: Basic Zm9v\r\n"
    )
    backend = origin()
    with lb(backend).connect() as client:
        client.send(b"GET /p?q HTTP/1.1\r\nHost: a.example\r\n" + kept + b"\r\n")
        assert client.response().status == 200
    start = b"GET /p?q HTTP/1.1\r\nHost: a.example\r\n"
    assert backend.received == start + kept + ADDED + b"\r\n"


def test_hop_by_hop_and_nominated_fields_stay_here(
    lb: LbFactory, origin: OriginFactory
) -> None:
    got = seen(
        lb,
        origin,
        b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n"
        b"TE: gzip\r\nProxy-Authorization: x\r\nProxy-Connection: keep-alive\r\n"
        b"Upgrade: h2c\r\nX-Kept: 1\r\n",
    )
    start = [b"GET /p?q HTTP/1.1", b"Host: a.example", b"X-Kept: 1"]
    assert got == [*start, *ADDED.removesuffix(b"\r\n").split(b"\r\n")]


def test_a_client_that_is_not_trusted_tells_nothing_about_itself(
    lb: LbFactory, origin: OriginFactory
) -> None:
    got = seen(
        lb,
        origin,
        b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
        b"X_Forwarded_For: 6.6.6.6\r\n",
    )
    assert got[2:] == ADDED.removesuffix(b"\r\n").split(b"\r\n")


def test_a_trusted_proxy_is_believed_and_its_list_goes_on(
    lb: LbFactory, origin: OriginFactory
) -> None:
    got = seen(
        lb,
        origin,
        b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nVia: 1.0 fred\r\n",
        trusted_proxies=["127.0.0.0/8"],
    )
    lines = b"\r\n".join(got)
    assert b"X-Forwarded-For: 6.6.6.6, 127.0.0.1" in lines
    assert b"X-Forwarded-Proto: https" in lines
    assert b"X-Forwarded-Proto: http\r\n" not in lines
    assert lines.index(b"Via: 1.0 fred") < lines.index(b"Via: 1.1 lb")


def test_our_own_name_in_via_is_a_loop(lb: LbFactory, origin: OriginFactory) -> None:
    backend = origin()
    with lb(backend, via="here").connect() as client:
        response = client.ask(fields="Via: 1.1 here\r\n")
        assert response.status == 502
        assert b"proxy_loop_detected" in (response.get("Proxy-Status") or b"")
    assert backend.accepted == 0


def test_without_a_pseudonym_there_is_no_via(
    lb: LbFactory, origin: OriginFactory
) -> None:
    got = seen(lb, origin, b"", via=None)
    assert not any(line.startswith(b"Via") for line in got)


def test_request_rules_are_applied_in_the_order_remove_set_add(
    lb: LbFactory, origin: OriginFactory
) -> None:
    rules = {
        "remove": ["X-Secret", "X-Twice"],
        "set": {"Host": "one.example", "X-Set": "new"},
        "add": {"X-Twice": "added", "X-Via": "lb"},
    }
    got = seen(
        lb,
        origin,
        b"X-Secret: 1\r\nX-Set: old\r\nX-Twice: 1\r\n",
        request_headers=rules,
    )
    assert got[0] == b"GET /p?q HTTP/1.1"
    lines = set(got)
    assert {b"Host: one.example", b"X-Set: new", b"X-Twice: added"} <= lines
    assert b"X-Via: lb" in lines
    assert not {b"Host: a.example", b"X-Secret: 1", b"X-Set: old"} & lines
    assert b"X-Twice: 1" not in lines
    assert b"X-Forwarded-Host: a.example" in lines


def test_an_absolute_target_becomes_origin_form_and_names_the_host(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    with lb(backend).connect() as client:
        client.send(b"GET http://b.example/p HTTP/1.1\r\nHost: b.example\r\n\r\n")
        assert client.response().status == 200
    assert backend.received.startswith(b"GET /p HTTP/1.1\r\nHost: b.example\r\n")


def test_a_response_keeps_its_fields_and_loses_those_of_the_hop(
    lb: LbFactory, origin: OriginFactory
) -> None:
    response = (
        b"HTTP/1.1 200 Fine\r\nserver: x\r\nDate: yesterday\r\nSet-Cookie: a\r\n"
        b"Set-Cookie: b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\n"
        b"Content-Length: 2\r\n\r\nOK"
    )
    with lb(origin(answers(response))).connect() as client:
        assert client.ask().head == (
            b"HTTP/1.1 200 Fine\r\nserver: x\r\nDate: yesterday\r\nSet-Cookie: a\r\n"
            b"Set-Cookie: b\r\nContent-Length: 2\r\n\r\n"
        )


def test_a_response_without_a_date_gets_one(
    lb: LbFactory, origin: OriginFactory
) -> None:
    date = lb(origin()).fetch().get("Date")
    assert date is not None
    assert date.endswith(b" GMT")


def test_response_rules_are_applied(lb: LbFactory, origin: OriginFactory) -> None:
    response = OK.replace(b"\r\n\r\n", b"\r\nServer: x\r\nX-A: old\r\n\r\n")
    rules = {"remove": ["Server"], "set": {"X-A": "new"}, "add": {"X-B": ["1", "2"]}}
    got = lb(origin(answers(response)), response_headers=rules).fetch()
    assert got.get("Server") is None
    assert got.all("X-A") == [b"new"]
    assert got.all("X-B") == [b"1", b"2"]


@pytest.mark.parametrize(
    ("choice", "status", "there"),
    [("drop", 200, False), ("pass", 200, True), ("reject", 400, False)],
)
def test_field_names_with_an_underscore(
    lb: LbFactory, origin: OriginFactory, choice: str, status: int, there: bool
) -> None:
    backend = origin()
    with lb(backend, underscores=choice).connect() as client:
        assert client.ask(fields="X_Y: 1\r\n").status == status
    assert (b"X_Y: 1\r\n" in backend.received) is there
