"""The contract of runtimes, as checks that anybody can run on one.

    import pytest
    from lbproto_runtimes.contract import CHECKS

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_contract(check):
        check.run(MyRuntime())

A check needs no test framework: it is over, or it raises. Without a certificate,
those about TLS raise `unittest.SkipTest`. From the command line:

    python -m lbproto_runtimes.contract NAME
"""

from __future__ import annotations

from typing import Final

from lbproto_runtimes.contract import (
    clauses_awaiting,
    clauses_backends,
    clauses_feeding,
    clauses_moving,
    clauses_reading,
    clauses_relaying,
    clauses_time,
    clauses_tls,
    clauses_tls_backends,
    clauses_writing,
)
from lbproto_runtimes.contract.check import CLAUSES, Check
from lbproto_runtimes.contract.stage import Serves

__all__ = ["CHECKS", "CLAUSES", "Check", "Serves"]

CHECKS: Final[tuple[Check, ...]] = (
    *clauses_feeding.CHECKS,
    *clauses_time.CHECKS,
    *clauses_reading.CHECKS,
    *clauses_writing.CHECKS,
    *clauses_relaying.CHECKS,
    *clauses_backends.CHECKS,
    *clauses_moving.CHECKS,
    *clauses_awaiting.CHECKS,
    *clauses_tls.CHECKS,
    *clauses_tls_backends.CHECKS,
)
"""Every check."""
