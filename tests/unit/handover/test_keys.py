"""What is a key of a listener, and what is not."""

from __future__ import annotations

import pytest

from lbproto.handover.keys import ListenerKey, check_keys, is_key, listener_key
from lbproto.machine.errors import LocalProtocolError


@pytest.mark.parametrize(
    "text",
    [
        "tcp:0.0.0.0:6188",
        "tcp:[::]:6188",
        "tcp:[fe80::1%eth0]:80",
        "tcp:localhost:0",
        "tcp::8080",
        "tcp:*:65535",
        "unix:/run/lb.sock",
        "unix:/run/with a space",
        "unix:relative",
        "unix:/run/ü",
        "unix:" + "a" * 108,
    ],
)
def test_addresses_are_keys(text: str) -> None:
    assert is_key(text)
    assert listener_key(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.0.0.0:6188",
        "tcp:0.0.0.0",
        "tcp:0.0.0.0:",
        "tcp:0.0.0.0:65536",
        "tcp:0.0.0.0:123456",
        "tcp:0.0.0.0:+1",
        "tcp:0.0.0.0:٣",
        "tcp:a b:80",
        "tcp:::80",
        "tcp:[]:80",
        "udp:0.0.0.0:53",
        "unix:",
        "unix:/run/a\n",
        "unix:/run/\0",
        "unix:/run/\ud800",
        "unix:" + "a" * 109,
        "unix:" + "ü" * 55,
        "TCP:0.0.0.0:80",
        "tcp:0.0.0.0:80\n",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_key(text)
    with pytest.raises(LocalProtocolError, match="no key"):
        listener_key(text)


def test_our_own_keys_are_looked_at() -> None:
    key = ListenerKey("tcp:0.0.0.0:80")
    assert check_keys([key]) == (key,)
    with pytest.raises(LocalProtocolError, match="one key"):
        check_keys([key, key])
    with pytest.raises(LocalProtocolError, match="no key"):
        check_keys([ListenerKey("80")])
