"""Subjects of certificates as text."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from lbproto_runtimes.subject import subject_of


def of(*pairs: tuple[str, str]) -> str:
    return subject_of({"subject": tuple(((kind, text),) for kind, text in pairs)})


def test_the_most_specific_name_comes_first() -> None:
    parts = ("countryName", "AU"), ("organizationName", "O"), ("commonName", "Jane")
    assert of(*parts) == "CN=Jane,O=O,C=AU"


def test_without_a_certificate_it_is_empty() -> None:
    assert subject_of({}) == ""


def test_names_of_one_level_are_joined() -> None:
    both = (("commonName", "a"), ("userId", "b"))
    assert subject_of({"subject": (both,)}) == "CN=a+UID=b"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('a,b+c"d\\e<f>g;h=i', 'a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h\\=i'),
        ("#first", "\\#first"),
        (" both ", "\\ both\\ "),
        (" ", "\\ "),
        ("a\\ ", "a\\\\\\ "),
        ("Müller", "M\\C3\\BCller"),
        ("line\r\nX-Evil: 1", "line\\0D\\0AX-Evil: 1"),
        ("\x00", "\\00"),
    ],
)
def test_what_could_be_misread_is_escaped(text: str, written: str) -> None:
    assert of(("commonName", text)) == f"CN={written}"


def test_a_kind_without_a_short_name_keeps_its_long_one() -> None:
    assert of(("emailAddress", "a@b.example")) == "emailAddress=a@b.example"


@given(st.text(min_size=1, max_size=16))  # 64 bytes is the most that X.520 allows
def test_another_reader_gets_the_same_name(text: str) -> None:
    read = x509.Name.from_rfc4514_string(of(("commonName", text)))
    assert [attribute.value for attribute in read] == [text]


@given(st.text())
def test_the_result_is_printable_ascii(text: str) -> None:
    written = of(("commonName", text))
    assert written.isascii()
    assert written.isprintable()
