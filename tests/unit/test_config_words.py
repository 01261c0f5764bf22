"""How values of a configuration are shown, and addresses without a file."""

from __future__ import annotations

import pytest

from lbproto.config.addresses import backend_target, trusted_network
from lbproto.config.shown import shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        ("a\x1b", '"a\\u001b"'),
        ({}, "a mapping"),
        ([], "a list"),
        (b"", "a bytes"),
    ],
)
def test_a_value_is_shown_in_printable_ascii(value: object, text: str) -> None:
    assert shown(value) == text


def test_what_is_no_text_is_no_address() -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        backend_target(5)
    with pytest.raises(ValueError, match="expected an IP address"):
        trusted_network(5)
