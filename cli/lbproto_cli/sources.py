"""The shape of `backends` where they are not listed, and the record it becomes."""

from __future__ import annotations

import os
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, PlainValidator

from lbproto.config import DnsSource, FileSource, addresses
from lbproto.config.shown import shown
from lbproto.machine.effects import Target
from lbproto_cli import quantities, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbproto_cli.positions import Value
    from lbproto_cli.problems import Path

__all__ = ["DnsEntry", "SourceEntry", "check_source", "source"]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_DNS: Final = DnsSource(name="")

_Duration: TypeAlias = Annotated[float, PlainValidator(quantities.duration(zero=False))]


def _port(value: object) -> int | None:
    return None if value is None else quantities.whole(1, 65535)(value)


def _server(value: object) -> Target | None:
    if value is None:
        return None
    target = addresses.backend_target(value)
    try:
        ip_address(target.host)
    except ValueError:
        message = f"got {shown(value)}, expected an IP address with a port, or null"
        raise ValueError(message) from None
    return target


class DnsEntry(BaseModel):
    """`dns` of `backends`."""

    model_config = _STRICT

    name: Annotated[str, PlainValidator(addresses.host_name)]
    port: Annotated[int | None, PlainValidator(_port)] = _DNS.port
    type: Annotated[str, PlainValidator(words.choice("a", "srv"))] = _DNS.type
    interval: _Duration = _DNS.interval
    server: Annotated[Target | None, PlainValidator(_server)] = _DNS.server


class SourceEntry(BaseModel):
    """`backends`, as a mapping."""

    model_config = _STRICT

    dns: DnsEntry | None = None
    file: Annotated[str | None, PlainValidator(words.path)] = None


def source(entry: SourceEntry, folder: str) -> DnsSource | FileSource:
    """Make the record of an upstream; a relative path begins at `folder`."""
    if entry.dns is None:
        assert entry.file is not None, "one of the two is there"
        return FileSource(path=os.path.join(folder, entry.file))
    return DnsSource(
        name=entry.dns.name,
        port=entry.dns.port,
        type=cast('Literal["a", "srv"]', entry.dns.type),
        interval=entry.dns.interval,
        server=entry.dns.server,
    )


def check_source(path: Path, value: Value) -> Iterator[tuple[Path, str]]:
    """Yield what does not fit together in `backends` as a mapping."""
    if not isinstance(value, dict):
        return
    given = [key for key in ("dns", "file") if value.get(key) is not None]
    if len(given) != 1:
        yield path, "expected a list of backends, or one of dns and file"
    dns = value.get("dns")
    if not isinstance(dns, dict):
        return
    if dns.get("type", "a") == "a" and dns.get("port") is None:
        message = "missing, expected this key (records of type SRV alone name a port)"
        yield (*path, "dns", "port"), message
    if find_spec("dns") is None:
        message = "DNS needs dnspython, expected lbproto[dns] to be installed"
        yield (*path, "dns"), message
