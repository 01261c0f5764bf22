"""Whom a request goes to."""

from __future__ import annotations

import pytest

from lbproto.config import Backend, Timeouts
from lbproto.machine.effects import Target
from lbproto.machine.tls import ClientTls
from lbproto.phases.errors import NoPeer
from lbproto.phases.peer import HttpPeer, PeerAddress

ONE = Target("10.0.0.1", 80)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (Backend(target=ONE, weight=3), ONE),
        (ONE, ONE),
        ("10.0.0.1:80", ONE),
        (("10.0.0.1", 80), ONE),
        (("::1", 80), Target("::1", 80)),
        ("[::1]:80", Target("::1", 80)),
        ("unix:/run/app.sock", Target("", 0, "/run/app.sock")),
        ("app.example:8080", Target("app.example", 8080)),
    ],
)
def test_an_address_comes_in_many_forms(address: PeerAddress, target: Target) -> None:
    peer = HttpPeer(address)
    assert peer.target == target
    assert str(peer) == str(target)
    assert repr(peer) == f"HttpPeer({target})"


def test_tls_belongs_to_the_peer() -> None:
    peer = HttpPeer(ONE, tls=True, sni="one.example", verify=False)
    assert peer.target.tls == ClientTls(sni="one.example", verify=False)
    assert HttpPeer(Target("10.0.0.1", 80, tls=ClientTls())).target.tls is None


def test_nothing_to_select_is_an_error_with_a_status() -> None:
    with pytest.raises(NoPeer) as caught:
        HttpPeer(None)
    assert caught.value.status == 503


def test_a_text_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        HttpPeer("nonsense")


def test_a_peer_s_timeouts_count_in_place_of_the_service_s() -> None:
    others = Timeouts()
    assert HttpPeer(ONE).timeouts(others) is others
    peer = HttpPeer(ONE, connect_timeout=1.0, read_timeout=2.0)
    assert peer.timeouts(others) == Timeouts(
        connect=1.0, response_header=2.0, response_body=2.0
    )
