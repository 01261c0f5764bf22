from __future__ import annotations

import itertools

import pytest

from lbproto.config import Backoff, Retry
from lbproto.proxy.retry import IDEMPOTENT, Failure, Remedy, pause, remedy

METHODS = (*sorted(IDEMPOTENT), b"POST", b"PATCH", b"get", b"")
ALL = Retry(
    on=("connect_failure", "reused_connection_closed", "connection_closed", "timeout"),
    statuses=(503,),
)
NONE = Retry(on=())
DEFAULT = Retry()

# Each row of the table: the failure, whether it is on by default and whether it can
# be turned off, what any request gets, what one gets that may be acted on twice.
ROWS = (
    (Failure.UNREACHABLE, True, True, Remedy.OTHER, Remedy.OTHER),
    (Failure.STALE, True, False, Remedy.SAME, Remedy.SAME),
    (Failure.REUSED_CLOSED, True, True, None, Remedy.SAME),
    (Failure.FRESH_CLOSED, False, True, None, Remedy.OTHER),
    (Failure.SILENT, False, True, None, Remedy.OTHER),
)


@pytest.mark.parametrize(("row", "method"), list(itertools.product(ROWS, METHODS)))
def test_each_row_of_the_table(
    row: tuple[Failure, bool, bool, Remedy | None, Remedy], method: bytes
) -> None:
    failure, default, optional, any_request, idempotent = row
    for complete in (False, True):
        wanted = idempotent if complete and method in IDEMPOTENT else any_request
        given = {"held": True, "complete": complete}
        assert remedy(failure, ALL, method, **given) is wanted
        got = remedy(failure, DEFAULT, method, **given)
        assert got is (wanted if default else None)
        got = remedy(failure, NONE, method, **given)
        assert got is (None if optional else wanted)


@pytest.mark.parametrize("method", METHODS)
def test_a_status_is_no_reason_to_act_twice(method: bytes) -> None:
    for complete in (False, True):
        good = complete and method in IDEMPOTENT
        got = remedy(Failure.STATUS, ALL, method, held=True, complete=complete)
        assert got is (Remedy.OTHER if good else None)


@pytest.mark.parametrize(
    ("failure", "method"), list(itertools.product(Failure, (b"GET", b"POST")))
)
def test_never_without_the_whole_request(failure: Failure, method: bytes) -> None:
    got = remedy(failure, ALL, method, held=False, complete=True)
    # Of a request that reached nobody nothing was given away.
    assert got is (Remedy.OTHER if failure is Failure.UNREACHABLE else None)


def test_without_a_back_off_there_is_no_pause() -> None:
    assert pause(None, 1, 0.5) == 0.0


def test_a_pause_is_anything_up_to_a_bound_that_doubles() -> None:
    backoff = Backoff(base=0.1, max=0.5)
    bounds = [pause(backoff, number, 1.0) for number in (1, 2, 3, 4, 5, 10_000)]
    assert bounds == [0.1, 0.2, 0.4, 0.5, 0.5, 0.5]
    assert pause(backoff, 2, 0.5) == 0.1
    assert pause(backoff, 2, 0.0) == 0.0
