"""From the bytes of a file to a `Config`, or to everything that is wrong with it.

Three judges see every file: the reader of YAML, the schema, and the checks between
places. Each notes its problems in the document and goes on, so that one run shows
all of them; only a file that is no YAML ends at the first. What pydantic says about
the schema is said again in the words of the file: its paths name union branches and
the `address` that a short form leaves out, and its messages name Python types.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError

from lbproto.config import (
    Backend,
    Config,
    DnsSource,
    FileSource,
    Limits,
    Listen,
    Service,
    Timeouts,
    Upstream,
)
from lbproto.config.shown import shown
from lbproto.machine.errors import LbError
from lbproto_cli import schema
from lbproto_cli.affinity import sticky
from lbproto_cli.balancing import outlier_detection
from lbproto_cli.header_rules import header_rules
from lbproto_cli.health import health_check
from lbproto_cli.positions import MAX_BYTES, Document, Value, read_document
from lbproto_cli.problems import ConfigProblems, Path, Problem, nearest
from lbproto_cli.references import check_references
from lbproto_cli.retries import retry
from lbproto_cli.routes import route
from lbproto_cli.sources import SourceEntry, source
from lbproto_cli.tls import client_tls, server_tls
from lbproto_cli.words import NOT_YET

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["STDIN", "Loaded", "Unreadable", "load", "parse", "read_backends"]

STDIN: Final = "-"
"""The path that means standard input."""

_EXPECTED: Final = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "union_tag_not_found": "the name of an upstream or a mapping",
}

_LISTED: Final = TypeAdapter(schema.BackendList)

Trailers: TypeAlias = Literal["drop", "pass"]
Framing: TypeAlias = Literal["native", "h11"]
Underscores: TypeAlias = Literal["drop", "reject", "pass"]
HeaderVersion: TypeAlias = Literal["v1", "v2"]


class Unreadable(LbError):
    """The file cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that passed, with the file it came from."""

    config: Config
    document: Document

    def states(self, key: str) -> bool:
        """Tell whether the file itself has this key at its top."""
        return (key,) in self.document.values

    def upstream(self, name: str) -> Path:
        """Find an upstream by its name in the configuration."""
        if ("upstreams", name) in self.document.values:
            return ("upstreams", name)
        # A mapping in a service got a name that no other has.
        services = [service.upstream for service in self.config.services]
        return ("services", services.index(name), "upstream")

    def problem(self, path: Path, message: str) -> Problem:
        """Say what is wrong with a value after all."""
        place = self.document.place(path)
        return Problem(self.document.source, place, path, message)


def load(path: str, runtimes: Collection[str]) -> Loaded:
    """Read and check a file; `-` is standard input.

    Raises:
        Unreadable: there is no such file, or no permission.
        ConfigProblems: it is wrong.
    """
    try:
        if path == STDIN:
            return parse(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>", runtimes)
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        # Whoever changes the working directory later must not move the files.
        folder = os.path.dirname(os.path.abspath(path))
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path.
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"cannot read {path}: {reason}") from None
    return parse(data, path, runtimes, folder)


def parse(
    data: bytes, source: str, runtimes: Collection[str], folder: str = ""
) -> Loaded:
    """Check a file's content; `runtimes` are the names that may be chosen.

    Paths of certificates, keys and authorities begin at `folder`; empty: at the
    working directory.

    Raises:
        ConfigProblems: it is wrong; all that is wrong is in it.
    """
    document = read_document(data, source)
    root: Value = {} if document.root is None else document.root
    file: schema.File | None = None
    try:
        file = schema.File.model_validate(root)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            reason = detail.get("ctx", {}).get("error")
            _refuse(document, detail["type"], detail["loc"], detail["input"], reason)
    for path, message in check_references(root, runtimes):
        document.refuse(path, message)
    if file is not None:
        _check_lists(file, folder, document)
    if file is None or document.problems:
        raise ConfigProblems(_distinct(document.problems))
    return Loaded(_config(file, folder), document)


def _check_lists(file: schema.File, folder: str, document: Document) -> None:
    """Read the files that list backends, and note what is wrong with them."""
    entries: list[tuple[Path, schema.UpstreamEntry | str | None]] = [
        (("upstreams", name), entry) for name, entry in file.upstreams.items()
    ]
    for number, service in enumerate(file.services):
        entries.append((("services", number, "upstream"), service.upstream))
    for path, entry in entries:
        if not isinstance(entry, schema.UpstreamEntry):
            continue
        if isinstance(entry.backends, list):
            continue
        if entry.backends.file is None:
            continue
        try:
            read_backends(os.path.join(folder, entry.backends.file))
        except Unreadable as error:
            message = f"{error}, expected a file that lists backends"
            document.refuse((*path, "backends", "file"), message)
        except ConfigProblems as error:
            document.problems += error.problems


def _distinct(problems: Iterable[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _refuse(
    document: Document, kind: str, loc: Path, value: object, reason: object
) -> None:
    """Say one of pydantic's errors in the words of the file."""
    # An unknown key may be called that, too.
    key = loc[-1:] == ("[key]",) and kind != "extra_forbidden"
    path = _path(document.root, loc[:-1] if key else loc)
    if kind == "missing":
        document.refuse((*path, loc[-1]), "missing, expected this key")
    elif kind == "extra_forbidden":
        model = schema.model_at(path[:-1])
        known = model.model_fields if model is not None else {}
        message = f"unknown key{nearest(str(path[-1]), known)}"
        document.refuse(path, message, key=True)
    elif kind in _EXPECTED:
        document.refuse(path, f"got {shown(value)}, expected {_EXPECTED[kind]}")
    else:
        message = str(reason) if isinstance(reason, ValueError) else f"refused ({kind})"
        # What is written under a key that does not work yet begins a line later.
        document.refuse(path, message, key=key or message == NOT_YET)


