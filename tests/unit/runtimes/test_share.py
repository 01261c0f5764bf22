"""Who has how many clients, among workers."""

from __future__ import annotations

from lbproto_runtimes.share import Ledger, Share


def test_a_worker_with_more_than_the_others_knows_it() -> None:
    ledger = Ledger(4)
    one, two = (Share(ledger, ledger.take() or 0) for _ in range(2))
    assert not one.is_large(0)
    one.publish("web", 1)
    assert one.is_large(0)
    assert not two.is_large(0)
    two.publish("web", 1)
    assert not one.is_large(0)
    two.publish("api", 3)
    assert two.is_large(0)
    two.publish("web", 0)
    two.publish("api", 1)
    assert not two.is_large(0)


def test_one_alone_never_waits_for_others() -> None:
    ledger = Ledger(4)
    one = Share(ledger, ledger.take() or 0)
    one.publish("web", 100)
    assert not one.is_large(0)


def test_the_dead_do_not_count() -> None:
    ledger = Ledger(2)
    first, second = ledger.take(), ledger.take()
    assert (first, second) == (0, 1)
    assert ledger.take() is None
    one = Share(ledger, 0)
    one.publish("web", 5)
    assert one.is_large(0)
    ledger.give_back(second)
    ledger.give_back(None)
    assert not one.is_large(0)
    assert ledger.take() == 1
