from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.routing.hosts import HostIndex

INDEX = HostIndex(
    [
        (["a.example", "B.example."], 1),
        (["*.example.com"], 2),
        ([], 3),
        (["www.example.com", "*.deep.example.com"], 4),
        (["[::1]"], 5),
    ]
)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("a.example", [1, 3]),
        ("a.example.", [1, 3]),
        ("b.example", [1, 3]),
        ("www.example.com", [2, 3, 4]),
        ("other.example.com", [2, 3]),
        ("x.y.example.com", [2, 3]),
        ("x.deep.example.com", [2, 3, 4]),
        ("deep.example.com", [2, 3]),
        ("example.com", [3]),
        ("badexample.com", [3]),
        ("", [3]),
        ("[::1]", [3, 5]),
        ("x." * 200 + "example.com", [3]),
        ("x..example.com", [2, 3]),
    ],
)
def test_a_host_may_take_what_names_it_and_what_names_none(
    host: str, found: list[int]
) -> None:
    assert list(INDEX.find(host)) == found


def test_without_wildcards_nothing_is_searched() -> None:
    plain = HostIndex([(["a"], 1), ([], 2)])
    assert [list(plain.find(host)) for host in ("a", "a.", "x.a")] == [
        [1, 2],
        [1, 2],
        [2],
    ]


HOSTS = st.sampled_from(["a", "b.a", "c.b.a", "*.a", "*.b.a", "x.y", "*.y", "*.x.y"])


def fits(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


@given(
    st.lists(st.lists(HOSTS, max_size=3), max_size=6),
    st.sampled_from(["a", "b.a", "c.b.a", "d.c.b.a", "x.y", "z.x.y", "q", ""]),
)
def test_the_index_finds_what_a_scan_would_find(
    entries: list[list[str]], host: str
) -> None:
    index = HostIndex([(hosts, at) for at, hosts in enumerate(entries)])
    scanned = [
        at
        for at, hosts in enumerate(entries)
        if not hosts or any(fits(one, host) for one in hosts)
    ]
    assert list(index.find(host)) == scanned
