"""The shape of the keys about TLS, and the records they become.

As in `schema`: one model for each mapping, defaults from the records of the core.
A path that does not begin at the root begins at the folder of the configuration
file, so that the file means the same wherever the command is started.
"""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import addresses
from lbproto.config.shown import shown
from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto_cli import quantities, words

__all__ = [
    "CertificateEntry",
    "ClientTlsEntry",
    "OfListener",
    "OfUpstream",
    "ServerTlsEntry",
    "client_tls",
    "server_tls",
]

ClientAuth: TypeAlias = Literal["none", "optional", "require"]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_SERVER: Final = ServerTls(certificates=())
_CLIENT: Final = ClientTls()

_File: TypeAlias = Annotated[str, PlainValidator(words.file)]
_FileOrNull: TypeAlias = Annotated[str | None, PlainValidator(words.path)]


def _sni(value: object) -> str:
    return "" if value is None else addresses.host_name(value)


class CertificateEntry(BaseModel):
    """One of `certificates`, or the `certificate` that we show to a backend."""

    model_config = _STRICT

    cert: _File
    key: _File


class ServerTlsEntry(BaseModel):
    """`tls` of a listener."""

    model_config = _STRICT

    certificates: list[CertificateEntry]
    client_ca: _FileOrNull = _SERVER.client_ca
    client_auth: Annotated[
        str, PlainValidator(words.choice("none", "optional", "require"))
    ] = _SERVER.client_auth


class ClientTlsEntry(BaseModel):
    """`tls` of an upstream."""

    model_config = _STRICT

    sni: Annotated[str, PlainValidator(_sni)] = _CLIENT.sni
    verify: Annotated[bool, PlainValidator(quantities.flag)] = _CLIENT.verify
    ca_file: _FileOrNull = _CLIENT.ca_file
    certificate: CertificateEntry | None = None


def _server(value: object) -> object:
    if value is True:
        raise ValueError("got true, expected a mapping with certificates")
    return None if value is False else value


def _client(value: object) -> object:
    if value is None or isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict):
        raise ValueError(f"got {shown(value)}, expected true, false or a mapping")
    return value


OfListener: TypeAlias = Annotated[ServerTlsEntry | None, BeforeValidator(_server)]
OfUpstream: TypeAlias = Annotated[ClientTlsEntry | None, BeforeValidator(_client)]


def server_tls(entry: ServerTlsEntry | None, folder: str) -> ServerTls | None:
    """Make the record of a listener; relative paths begin at `folder`."""
    if entry is None:
        return None
    return ServerTls(
        certificates=tuple(_certificate(it, folder) for it in entry.certificates),
        client_ca=_located(entry.client_ca, folder),
        client_auth=cast("ClientAuth", entry.client_auth),
    )


def client_tls(entry: ClientTlsEntry | None, folder: str) -> ClientTls | None:
    """Make the record of an upstream; relative paths begin at `folder`."""
    if entry is None:
        return None
    shows = entry.certificate
    return ClientTls(
        sni=entry.sni,
        verify=entry.verify,
        ca_file=_located(entry.ca_file, folder),
        certificate=None if shows is None else _certificate(shows, folder),
    )


def _certificate(entry: CertificateEntry, folder: str) -> Certificate:
    cert, key = (os.path.join(folder, path) for path in (entry.cert, entry.key))
    return Certificate(cert=cert, key=key)


def _located(path: str | None, folder: str) -> str | None:
    return None if path is None else os.path.join(folder, path)
