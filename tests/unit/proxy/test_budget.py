from __future__ import annotations

from contextlib import nullcontext

from hypothesis import given
from hypothesis import strategies as st

from lbproto.proxy.budget import FREE, WINDOW, RetryBudget


def budget(percent: int = 20) -> RetryBudget:
    return RetryBudget(percent, nullcontext())


def test_a_few_in_a_second_are_free() -> None:
    one = budget()
    for second in range(3):
        assert [one.spend(second + at / 10) for at in range(5)] == [True] * 3 + [
            False
        ] * 2


def test_more_are_a_share_of_the_requests() -> None:
    one = budget(20)
    for _ in range(100):
        one.earn(5.0)
    assert [one.spend(5.5) for _ in range(25)].count(True) == 20
    for _ in range(10):
        one.earn(5.9)
    assert [one.spend(5.9) for _ in range(5)].count(True) == 2


def test_what_is_older_than_the_window_does_not_count() -> None:
    one = budget(50)
    for _ in range(100):
        one.earn(0.0)
    assert [one.spend(WINDOW - 0.1) for _ in range(60)].count(True) == 50
    assert [one.spend(WINDOW) for _ in range(60)].count(True) == FREE
    later = 10.0 * WINDOW
    one.earn(later)
    assert [one.spend(later) for _ in range(9)].count(True) == FREE


def test_no_percent_leaves_the_free_ones() -> None:
    one = budget(0)
    for _ in range(1000):
        one.earn(1.0)
    assert [one.spend(1.0) for _ in range(9)].count(True) == FREE


def test_a_clock_that_stands_still_is_no_trouble() -> None:
    one = budget(100)
    one.earn(3.9)
    one.earn(3.1)
    assert [one.spend(3.5) for _ in range(5)].count(True) == FREE


@given(
    st.integers(0, 100),
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200),
)
def test_never_more_than_the_share_or_the_free_ones(
    percent: int, steps: list[tuple[float, bool]]
) -> None:
    one, now = budget(percent), 0.0
    requests: list[float] = []
    retries: list[float] = []
    for passed, repeats in steps:
        now += passed
        if not repeats:
            one.earn(now)
            requests.append(now)
        elif one.spend(now):
            retries.append(now)
            recent = [at for at in retries if int(at) > int(now) - WINDOW]
            share = [at for at in requests if int(at) > int(now) - WINDOW]
            free = sum(int(at) == int(now) for at in retries) <= FREE
            assert free or len(recent) * 100 <= len(share) * percent
