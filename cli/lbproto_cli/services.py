"""What a program adds to a server: proxies of its own, and what runs beside them.

    proxy = http_proxy_service(server.configuration, application)
    proxy.add_tcp("0.0.0.0:6188")

The names and the steps are Pingora's. Everything is only written down here; addresses
are bound when the server runs.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lbproto.config import Listen, Service
from lbproto.config.addresses import listen_target
from lbproto.machine.tls import Certificate, ServerTls
from lbproto.selection.addresses import AddressError
from lbproto.selection.load_balancer import LoadBalancer

if TYPE_CHECKING:
    from lbproto.config import Config
    from lbproto.machine.effects import Target
    from lbproto.phases.http import ProxyHttp

__all__ = [
    "BackgroundService",
    "HttpProxyService",
    "background_service",
    "http_proxy_service",
]

T = TypeVar("T")

MOST_RIGHTS = 0o777


class HttpProxyService:
    """A proxy whose exchanges an application conducts."""

    def __init__(self, application: ProxyHttp[Any], options: Service) -> None:
        self.application = application
        self.options = options
        """Limits, timeouts and all else that a service of a file may say:

        proxy.options = replace(proxy.options, timeouts=Timeouts(keepalive=5.0))
        """

    @property
    def name(self) -> str:
        """Its name in the log; the server makes it one that no other has."""
        return self.options.name

    def add_tcp(self, address: str) -> None:
        """Listen on `host:port` or `[v6]:port`.

        Raises:
            AddressError: it is none of this machine.
        """
        self._add(Listen(target=_target(address)))

    def add_uds(self, path: str, mode: int | None = None) -> None:
        """Listen on a Unix-domain socket, whose file gets the rights of `mode`.

        Raises:
            AddressError: it cannot be such a path, or such rights.
        """
        if mode is not None and not 0 <= mode <= MOST_RIGHTS:
            raise AddressError(f"got the mode {mode:#o}, expected 0o0-0o777")
        whole = os.path.abspath(path.removeprefix("unix:"))
        self._add(Listen(target=_target(f"unix:{whole}"), mode=mode))

    def add_tls(self, address: str, cert: str, key: str) -> None:
        """Listen on an address, and speak TLS there with a certificate and its key.

        `cert` and `key` are PEM files; they are read when the server runs.

        Raises:
            AddressError: it is none of this machine.
        """
        one = Certificate(cert=os.path.abspath(cert), key=os.path.abspath(key))
        tls = ServerTls(certificates=(one,))
        self._add(Listen(target=_target(address), tls=tls))

    def _add(self, listen: Listen) -> None:
        self.options = replace(self.options, listen=(*self.options.listen, listen))


def http_proxy_service(
    configuration: Config, application: ProxyHttp[Any], name: str = ""
) -> HttpProxyService:
    """Make a service of an application, for the server of this configuration.

    Without a name it has that of the application's class.
    """
    return HttpProxyService(
        application, Service(name=name or type(application).__name__)
    )


class BackgroundService(Generic[T]):
    """Something that runs beside the workers, in one process for all of them."""

    def __init__(self, name: str, task: T) -> None:
        self.name = name
        self._task = task

    def task(self) -> T:
        """Return what it runs, for others to use."""
        return self._task


def background_service(name: str, task: T) -> BackgroundService[T]:
    """Look after a load balancer, or run an object that has a method `start`.

    `start(shutdown)` may be a plain function, which gets a thread and a
    `threading.Event`, or a coroutine function, which gets an `asyncio.Event`. It is to
    return when that is set; seconds later the process ends.

    Raises:
        TypeError: the object is neither.
    """
    if not isinstance(task, LoadBalancer) and not callable(
        getattr(task, "start", None)
    ):
        message = "is no LoadBalancer and has no method start"
        raise TypeError(f"{type(task).__name__} {message}")
    return BackgroundService(name, task)


def _target(address: str) -> Target:
    try:
        return listen_target(address)
    except ValueError as error:
        raise AddressError(str(error)) from None
