"""Where a check is played: a runtime at work, its clients and its backends.

The runtime serves in a thread of its own, on a real socket, and believes that the
`World` is its gateway. When a check is over the runtime is stopped, and everything
that must hold of any run is judged: nothing was logged as an error, each machine was
treated by the rules, every client was counted out, no descriptor is left.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol, cast

from lbproto.machine.tls import ServerTls
from lbproto_runtimes.contract import tls_peers
from lbproto_runtimes.contract.peers import Backend, Peer, Script, dial
from lbproto_runtimes.contract.probe import NAME, PATIENCE, World
from lbproto_runtimes.contract.rules import broken_rules
from lbproto_runtimes.listen import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from lbproto.machine.tls import Certificate
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.contract.probe import Probe, React
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved

__all__ = ["Serves", "Stage"]

DESCRIPTORS: Final = "/proc/self/fd"

LATE: Final = 5.0
"""Seconds that threads which have ended their work have to close descriptors."""


class Serves(Protocol):
    """What the contract needs of a `Runtime`."""

    def serve(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        ready: Callable[[Serving], None],
        contexts: Contexts | None = None,
    ) -> None:
        """Serve until told to end; see `Runtime.serve`."""
        ...


class Stage:
    """One runtime, from `serve` to the end of the `with` block."""

    def __init__(self, runtime: Serves, certificate: Certificate | None = None) -> None:
        self.world = World()
        self._runtime = runtime
        self._certificate = certificate
        self._before: dict[int, str] = {}
        self._listeners: list[Listener] = []
        self._left_listening = False
        self._serving: Serving | None = None
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._backends: list[Backend] = []
        self._clients: list[Peer] = []

    def __enter__(self) -> Stage:
        rehearse(self._runtime)
        self._before = open_descriptors()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        if error is None:
            self._judge()

    # -- for a check ---------------------------------------------------------

    def serve(self, react: React) -> None:
        """Start the runtime; machines answer as `react` says."""
        self.world.react = react
        self._listeners = bind(self.world.config)
        self._thread.start()
        assert self._up.wait(PATIENCE), "the runtime never was ready"
        self._raise_failure()

    @property
    def serving(self) -> Serving:
        """The server, as the runtime has given it to `ready`."""
        assert self._serving is not None, "the runtime never was ready"
        return self._serving

    @property
    def key(self) -> str:
        """The name of the listener."""
        return self._listeners[0].key

    def hold(self, *keys: str) -> None:
        """Have listeners held, and wait for the answer."""
        held = threading.Event()
        self.serving.hold(keys, held.set)
        assert held.wait(PATIENCE), "`held` was never called"

    def collect(self, most: int, *keys: str) -> tuple[list[Moved], int]:
        """Have idle clients given up; return them and how many are left."""
        answers: list[tuple[list[Moved], int]] = []
        answered = threading.Event()

        def found(moved: Sequence[Moved], left: int) -> None:
            answers.append((list(moved), left))
            answered.set()

        self.serving.collect(keys, most, found)
        assert answered.wait(PATIENCE), "`found` was never called"
        self.hold()  # whoever answers twice has done so by then
        assert len(answers) == 1, f"`found` was called {len(answers)} times"
        return answers[0]

    def dial(self) -> Peer:
        """Connect to the runtime as a client."""
        self._clients.append(dial(self._listeners[0].target))
        return self._clients[-1]

    def dial_tls(self, name: str | None = None) -> Peer:
        """Connect, and speak TLS at once, asking for this name."""
        return tls_peers.secured(self.dial(), name)

    def probe(self, client: Peer) -> Probe:
        """Wait for the machine of a client, and return it."""
        return self.world.probe_of(client.port)

    def backend(self, script: Script, path: str = "") -> Backend:
        """Start a backend."""
        self._backends.append(Backend(script, path))
        return self._backends[-1]

    def tls_backend(self, script: Script) -> Backend:
        """Start a backend that speaks TLS, and that nobody has reason to trust."""
        return self.backend(tls_peers.speaks_tls(self.certificate, script))

    @property
    def address(self) -> str:
        """Where the runtime listens."""
        return str(self._listeners[0].target)

    @property
    def certificate(self) -> Certificate:
        """What servers show; only checks that ask for one may use it."""
        assert self._certificate is not None, "the check does not say it needs one"
        return self._certificate

    @property
    def server_tls(self) -> ServerTls:
        """How a machine has its client secured."""
        return ServerTls(certificates=(self.certificate,))

    # -- the runtime ---------------------------------------------------------

    def _serve(self) -> None:
        gateway, logs = cast("Gateway", self.world), cast("Logs", self.world)
        try:
            self._runtime.serve(gateway, self._listeners, logs, self._ready)
        except BaseException as error:
            self._failure = error
        finally:
            self._up.set()

    def _ready(self, serving: Serving) -> None:
        self._serving = serving
        self._up.set()

    def _end(self) -> None:
        try:
            if self._serving is not None:
                self._serving.stop()
            if self._thread.ident is not None:
                self._thread.join(PATIENCE)
                assert not self._thread.is_alive(), "told to stop, it goes on"
        finally:
            self._left_listening = closed(self._listeners) > 0
            for client in self._clients:
                client.close()
            for backend in self._backends:
                backend.close()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- the end -------------------------------------------------------------

    def broken(self) -> list[str]:
        """Return what was done to machines that may not be."""
        return [
            f"{probe}: {rule}"
            for probe in [self.world.housekeeping, *self.world.probes]
            for rule in broken_rules(probe)
        ]

    def _judge(self) -> None:
        self._raise_failure()
        world = self.world
        assert not self.broken(), "machines were not treated well"
        assert not world.errors, "\n".join(world.errors)
        clients = world.sites[NAME].clients
        assert clients == 0, f"{clients} clients were never counted out"
        for backend in self._backends:
            for error in backend.errors:
                raise error
        assert not self._left_listening, "its listening socket is still open"
        leaked = leaked_descriptors(self._before)
        assert not leaked, f"left open: {leaked}"


def rehearse(runtime: Serves) -> None:
    """Let a runtime serve once, for nobody.

    What it opens for the whole process at first use is there afterwards.
    """
    stopped: list[BaseException | None] = []

    def serve() -> None:
        world = World()
        gateway, logs = cast("Gateway", world), cast("Logs", world)
        listeners = bind(world.config)
        try:
            runtime.serve(gateway, listeners, logs, lambda it: it.stop())
        except BaseException as error:
            stopped.append(error)
        else:
            stopped.append(None)
        finally:
            closed(listeners)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert stopped, "told to stop by `ready`, it goes on"
    if stopped[0] is not None:
        raise stopped[0]


def closed(listeners: Sequence[Listener]) -> int:
    """Close listening sockets; return how many were open."""
    left = [it.socket for it in listeners if it.socket.fileno() >= 0]
    for sock in left:
        sock.close()
    return len(left)


def open_descriptors() -> dict[int, str]:
    """Return this process's descriptors and what they are; nothing without /proc."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(DESCRIPTORS):
            with contextlib.suppress(OSError):  # the listing's own
                found[int(name)] = os.readlink(f"{DESCRIPTORS}/{name}")
    return found


def leaked_descriptors(before: dict[int, str]) -> dict[int, str]:
    """Return those that are new and stay, once threads have had time to end."""
    until = time.monotonic() + LATE
    while True:
        left = dict(open_descriptors().items() - before.items())
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.01)
