from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproto.rewriting.paths import encoded, split_target, true_path


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (b"/", b"/"),
        (b"/a/b.c", b"/a/b.c"),
        (b"/a/", b"/a/"),
        (b"/.hidden/..x/...", b"/.hidden/..x/..."),
        (b"//a///b//", b"/a/b/"),
        (b"//", b"/"),
        (b"/a/./b/.", b"/a/b/"),
        (b"/x/../admin", b"/admin"),
        (b"/a/b/../../c", b"/c"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/%61dmin", b"/admin"),
        (b"/x/%2e%2E/admin", b"/admin"),
        (b"/x/.%2e/admin", b"/admin"),
        (b"/%2e/admin", b"/admin"),
        (b"/a%2Fb", b"/a/b"),
        (b"/a%2f%2fb", b"/a/b"),
        (b"/%252e%252e/a", b"/%2e%2e/a"),
        (b"/a%3Fb%23", b"/a?b#"),
        (b"/caf%C3%A9", b"/caf\xc3\xa9"),
        (b"/a\\..\\b", b"/a\\..\\b"),
        (b"/a;x=1/..;/b", b"/a;x=1/..;/b"),
        (b"*", b"*"),
        (b"/a/../b//c", b"/b/c"),
        (b"/a/..//b", b"/b"),
        (b"/a/%2e%2e/b%2Fc", b"/b/c"),
        (b"/a%2F", b"/a/"),
        (b"/a/b/../", b"/a/"),
        (b"/a//.", b"/a/"),
    ],
)
def test_spellings_of_one_path_have_one_form(path: bytes, form: bytes) -> None:
    assert true_path(path) == form


@pytest.mark.parametrize(
    "path",
    [
        b"/..",
        b"/a/../..",
        b"/%2e%2e/a",
        b"/a%",
        b"/a%2",
        b"/a%zz",
        b"/a%00",
        b"/admin//../public",
        b"/public%2f..%2fadmin",
        b"/b%2Fc/../d",
        b"/a/b%2f../c",
        b"/a/..%2fb",
        b"//..",
        b"%2Fa",
    ],
)
def test_what_servers_read_in_two_ways_has_no_form(path: bytes) -> None:
    assert true_path(path) is None


PATHS = st.text("ab./%2eEfF5c;", max_size=20).map(lambda text: b"/" + text.encode())


@given(PATHS)
@example(b"/%2e%2e%2f")
def test_a_form_has_no_detours(path: bytes) -> None:
    form = true_path(path)
    if form is None:
        return
    assert re.search(rb"//|/\.\.?(?:/|\Z)", form) is None
    assert true_path(encoded(form)) == form
    assert unquote_to_bytes(encoded(form)) == form


@given(PATHS)
def test_encoding_a_letter_changes_nothing(path: bytes) -> None:
    other = path.replace(b"a", b"%61").replace(b"/b", b"/./b")
    if b"%a" in path or b"%2a" in path or b"%5a" in path or b"%ea" in path:
        return  # the letter is a digit
    if re.search(rb"%.?[aAb]|%[^/]?/b", path) is None:
        assert true_path(other) == true_path(path)


def test_a_query_is_no_part_of_the_path() -> None:
    assert split_target(b"/a?b?c") == (b"/a", b"?b?c")
    assert split_target(b"/a?") == (b"/a", b"?")
    assert split_target(b"/a") == (b"/a", b"")


def test_what_is_not_for_a_path_is_encoded() -> None:
    assert encoded(b"/a b/\xff?#%[\\") == b"/a%20b/%FF%3F%23%25%5B%5C"
    assert encoded(b"/-._~!$&'()*+,;=:@x") == b"/-._~!$&'()*+,;=:@x"
