"""When findings change what is believed of a backend."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing.proxy_protocol import ProxyHeaderReader
from lbproto.health.finding import Health
from lbproto.health.preface import own_header


def test_a_backend_is_healthy_until_something_is_found() -> None:
    assert Health().healthy


def test_so_many_failures_in_a_row_make_it_unhealthy() -> None:
    health = Health()
    found = [health.observe(ok, 1, 3) for ok in (False, False, True, False, False)]
    assert found == [False] * 5
    assert health.observe(False, 1, 3)
    assert not health.healthy


def test_so_many_successes_in_a_row_make_it_healthy_again() -> None:
    health = Health(healthy=False)
    assert [health.observe(ok, 2, 1) for ok in (True, False, True, True)] == [
        False,
        False,
        False,
        True,
    ]
    assert health.healthy


@given(
    st.booleans(),
    st.lists(st.booleans(), max_size=60),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_it_changes_exactly_after_a_run_that_contradicts_it(
    first: bool, findings: list[bool], up: int, down: int
) -> None:
    health = Health(healthy=first)
    state, run = first, 0
    for finding in findings:
        run = 0 if finding is state else run + 1
        changes = run == (up if finding else down) and run > 0
        assert health.observe(finding, up, down) is changes
        if changes:
            state, run = finding, 0
        assert health.healthy is state


def test_the_proxy_header_of_a_probe_names_nobody() -> None:
    assert own_header(None) == b""
    assert own_header("v1") == b"PROXY UNKNOWN\r\n"
    assert own_header("v2")[12:] == b"\x20\x00\x00\x00"  # LOCAL
    for version in ("v1", "v2"):
        reader = ProxyHeaderReader()
        header = reader.receive(own_header(version) + b"GET")
        assert header is not None
        assert header.source is None