def _path(root: Value, loc: Path) -> Path:
    """Take out of pydantic's path what is not in the file.

    That is the tags of unions, and `address` of an entry in its short form.
    """
    path: Path = ()
    at: Value = root
    for part in loc:
        if isinstance(part, str):
            inside = isinstance(at, dict) and part in at
        else:
            inside = isinstance(at, list) and part < len(at)
        if inside:
            at = cast("Mapping[str | int, Value]", at)[part]
            path = (*path, part)
    return path


def _config(file: schema.File, folder: str) -> Config:
    upstreams = {
        name: _upstream(name, entry, folder) for name, entry in file.upstreams.items()
    }
    names = {entry.name for entry in file.services if entry.name is not None}
    services = []
    for number, entry in enumerate(file.services, 1):
        name = entry.name or _free(f"service{number}", names, "-unnamed")
        names.add(name)
        upstream: str | None
        if entry.upstream is None or isinstance(entry.upstream, str):
            upstream = entry.upstream
        else:
            upstream = _free(name, upstreams, "-inline")
            upstreams[upstream] = _upstream(upstream, entry.upstream, folder)
        services.append(_service(name, upstream, entry, folder))
    return Config(
        services=tuple(services),
        upstreams=upstreams,
        version=file.version,
        runtime=file.runtime,
        threads=file.threads,
        daemon=file.daemon,
        user=file.user,
        group=file.group,
        pid_file=file.pid_file,
        error_log=file.error_log,
        upgrade_sock=file.upgrade_sock,
        upgrade_sock_mode=file.upgrade_sock_mode,
        upgrade_timeout=file.upgrade_timeout,
        upgrade_bake=file.upgrade_bake,
        grace_period_seconds=file.grace_period_seconds,
        graceful_shutdown_timeout_seconds=file.graceful_shutdown_timeout_seconds,
        upstream_keepalive_pool_size=file.upstream_keepalive_pool_size,
        max_retries=file.max_retries,
        buffer_budget=file.buffer_budget,
    )


def _free(name: str, taken: Collection[str], suffix: str) -> str:
    while name in taken:
        name += suffix
    return name


def _upstream(name: str, entry: schema.UpstreamEntry, folder: str) -> Upstream:
    found: FileSource | DnsSource | None = None
    if isinstance(entry.backends, SourceEntry):
        found = source(entry.backends, folder)
        listed: tuple[Backend, ...] = ()
        if isinstance(found, FileSource):
            listed = read_backends(found.path)
    else:
        listed = _backends(entry.backends)
    return Upstream(
        name=name,
        backends=listed,
        source=found,
        policy=entry.policy,
        hash_on=entry.hash_on,
        balance_factor=entry.balance_factor,
        panic_percent=entry.panic_percent,
        slow_start=entry.slow_start,
        max_queue=entry.max_queue,
        queue_timeout=entry.queue_timeout,
        outlier_detection=outlier_detection(entry.outlier_detection),
        tls=client_tls(entry.tls, folder),
        proxy_protocol=cast("HeaderVersion | None", entry.proxy_protocol),
        health_check=health_check(entry.health_check),
        retry=retry(entry.retry),
        sticky=sticky(entry.sticky),
    )


def _backends(entries: schema.BackendList) -> tuple[Backend, ...]:
    return tuple(
        Backend(
            target=it.address,
            weight=it.weight,
            backup=it.backup,
            drain=it.drain,
            max_connections=it.max_connections,
        )
        for it in entries
    )


def read_backends(path: str) -> tuple[Backend, ...]:
    """Read and check a file that lists backends, as `backends` of an upstream does.

    Raises:
        Unreadable: there is no such file, or no permission.
        ConfigProblems: it is wrong; all that is wrong is in it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"cannot read {path}: {reason}") from None
    document = read_document(data, path)
    try:
        entries = _LISTED.validate_python(document.root)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            reason = detail.get("ctx", {}).get("error")
            _refuse(document, detail["type"], detail["loc"], detail["input"], reason)
        entries = []
    if not (entries or document.problems):
        document.refuse((), "got an empty list, expected at least one backend")
    if document.problems:
        raise ConfigProblems(_distinct(document.problems))
    return _backends(entries)


def _listen(entry: schema.ListenEntry, folder: str) -> Listen:
    return Listen(
        target=entry.address,
        tls=server_tls(entry.tls, folder),
        proxy_protocol=entry.proxy_protocol,
    )


def _service(
    name: str, upstream: str | None, entry: schema.ServiceEntry, folder: str
) -> Service:
    networks = [network for network in entry.trusted_proxies if network is not None]
    return Service(
        name=name,
        upstream=upstream,
        listen=tuple(_listen(listener, folder) for listener in entry.listen),
        trusted_proxies=tuple(networks),
        trust_unix=len(networks) < len(entry.trusted_proxies),
        framing=cast("Framing", entry.framing),
        via=entry.via,
        underscores=cast("Underscores", entry.underscores),
        upgrades=tuple(entry.upgrades),
        proxy_status=entry.proxy_status,
        forwarded=entry.forwarded,
        trailers=cast("Trailers", entry.trailers),
        limits=Limits(**entry.limits.model_dump()),
        timeouts=Timeouts(**entry.timeouts.model_dump()),
        request_headers=header_rules(entry.request_headers),
        response_headers=header_rules(entry.response_headers),
        routes=tuple(route(one) for one in entry.routes),
    )
