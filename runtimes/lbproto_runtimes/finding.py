"""Looking for backends: in a file that is watched, and in DNS.

A file is watched by looking at its inode, size and time of change; it is read when one
of them is another, so that an editor that replaces it and one that writes into it are
seen alike. DNS is asked by dnspython, which is loaded when it is needed.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from lbproto.config import Backend, DnsSource, FileSource
from lbproto.discovery.lookout import Lookout
from lbproto.machine.effects import Log, Target
from lbproto.machine.errors import LbError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbproto.config import Upstream
    from lbproto_runtimes.logs import Logs

__all__ = ["Finder", "NotFound", "look_in_dns"]

ANSWER_PATIENCE: Final = 5.0
"""Seconds for an answer of DNS, all servers and repetitions together."""

Backends: TypeAlias = tuple[Backend, ...]
Read: TypeAlias = "Callable[[str], Backends]"


class NotFound(LbError):
    """A look for backends has failed."""


class _Eye(Protocol):
    async def look(self) -> tuple[Backends, float] | None:
        """Return what is there, and for how many seconds; None: what was there.

        Raises:
            LbError: there is nothing.
        """
        ...


class Finder:
    """Follows the sources of upstreams."""

    def __init__(
        self,
        logs: Logs,
        found: Callable[[str, Backends], object],
        read: Read | None = None,
    ) -> None:
        """`found` gets what has changed; `read` reads the file of a `FileSource`."""
        self._logs = logs
        self._found = found
        self._read = read

    async def follow(self, upstream: Upstream) -> None:
        """Look for backends until cancelled, if the upstream has a source."""
        source = upstream.source
        if source is None:
            return
        eye: _Eye
        if isinstance(source, DnsSource):
            eye = _Dns(source)
        else:
            assert self._read is not None, "there is a file to read"
            eye = _File(source, self._read)
        clock = asyncio.get_running_loop().time
        lookout = Lookout(upstream.name, upstream.backends, source.interval)
        while True:
            before = lookout.backends
            try:
                seen = await eye.look()
            except LbError as error:
                effects = lookout.failed(str(error), clock())
            else:
                if seen is None:
                    await asyncio.sleep(source.interval)
                    continue
                effects = lookout.found(seen[0], clock(), seen[1])
            for effect in effects:
                assert isinstance(effect, Log), "it does nothing else"
                self._logs.perform(effect)
            if lookout.backends is not before:
                self._found(upstream.name, lookout.backends)
            await asyncio.sleep(max(0.0, lookout.deadline - clock()))


class _File:
    """A file, and when it was read."""

    def __init__(self, source: FileSource, read: Read) -> None:
        self._path = source.path
        self._read = read
        self._seen: tuple[int, ...] | None = None

    async def look(self) -> tuple[Backends, float] | None:
        try:
            about = os.stat(self._path)
        except OSError as error:
            self._seen = None
            raise NotFound(f"{self._path}: {error.strerror}") from None
        seen = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        if seen == self._seen:
            return None
        self._seen = seen
        return self._read(self._path), math.inf


class _Dns:
    """A name, and whom to ask."""

    def __init__(self, source: DnsSource) -> None:
        self._source = source

    async def look(self) -> tuple[Backends, float]:
        return await look_in_dns(self._source)


async def look_in_dns(source: DnsSource) -> tuple[Backends, float]:
    """Ask for the backends of a name; return them, and their TTL in seconds.

    Raises:
        NotFound: there is no answer, or none that says any.
    """
    try:
        import dns.asyncresolver
        import dns.exception
    except ImportError:
        raise NotFound("DNS needs dnspython: install lbproto[dns]") from None
    server = source.server
    try:
        resolver = dns.asyncresolver.Resolver(configure=server is None)
        if server is not None:
            resolver.nameservers = [server.host]
            resolver.port = server.port
        kind = "SRV" if source.type == "srv" else "A"
        answer = await resolver.resolve(source.name, kind, lifetime=ANSWER_PATIENCE)
    except (dns.exception.DNSException, OSError) as error:
        raise NotFound(f"{source.name}: {error}") from None
    ttl = float(answer.chaining_result.minimum_ttl)
    if source.type == "a":
        assert source.port is not None, "the records have none"
        hosts = [record.address for record in answer]
        return tuple(Backend(target=Target(it, source.port)) for it in hosts), ttl
    # RFC 2782: those of the lowest priority are used while there is one.
    first = min(record.priority for record in answer)
    return tuple(
        Backend(
            target=Target(
                record.target.to_text(omit_final_dot=True).lower(),
                source.port or record.port,
            ),
            weight=max(1, record.weight),  # 0 is a little (RFC 2782)
        )
        for record in answer
        if record.priority == first
    ), ttl
