from __future__ import annotations

import pytest

from lbproto.machine.errors import VERDICTS, Blame, ErrorCode, RemoteProtocolError


def test_every_code_has_a_verdict() -> None:
    assert list(VERDICTS) == list(ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_verdict_fits_its_blame(code: ErrorCode) -> None:
    verdict = VERDICTS[code]
    if verdict.status and verdict.blame is Blame.CLIENT:
        # After a mistake nobody knows where the next request begins; to ask for
        # what is not there is none.
        assert verdict.close is (code is not ErrorCode.NO_ROUTE)
        assert 400 <= verdict.status < 600
    if verdict.blame is Blame.BACKEND:
        assert verdict.status in (502, 504)
        assert not verdict.close
        assert verdict.proxy_error


def test_a_remote_error_carries_code_and_detail() -> None:
    error = RemoteProtocolError(ErrorCode.VERSION, "HTTP/9.9, expected HTTP/1.1")
    assert error.code is ErrorCode.VERSION
    assert error.detail == str(error)
