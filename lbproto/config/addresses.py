"""Addresses as a configuration writes them.

`host:port`, `[v6]:port` or `unix:/path`. A listener needs an address of this
machine, so a name is refused there, except `localhost` and `*` (every IPv4
address); a backend may be a name, which the runtime resolves when it connects.
What looks like an IPv4 address has to be one: some resolvers take `127.1` or
`0177.0.0.1` for addresses that nobody meant.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from lbproto.config.shown import shown
from lbproto.machine.effects import Target

__all__ = ["backend_target", "host_name", "listen_target", "trusted_network"]

UNIX: Final = "unix:"

_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}+")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC: Final = re.compile(r"[0-9]++|0[xX][0-9A-Fa-f]*+")
# sun_path of Linux; one byte is the final NUL.
_UNIX_PATH_BYTES: Final = 107

_FORMS: Final = "expected host:port, [ipv6]:port or unix:/path"


def listen_target(value: object) -> Target:
    """Read the address of a listener; port 0 lets the kernel choose.

    Raises:
        ValueError: it is none; the message says why.
    """
    return _target(value, listening=True)


def backend_target(value: object) -> Target:
    """Read the address of a backend.

    Raises:
        ValueError: it is none; the message says why.
    """
    return _target(value, listening=False)


def host_name(value: object) -> str:
    """Read the name of a host, in lower case, for TLS to ask for.

    Raises:
        ValueError: it is none; the message says why.
    """
    if not isinstance(value, str):
        raise ValueError(f"got {shown(value)}, expected a host name")
    if ":" in value or _NUMERIC.fullmatch(value.rpartition(".")[2]):
        # RFC 6066 3 has no addresses.
        message = f"got {shown(value)}, expected a host name, no address and no port"
        raise ValueError(message)
    if len(value) > 253 or _NAME.fullmatch(value) is None or value.endswith("."):
        message = f"got {shown(value)}, expected a host name in ASCII such as"
        raise ValueError(f"{message} app.example")
    return value.lower()


def trusted_network(value: object) -> IPv4Network | IPv6Network | None:
    """Read an address or a network in CIDR form; `unix:` gives None.

    Raises:
        ValueError: it is none; the message says why.
    """
    expected = "expected an IP address, a network such as 10.0.0.0/8, or unix:"
    if value == UNIX:
        return None
    if not isinstance(value, str):
        raise ValueError(f"got {shown(value)}, {expected}")
    try:
        return ip_network(value)
    except ValueError as error:
        if "host bits" not in str(error):
            raise ValueError(f"got {shown(value)}, {expected}") from None
        wider = ip_network(value, strict=False)
    raise ValueError(f"got {shown(value)}, expected {wider} for that network")


def _target(value: object, *, listening: bool) -> Target:
    if not isinstance(value, str):
        raise ValueError(f"got {shown(value)}, {_FORMS}")
    if value.startswith(UNIX):
        return Target("", 0, _unix_path(value))
    if "://" in value:
        raise ValueError(f"got the URL {shown(value)}, {_FORMS}")
    host, colon, port = value.rpartition(":")
    if not colon or not host:
        raise ValueError(f"got {shown(value)}, {_FORMS}")
    number = _port(port, 0 if listening else 1, value)
    if host.startswith("["):
        return Target(_ipv6(host, value), number)
    if ":" in host:
        message = f"got {shown(value)}, expected brackets around an IPv6 address"
        raise ValueError(message)
    if _NUMERIC.fullmatch(host.rpartition(".")[2]):
        return Target(_ipv4(host, value), number)
    if listening:
        return Target(_own(host, value), number)
    if len(host) > 253 or _NAME.fullmatch(host) is None:
        raise ValueError(f"got {shown(value)}, expected a host name or an IP address")
    return Target(host.lower(), number)


def _unix_path(value: str) -> str:
    path = value.removeprefix(UNIX)
    if not path.startswith("/") or "\0" in path or not path.isprintable():
        raise ValueError(f"got {shown(value)}, expected an absolute path after unix:")
    if len(path.encode()) > _UNIX_PATH_BYTES:
        message = f"got {shown(value)}, expected at most {_UNIX_PATH_BYTES} bytes"
        raise ValueError(f"{message} of path")
    return path


def _port(port: str, lowest: int, value: str) -> int:
    if _PORT.fullmatch(port) is None or not lowest <= int(port) <= 65535:
        raise ValueError(f"got {shown(value)}, expected a port of {lowest}-65535")
    return int(port)


def _ipv4(host: str, value: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError:
        message = f"got {shown(value)}, expected an IPv4 address of four numbers"
        raise ValueError(message) from None


def _ipv6(host: str, value: str) -> str:
    try:
        if not host.endswith("]"):
            raise ValueError
        return str(IPv6Address(host[1:-1]))
    except ValueError:
        message = f"got {shown(value)}, expected an IPv6 address in the brackets"
        raise ValueError(message) from None


def _own(host: str, value: str) -> str:
    own = {"*": "0.0.0.0", "localhost": "127.0.0.1"}
    if host not in own:
        message = f"got {shown(value)}, expected an IP address, localhost or * to"
        raise ValueError(f"{message} listen on")
    return own[host]
