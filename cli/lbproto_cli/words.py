"""Values of the file that are text: names, paths, choices, header fields.

Like `quantities`: each function returns what a value of the tree stands for, or
raises `ValueError` with a message that shows it and says what is expected.

The fields that frame a message or belong to one connection (RFC 9110 7.6.1, RFC
9112 6) are the balancer's own; a rule that edits them could split messages, so
there is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lbproto.config import Template, Variable
from lbproto.config.shown import shown
from lbproto.rewriting.variables import UnknownVariable, template
from lbproto_cli.problems import nearest, shown_word

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "NOT_YET",
    "account",
    "choice",
    "field_name",
    "field_value",
    "file",
    "later",
    "name",
    "path",
    "protocol",
    "pseudonym",
    "request_field",
]

NOT_YET: Final = "not supported yet"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_PROTOCOL: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++(?:/[!-~]++)?+")
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\U0010ffff]*+")

_ACCOUNT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}+\$?+")

_OWNED: Final = (
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)

MAX_NAME: Final = 64


def name(value: object) -> str:
    """Read the name of a service or an upstream.

    Raises:
        ValueError: it is none; the message says why.
    """
    if isinstance(value, str) and value and value.isprintable():
        if len(value) <= MAX_NAME:
            return value
        message = f"got {shown(value)}, expected at most {MAX_NAME} characters"
        raise ValueError(message)
    raise ValueError(f"got {shown(value)}, expected a name{_quoted(value)}")


def path(value: object) -> str | None:
    """Read a path of the file system, or null.

    Raises:
        ValueError: it is neither; the message says why.
    """
    return None if value is None else _path(value, "a path or null")


def file(value: object) -> str:
    """Read a path of the file system.

    Raises:
        ValueError: it is none; the message says why.
    """
    return _path(value, "a path")


def account(value: object) -> str | None:
    """Read the name of a user or a group of the system, or null.

    Raises:
        ValueError: it is neither; the message says why.
    """
    if value is None:
        return None
    if isinstance(value, str) and _ACCOUNT.fullmatch(value):
        return value
    raise ValueError(f"got {shown(value)}, expected a name or null{_quoted(value)}")


def choice(*choices: str) -> Callable[[object], str]:
    """Make a reader of one word out of several."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        expected = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        raise ValueError(f"got {shown(value)}, expected {expected}")

    return read


def later(value: object) -> None:
    """Read a key that works later: now it can only say that the thing is off.

    Raises:
        ValueError: it says something else.
    """
    if value is None or value is False or value == "off":
        return
    scalar = not isinstance(value, dict | list)
    raise ValueError(f"{shown(value)} is {NOT_YET}" if scalar else NOT_YET)


def pseudonym(value: object) -> bytes | None:
    """Read our name in Via (RFC 9110 7.6.3), or null.

    Raises:
        ValueError: it is neither; the message says why.
    """
    if value is None:
        return None
    if isinstance(value, str) and _TOKEN.fullmatch(value):
        return value.encode()
    raise ValueError(f"got {shown(value)}, expected a token such as lb, or null")


def protocol(value: object) -> bytes:
    """Read a protocol for Upgrade (RFC 9110 7.8), or `*`.

    Raises:
        ValueError: it is neither, or h2c, which is never tunnelled.
    """
    if not isinstance(value, str) or _PROTOCOL.fullmatch(value) is None:
        message = f"got {shown(value)}, expected a protocol such as websocket, or "
        raise ValueError(message + '"*"')
    # HTTP inside the tunnel would pass every check by.
    if value.lower() == "h2c":
        raise ValueError("got h2c, expected a protocol that may be tunnelled")
    return value.lower().encode()


def field_name(value: object) -> bytes:
    """Read the name of a header field that rules may edit.

    Raises:
        ValueError: it is none; the message says why.
    """
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise ValueError(f"got {shown(value)}, expected the name of a header field")
    if value.lower() in _OWNED:
        message = f"{value} is the balancer's own field, expected one that it does not"
        raise ValueError(f"{message} manage itself")
    return value.encode()


def request_field(value: object) -> bytes:
    """Read the name of a request field that may be added or removed.

    Raises:
        ValueError: it is none; the message says why.
    """
    # Exactly one Host goes with every request (RFC 9112 3.2).
    if isinstance(value, str) and value.lower() == "host":
        raise ValueError(
            f"{value} can be neither added nor removed, expected it in set"
        )
    return field_name(value)


def field_value(value: object) -> bytes | Template:
    """Read the value of a header field; a plain whole number is text too.

    Raises:
        ValueError: it is none; the message says why.
    """
    if type(value) is int:
        return str(value).encode()
    if not isinstance(value, str):
        raise ValueError(f"got {shown(value)}, expected text{_quoted(value)}")
    # RFC 9110 5.5: a CR or LF here would start another field.
    if _FIELD_VALUE.fullmatch(value) is None:
        message = f"got {shown(value)}, expected text without control characters"
        raise ValueError(message)
    try:
        return template(value.strip(" \t").encode())
    except UnknownVariable as error:
        hint = nearest(error.name, [variable.value for variable in Variable])
        message = f"unknown variable {shown_word(error.name)} in {shown(value)}{hint}"
        raise ValueError(f"{message} ($$ is a dollar sign)") from None
    except ValueError as error:
        raise ValueError(f"got {shown(value)}, {error}") from None


def _path(value: object, expected: str) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise ValueError(f"got {shown(value)}, expected {expected}{_quoted(value)}")


def _quoted(value: object) -> str:
    number = isinstance(value, bool | int | float)
    return f' (in quotes, "{shown(value)}", it is text)' if number else ""
