from __future__ import annotations

import errno
import os
import socket

import pytest

from lbproto.machine.events import ConnectError
from lbproto_runtimes.dial import connect_error, describe


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (failure(errno.ECONNREFUSED), ConnectError.REFUSED),
        (failure(errno.ENOENT), ConnectError.REFUSED),
        (failure(errno.ETIMEDOUT), ConnectError.TIMEOUT),
        (failure(errno.EHOSTUNREACH), ConnectError.UNREACHABLE),
        (failure(errno.EMFILE), ConnectError.LOCAL),
        (OSError("several at once"), ConnectError.UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), ConnectError.DNS),
        (UnicodeError("label too long"), ConnectError.DNS),
    ],
)
def test_errors_of_the_system_have_a_name(
    error: OSError | UnicodeError, why: ConnectError
) -> None:
    assert connect_error(error) is why


def test_a_description_is_short() -> None:
    assert describe(failure(errno.ECONNRESET)) == "Connection reset by peer"
    assert describe(ValueError("odd")) == "odd"
    assert describe(None) == "connection lost"
