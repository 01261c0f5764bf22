from __future__ import annotations

import pytest

from lbproto.config import Rewrite
from lbproto.routing.edits import PrefixEdit, RegexEdit, edit_of, is_below
from lbproto.routing.pattern import PatternError


@pytest.mark.parametrize(
    ("path", "below"),
    [
        (b"/v1", True),
        (b"/v1/", True),
        (b"/v1/x", True),
        (b"/v1x", False),
        (b"/v", False),
        (b"/", False),
        (b"/x/v1", False),
    ],
)
def test_a_prefix_ends_with_a_segment(path: bytes, below: bool) -> None:
    assert is_below(path, b"/v1") is below


def test_everything_but_the_server_itself_is_below_the_root() -> None:
    assert is_below(b"/", b"")
    assert is_below(b"/a", b"")
    assert not is_below(b"*", b"")


@pytest.mark.parametrize(
    ("prefix", "to", "path", "query", "target"),
    [
        ("/v1", "/", b"/v1", b"", b"/"),
        ("/v1", "/", b"/v1/", b"", b"/"),
        ("/v1", "/", b"/v1/x", b"?y", b"/x?y"),
        ("/v1/", "/", b"/v1/x", b"", b"/x"),
        ("/v1", "/", b"/v1x", b"", b""),
        ("/v1", "/api/v2", b"/v1/x y", b"", b"/api/v2/x%20y"),
        ("/v1", "/api/", b"/v1/x", b"", b"/api/x"),
        ("/v1", "/api", b"/v1", b"?", b"/api?"),
        ("/", "/api", b"/x", b"", b"/api/x"),
        ("/v1", "/api?from=v1", b"/v1/x", b"", b"/api/x?from=v1"),
        ("/v1", "/api?from=v1", b"/v1/x", b"?a=b", b"/api/x?from=v1&a=b"),
    ],
)
def test_a_prefix_is_replaced(
    prefix: str, to: str, path: bytes, query: bytes, target: bytes
) -> None:
    assert PrefixEdit(prefix, to).target(path, query) == target


@pytest.mark.parametrize(
    ("regex", "to", "path", "query", "target"),
    [
        ("^/user/([0-9]+)$", "/profile/$1", b"/user/7", b"?x", b"/profile/7?x"),
        ("^/user/([0-9]+)$", "/profile/$1", b"/user/x", b"", b""),
        ("/(.)/(.)$", "/${2}0/$1", b"/a/b", b"", b"/b0/a"),
        ("^/(.*)$", "/q?path=$1", b"/a&b=c d", b"?e", b"/q?path=a%26b%3Dc%20d&e"),
        ("^/(.*)$", "/x/$1", b"/a?b#c%", b"", b"/x/a%3Fb%23c%25"),
        ("^/x(/.*)$", "/$1", b"/x/y", b"", b"/y"),
        ("^/(.*)$", "/$$1$", b"/x", b"", b"/$1$"),
        ("^/a(b)?c$", "/[$1]", b"/ac", b"", b"/%5B%5D"),
    ],
)
def test_what_a_regex_finds_is_replaced_as_a_whole(
    regex: str, to: str, path: bytes, query: bytes, target: bytes
) -> None:
    assert RegexEdit(regex, to).target(path, query) == target


def test_no_group_leads_anywhere_else() -> None:
    edit = RegexEdit("^/([^/]*)/(.*)$", "/in/.$1/$2")
    assert edit.target(b"/a/b", b"") == b"/in/.a/b"
    assert edit.target(b"/./b", b"") == b"/b"
    assert RegexEdit("^/(.)(.)$", "/$1$2/x").target(b"/..", b"") is None


@pytest.mark.parametrize("to", ["/$2", "/$0", "/?x=$2", "/${3}"])
def test_a_group_that_there_is_not_is_an_error(to: str) -> None:
    with pytest.raises(PatternError, match="none of the 1 groups"):
        RegexEdit("(a)", to)


def test_a_route_has_the_edit_that_it_names() -> None:
    assert edit_of(None, None) is None
    strip = edit_of("/a", None)
    prefix = edit_of(None, Rewrite(prefix="/a", to="/b"))
    regex = edit_of(None, Rewrite(regex="a(.*)", to="/c$1"))
    assert strip is not None
    assert prefix is not None
    assert regex is not None
    made = [edit.target(b"/a/x", b"") for edit in (strip, prefix, regex)]
    assert made == [b"/x", b"/b/x", b"/c/x"]
