"""Certificates, keys and authorities: read before anything is bound.

What a file of the configuration names must be there and be usable, or no client
could be served, so `lb` finds out at the start and `lb -t` finds out before that.
The judge is the code that will serve with them: each record is made into a context
as a runtime does it, and the contexts are kept for the runtime.

The judge stops at the first file that it cannot use. To say all that is wrong at
once, the parts of a record that failed are then tried one by one.

A certificate that has expired is no reason not to start: it can be renewed while
others are served, so it is only worth a warning. Neither is a key that is not its
owner's alone; a group may read it, since that is how keys are shared.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING, Final, TypeVar

from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto_runtimes.contexts import Contexts, TlsConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbproto.config import Config
    from lbproto_cli.load import Loaded
    from lbproto_cli.problems import Path, Problem
    from lbproto_cli.references import Finding

__all__ = ["check_files", "expired", "exposed"]

T = TypeVar("T", ServerTls, ClientTls)

OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
"""Rights to a key that its group and all the rest should not have."""


def check_files(loaded: Loaded, contexts: Contexts) -> list[Problem]:
    """Make every context that a file asks for; return what is wrong with its files."""
    config = loaded.config
    found: list[Finding] = []
    for number, service in enumerate(config.services):
        for index, listen in enumerate(service.listen):
            if listen.tls is not None:
                path = ("services", number, "listen", index, "tls")
                found += _of_listener(path, listen.tls, contexts)
    for name, upstream in config.upstreams.items():
        if upstream.tls is not None:
            found += _of_upstream(loaded.upstream(name), upstream.tls, contexts)
    return [loaded.problem(path, message) for path, message in found]


def expired(
    config: Config, contexts: Contexts, now: float
) -> Iterator[tuple[Certificate, float]]:
    """Yield the certificates for clients that have expired, and when they did.

    All times are seconds of the epoch.
    """
    chosen = [
        certificate
        for service in config.services
        for listen in service.listen
        for certificate in (listen.tls.certificates if listen.tls else ())
    ]
    for certificate in dict.fromkeys(chosen):
        end = contexts.expires(certificate)
        if end is not None and end < now:
            yield certificate, end


def exposed(config: Config) -> Iterator[tuple[str, int]]:
    """Yield the files of keys that others than their owner may use, and their modes."""
    shown = [
        certificate.key
        for service in config.services
        for listen in service.listen
        for certificate in (listen.tls.certificates if listen.tls else ())
    ]
    shown += [
        upstream.tls.certificate.key
        for upstream in config.upstreams.values()
        if upstream.tls is not None and upstream.tls.certificate is not None
    ]
    for key in dict.fromkeys(shown):
        with contextlib.suppress(OSError):  # it was there when it was read
            mode = stat.S_IMODE(os.stat(key).st_mode)
            if mode & OTHERS:
                yield key, mode


def _of_listener(path: Path, tls: ServerTls, contexts: Contexts) -> Iterator[Finding]:
    first = _error(contexts.server, tls)
    if first is None:
        return
    parts: list[Finding] = []
    for index, certificate in enumerate(tls.certificates):
        where = (*path, "certificates", index)
        alone = ServerTls(certificates=(certificate,))
        if error := _error(Contexts().server, alone):
            parts.append(_of_certificate(where, certificate, error))
    parts += _of_authorities((*path, "client_ca"), tls.client_ca)
    yield from parts or [(path, _said(first))]


def _of_upstream(path: Path, tls: ClientTls, contexts: Contexts) -> Iterator[Finding]:
    path = (*path, "tls")
    first = _error(contexts.client, tls)
    if first is None:
        if not tls.verify:  # nobody has looked at them, and they may be wanted again
            yield from _of_authorities((*path, "ca_file"), tls.ca_file)
        return
    parts: list[Finding] = []
    if tls.certificate is not None:
        where = (*path, "certificate")
        alone = ClientTls(verify=False, certificate=tls.certificate)
        if error := _error(Contexts().client, alone):
            parts.append(_of_certificate(where, tls.certificate, error))
    parts += _of_authorities((*path, "ca_file"), tls.ca_file)
    yield from parts or [(path, _said(first))]


def _of_authorities(path: Path, file: str | None) -> Iterator[Finding]:
    if file is not None:
        error = _error(Contexts().client, ClientTls(ca_file=file))
        if error is not None:
            yield path, _said(error)


def _of_certificate(
    path: Path, certificate: Certificate, error: TlsConfigError
) -> Finding:
    blamed = error.path == certificate.key != certificate.cert
    return (*path, "key" if blamed else "cert"), _said(error)


def _error(make: Callable[[T], object], tls: T) -> TlsConfigError | None:
    try:
        make(tls)
    except TlsConfigError as error:
        return error
    return None


def _said(error: TlsConfigError) -> str:
    file = error.path
    if not (file.isascii() and file.isprintable()):
        file = json.dumps(file)
    reason = error.reason.encode("ascii", "backslashreplace").decode()
    return f"cannot use {file}: {' '.join(reason.split())}"
