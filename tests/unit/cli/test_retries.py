"""`retry` in a file."""

from __future__ import annotations

import pytest

from lbproto.config import Backoff, Retry
from lbproto_cli.load import parse
from lbproto_cli.problems import ConfigProblems


def retry(value: str) -> Retry:
    text = f"upstreams: {{a: {{backends: ['h:1'], retry: {value}}}}}"
    return parse(text.encode(), "conf.yaml", ("uvloop",)).config.upstreams["a"].retry


def test_without_the_key_there_is_no_budget() -> None:
    assert retry("null") == Retry(budget_percent=None)


def test_with_the_key_there_is_one() -> None:
    assert retry("{}") == Retry(budget_percent=20)
    assert retry("{budget_percent: null}") == Retry()


def test_everything() -> None:
    got = retry(
        "{on: [timeout, 502, 503, connection_closed], budget_percent: 5,"
        " per_try_timeout: 2s, backoff: {base: 10ms, max: 1s}}"
    )
    assert got == Retry(
        on=("timeout", "connection_closed"),
        statuses=(502, 503),
        budget_percent=5,
        per_try_timeout=2.0,
        backoff=Backoff(base=0.01, max=1.0),
    )
    assert retry("{on: [], backoff: {}}") == Retry(
        on=(), budget_percent=20, backoff=Backoff()
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{on: [conect_failure]}", "did you mean connect_failure?"),
        ("{on: [404]}", "got 404, expected connect_failure, reused_connection_closed"),
        ("{on: [true]}", "got true, expected connect_failure"),
        ("{on: 503}", "retry.on: got 503, expected a list"),
        ("{budget_percent: 101}", "got 101, expected a whole number of 0-100"),
        ("{backof: {}}", "unknown key, did you mean backoff?"),
        ("{backoff: {bass: 1}}", "unknown key, did you mean base?"),
        ("true", "got true, expected a mapping"),
    ],
)
def test_what_is_wrong_is_told(value: str, message: str) -> None:
    with pytest.raises(ConfigProblems, match=r"^conf\.yaml:1:") as caught:
        retry(value)
    assert message in str(caught.value)
