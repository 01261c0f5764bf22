"""What two places of the file have to agree on.

Names that are used must exist, names and addresses must not be used twice. These
checks read the tree, not the checked models, so that they report beside whatever
else is wrong; a value of the wrong type is not their affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from lbproto.config import Template
from lbproto.config.addresses import backend_target, listen_target
from lbproto.config.shown import shown
from lbproto_cli.problems import Path, nearest, path_text
from lbproto_cli.route_references import check_route, upstreams_of
from lbproto_cli.sources import check_source
from lbproto_cli.words import field_value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from lbproto.machine.effects import Target
    from lbproto_cli.positions import Value

__all__ = ["Finding", "check_references"]

MOST_WEIGHT: Final = 10_000
"""Of all backends together on a ring of ketama."""

Finding: TypeAlias = tuple[Path, str]


def check_references(root: Value, runtimes: Collection[str]) -> Iterator[Finding]:
    """Yield what does not fit together; `runtimes` are the names that work."""
    if not isinstance(root, dict):
        return
    yield from _runtime(root.get("runtime"), runtimes)
    if root.get("services") == []:
        yield ("services",), "got an empty list, expected at least one service"
    services = list(_mappings(root.get("services")))
    yield from _names(services)
    yield from _listeners(services)
    upstreams = root.get("upstreams")
    for index, service in services:
        path = ("services", index, "upstream")
        if service.get("upstream") is None and not service.get("routes"):
            yield path, "missing, expected this key"
        yield from _upstream(path, service.get("upstream"), upstreams)
        yield from _backends(path, service.get("upstream"))
        yield from _sticky(path, service.get("upstream"))
        yield from _balancing(path, service.get("upstream"))
        yield from _health_check(path, service.get("upstream"))
        yield from _rules(("services", index), service)
        for number, route in _mappings(service.get("routes")):
            at = ("services", index, "routes", number)
            for place, name in upstreams_of(at, route):
                yield from _upstream(place, name, upstreams)
            yield from check_route(at, route)
            yield from _rules(at, route)
    if isinstance(upstreams, dict):
        for name, upstream in upstreams.items():
            yield from _backends(("upstreams", name), upstream)
            yield from _sticky(("upstreams", name), upstream)
            yield from _balancing(("upstreams", name), upstream)
            yield from _health_check(("upstreams", name), upstream)


def _mappings(values: Value) -> Iterator[tuple[int, dict[str, Value]]]:
    if isinstance(values, list):
        for index, value in enumerate(values):
            if isinstance(value, dict):
                yield index, value


def _runtime(value: Value, runtimes: Collection[str]) -> Iterator[Finding]:
    if isinstance(value, str) and value and value not in runtimes:
        expected = f"expected one of {', '.join(runtimes)}"
        yield (
            ("runtime",),
            f"got {shown(value)}, {expected}{nearest(value, runtimes)}",
        )


def _names(services: list[tuple[int, dict[str, Value]]]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, service in services:
        name = service.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            message = f"{shown(name)} is the name of services[{seen[name]}] already"
            yield ("services", index, "name"), f"{message}, expected another"
        seen.setdefault(name, index)


def _listeners(services: list[tuple[int, dict[str, Value]]]) -> Iterator[Finding]:
    places: dict[str, list[Path]] = {}
    for index, service in services:
        listen = service.get("listen")
        if listen == []:
            message = "got an empty list, expected at least one address"
            yield ("services", index, "listen"), message
        for number, entry in enumerate(listen if isinstance(listen, list) else []):
            path: Path = ("services", index, "listen", number)
            yield from _listener_tls((*path, "tls"), entry)
            target = _read(listen_target, entry)
            # Each port 0 is another port.
            if target is not None and (target.path or target.port):
                places.setdefault(str(target), []).append(path)
    for address, paths in places.items():
        for number, path in enumerate(paths if len(paths) > 1 else []):
            other = path_text(paths[0 if number else 1])
            message = f"{address} is also the address of {other}, expected another"
            yield path, message


def _listener_tls(path: Path, entry: Value) -> Iterator[Finding]:
    tls = entry.get("tls") if isinstance(entry, dict) else None
    if not isinstance(tls, dict):
        return
    if tls.get("certificates") == []:
        message = "got an empty list, expected at least one certificate"
        yield (*path, "certificates"), message
    auth, authority = tls.get("client_auth", "none"), tls.get("client_ca")
    if auth in ("optional", "require") and authority is None:
        message = (
            f"got {shown(auth)}, expected client_ca beside it, a file of authorities"
        )
        yield (*path, "client_auth"), message
    if auth == "none" and authority is not None:
        message = "nobody is asked for a certificate, expected client_auth: optional"
        yield (*path, "client_ca"), f"{message} or require beside it"


def _read(reader: Callable[[object], Target], entry: Value) -> Target | None:
    address = entry.get("address") if isinstance(entry, dict) else entry
    try:
        return reader(address)
    except ValueError:
        return None


def _upstream(path: Path, name: Value, upstreams: Value) -> Iterator[Finding]:
    if not isinstance(name, str) or not isinstance(upstreams, dict | None):
        return
    if name not in (upstreams or {}):
        hint = nearest(name, upstreams or {})
        message = f"got {shown(name)}, expected the name of one of upstreams"
        yield path, message + (hint or ", and there is none")


def _backends(path: Path, upstream: Value) -> Iterator[Finding]:
    if not isinstance(upstream, dict):
        return
    path, backends = (*path, "backends"), upstream.get("backends")
    if backends == []:
        yield path, "got an empty list, expected at least one backend"
    yield from check_source(path, backends)
    if not isinstance(backends, list) or not _verifies(upstream.get("tls")):
        return
    for index, entry in enumerate(backends):
        target = _read(backend_target, entry)
        if target is not None and target.path:
            # Whatever certificate it shows, there is nothing to compare with.
            message = "no name to find in its certificate, expected sni in tls"
            yield (*path, index), f"{message}, or verify: false there"


def _sticky(path: Path, upstream: Value) -> Iterator[Finding]:
    sticky = upstream.get("sticky") if isinstance(upstream, dict) else None
    if not isinstance(sticky, dict):
        return
    if sticky.get("same_site") == "none" and sticky.get("secure") is False:
        message = "browsers take such a cookie only if it is secure, expected secure"
        yield (*path, "sticky", "same_site"), f"{message}: true beside it"


def _balancing(path: Path, upstream: Value) -> Iterator[Finding]:
    """What a policy cannot do, or not with this much weight."""
    if not isinstance(upstream, dict):
        return
    policy = upstream.get("policy", "round_robin")
    if policy not in ("ketama", "maglev") and upstream.get("balance_factor"):
        message = f"no bound on loads with {shown(policy)}, expected it with ketama"
        yield (*path, "balance_factor"), f"{message} or maglev"
    backends = upstream.get("backends")
    if policy != "ketama" or not isinstance(backends, list):
        return
    # 160 points of the ring for each, and 50 bytes for each point: 80 MB.
    weights = [it.get("weight", 1) if isinstance(it, dict) else 1 for it in backends]
    total = sum(weight for weight in weights if type(weight) is int)
    if total > MOST_WEIGHT:
        message = f"weights of {total} in all, expected at most {MOST_WEIGHT}"
        yield (*path, "backends"), f"{message} with ketama"


def _health_check(path: Path, upstream: Value) -> Iterator[Finding]:
    check = upstream.get("health_check") if isinstance(upstream, dict) else None
    if not isinstance(check, dict) or not isinstance(upstream, dict):
        return
    path = (*path, "health_check")
    if check.get("expect_status") == []:
        yield (*path, "expect_status"), "got an empty list, expected at least one"
    if check.get("method") == "HEAD" and check.get("expect_body") is not None:
        message = "no content comes with HEAD (RFC 9110 9.3.2), expected another method"
        yield (*path, "expect_body"), message
    backends = upstream.get("backends")
    if check.get("port") is None or not isinstance(backends, list):
        return
    targets = [_read(backend_target, entry) for entry in backends]
    if any(target is not None and target.path for target in targets):
        message = "a backend at unix: has no port, expected null"
        yield (*path, "port"), message


def _verifies(tls: Value) -> bool:
    """Tell whether the certificate of a backend is checked against its address."""
    if isinstance(tls, dict):
        return tls.get("verify", True) is True and tls.get("sni") is None
    return tls is True


def _rules(path: Path, owner: dict[str, Value]) -> Iterator[Finding]:
    """Header names differ in case only: which of the two values counts?"""
    for side in ("request_headers", "response_headers"):
        rules = owner.get(side)
        edits = rules.get("set") if isinstance(rules, dict) else None
        seen: dict[str, str] = {}
        for name, value in (edits if isinstance(edits, dict) else {}).items():
            first = seen.setdefault(name.lower(), name)
            if first != name:
                message = f"the same field as {shown(first)}, expected it once"
                yield (*path, side, "set", name), message
            if side == "request_headers" and name.lower() == "host":
                yield from _host((*path, side, "set", name), value)


def _host(path: Path, value: Value) -> Iterator[Finding]:
    """Host is never empty (RFC 9110 7.2), and a variable may be."""
    try:
        varies = isinstance(field_value(value), Template)
    except ValueError:
        return
    if varies:
        message = f"got {shown(value)}, expected a host without variables"
        yield path, f"{message} (Host is the client's own unless it is set)"
