"""The shape of `health_check`, and the record it becomes.

What only a probe over HTTP needs is checked in any case and ignored by the others, so
that `type` alone can be changed.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import HealthCheck
from lbproto.config.shown import shown
from lbproto_cli import quantities, words

__all__ = ["HealthCheckEntry", "OfUpstream", "health_check"]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_CHECK: Final = HealthCheck()

_PATH: Final = re.compile(r"/[!\"$-~]*+")
"""Origin-form (RFC 9112 3.2.1), without a fragment."""
_HOST: Final = re.compile(r"[A-Za-z0-9._~!$&+=\-]++(?::[0-9]{1,5}+)?+")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]++\](?::[0-9]{1,5}+)?+")
_LONGEST_TEXT: Final = 1024

_Duration: TypeAlias = Annotated[float, PlainValidator(quantities.duration(zero=False))]
_Often: TypeAlias = Annotated[int, PlainValidator(quantities.whole(1, 1000))]
_Status: TypeAlias = Annotated[int, PlainValidator(quantities.whole(200, 599))]


def _port(value: object) -> int | None:
    return None if value is None else quantities.whole(1, 65535)(value)


def _path(value: object) -> bytes:
    if isinstance(value, str) and _PATH.fullmatch(value):
        return value.encode()
    message = f"got {shown(value)}, expected a path such as /healthz"
    raise ValueError(f"{message}, with %XX for what is not ASCII")


def _host(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str) and (_HOST.fullmatch(value) or _IPV6.fullmatch(value)):
        return value.encode()
    raise ValueError(
        f"got {shown(value)}, expected a host such as app.example, or null"
    )


def _text(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str) and 0 < len(value.encode()) <= _LONGEST_TEXT:
        return value.encode()
    message = f"got {shown(value)}, expected text of 1-{_LONGEST_TEXT} bytes, or null"
    raise ValueError(message)


class HealthCheckEntry(BaseModel):
    """`health_check` of an upstream."""

    model_config = _STRICT

    type: Annotated[str, PlainValidator(words.choice("tcp", "http"))] = _CHECK.type
    interval: _Duration = _CHECK.interval
    timeout: _Duration = _CHECK.timeout
    healthy_after: _Often = _CHECK.healthy_after
    unhealthy_after: _Often = _CHECK.unhealthy_after
    port: Annotated[int | None, PlainValidator(_port)] = _CHECK.port
    method: Annotated[
        str, PlainValidator(words.choice("GET", "HEAD", "OPTIONS", "POST"))
    ] = _CHECK.method.decode()
    path: Annotated[bytes, PlainValidator(_path)] = _CHECK.path
    host: Annotated[bytes | None, PlainValidator(_host)] = _CHECK.host
    expect_status: list[_Status] = list(_CHECK.expect_status)
    expect_body: Annotated[bytes, PlainValidator(_text)] = _CHECK.expect_body
    reuse: Annotated[bool, PlainValidator(quantities.flag)] = _CHECK.reuse


def _entry(value: object) -> object:
    if value is None or isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict):
        raise ValueError(f"got {shown(value)}, expected true, false or a mapping")
    return value


OfUpstream: TypeAlias = Annotated[HealthCheckEntry | None, BeforeValidator(_entry)]


def health_check(entry: HealthCheckEntry | None) -> HealthCheck | None:
    """Make the record of an upstream."""
    if entry is None:
        return None
    return HealthCheck(
        type=cast('Literal["tcp", "http"]', entry.type),
        interval=entry.interval,
        timeout=entry.timeout,
        healthy_after=entry.healthy_after,
        unhealthy_after=entry.unhealthy_after,
        port=entry.port,
        method=entry.method.encode(),
        path=entry.path,
        host=entry.host,
        expect_status=tuple(entry.expect_status),
        expect_body=entry.expect_body,
        reuse=entry.reuse,
    )
