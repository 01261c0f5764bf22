"""The choice of a certificate."""

from __future__ import annotations

import pytest

from lbproto.selection.certificates import CertificateChoice

CHOICE = CertificateChoice(
    [
        ["first.example"],
        ["*.example.org", "example.org"],
        ["www.example.org", "*.example.org"],
        ["Straße.example", "TRAILING.example."],
    ]
)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("first.example", 0),
        ("example.org", 1),
        ("other.example.org", 1),
        ("OTHER.Example.ORG.", 1),
        ("www.example.org", 2),
        ("a.b.example.org", 0),
        ("trailing.example", 3),
        ("unknown", 0),
        ("org", 0),
        (".example.org", 1),
        ("", 0),
    ],
)
def test_exact_then_wildcard_then_the_first(name: str, index: int) -> None:
    assert CHOICE.index(name) == index


def test_without_names_it_is_the_first() -> None:
    assert CertificateChoice([[], []]).index("a.example") == 0
