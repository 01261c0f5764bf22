"""Stopping, and what else a process is told by signals and leaves behind."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, Origin, answers
from tests.runtimes.process import Lb, settings
from tests.runtimes.wire import PATIENCE, Wire, dial


class Held:
    """A backend that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, wire: Wire) -> None:
        wire.request()
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        wire.send(OK)
        answers(OK)(wire)


def refuses(address: str) -> bool:
    try:
        dial(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it was in the queue of a socket that was being closed
    return False


def in_flight(
    lb: LbFactory, origin: OriginFactory, **keys: object
) -> tuple[Lb, Held, Wire]:
    """A balancer with a request that waits for its backend."""
    held = Held()
    one = lb(origin(held), **keys)
    client = one.connect()
    client.get()
    assert held.asked.wait(PATIENCE)
    return one, held, client


def test_sigterm_finishes_what_is_in_flight(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one, held, client = in_flight(lb, origin)
    address = one.address()
    one.signal(signal.SIGTERM)
    wait_for(lambda: refuses(address), one)
    held.go_on.set()
    assert client.response().body == b"OK"
    assert client.ended()
    assert one.wait() == 0


def test_sigterm_waits_for_content_in_both_directions(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        head = wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        wire.send(wire.exactly(int(head.get("Content-Length") or b"")))

    one = lb(origin(script))
    with one.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        assert client.head().status == 200
        one.signal(signal.SIGTERM)
        one.line("stopping gracefully")
        client.send(b"world")
        assert client.exactly(10) == b"helloworld"
    assert one.wait() == 0


def test_sigterm_closes_idle_clients(lb: LbFactory, origin: OriginFactory) -> None:
    one = lb(origin())
    idle = one.connect()
    assert idle.ask().body == b"OK"
    one.signal(signal.SIGTERM)
    assert idle.ended()
    assert one.wait() == 0


def test_clients_in_the_kernels_queue_are_served_before_the_end(
    lb: LbFactory, origin: OriginFactory
) -> None:
    held = Held()
    one = lb(origin(held), limits={"connections": 1})
    client = one.connect()
    client.get()
    assert held.asked.wait(PATIENCE)
    waiting = one.connect()  # past the limit, so in the kernel's queue
    waiting.get()
    one.signal(signal.SIGTERM)
    one.line("stopping gracefully")
    held.go_on.set()
    assert client.response().body == b"OK"
    assert waiting.response().body == b"OK"
    assert one.wait() == 0


def test_idle_clients_may_speak_during_the_grace_period(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), top={"grace_period_seconds": 60})
    with one.connect() as client:
        assert client.ask().get("Connection") is None
        one.signal(signal.SIGTERM)
        one.line("stopping gracefully")
        # The worker hears of it a moment later.
        assert any(client.ask().get("Connection") == b"close" for _ in range(1000))
        assert client.ended()
    assert one.wait() == 0


def test_the_grace_period_ends(lb: LbFactory, origin: OriginFactory) -> None:
    one = lb(origin(), top={"grace_period_seconds": 0.3})
    idle = one.connect()
    assert idle.ask().body == b"OK"
    one.signal(signal.SIGTERM)
    assert idle.ended()
    assert one.wait() == 0


def test_what_does_not_end_in_time_is_cut(lb: LbFactory, origin: OriginFactory) -> None:
    top = {"graceful_shutdown_timeout_seconds": 0.3}
    one, held, client = in_flight(lb, origin, top=top)
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert client.rest() == b""
    held.go_on.set()


def test_a_second_sigterm_is_fast(lb: LbFactory, origin: OriginFactory) -> None:
    one, held, client = in_flight(lb, origin)
    one.signal(signal.SIGTERM)
    one.line("stopping gracefully")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert client.rest() == b""
    held.go_on.set()


def test_sigint_is_fast(lb: LbFactory, origin: OriginFactory) -> None:
    one, held, client = in_flight(lb, origin)
    one.signal(signal.SIGINT)
    assert one.wait() == 0
    assert client.rest() == b""
    held.go_on.set()


def test_an_upgrade_without_a_meeting_place_does_no_harm(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin())
    with one.connect() as client:
        assert client.ask().body == b"OK"
        one.signal(signal.SIGQUIT)
        one.line("error", "no upgrade without upgrade_sock")
        assert client.ask().body == b"OK"
    assert one.fetch().body == b"OK"


def test_sigusr1_reopens_the_log(
    lb: LbFactory, origin: OriginFactory, runtime: str, tmp_path: Path
) -> None:
    log, moved = tmp_path / "error.log", tmp_path / "error.log.1"
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{sock.getsockname()[1]}"
        listen = f"unix:{tmp_path}/lb.sock"
        one = lb(origin(), listen=[listen], top={"error_log": str(log)})
        wait_for(lambda: "listening" in text(log), one)
        with dial(listen) as client:
            assert client.ask().body == b"OK"
            log.rename(moved)
            one.signal(signal.SIGUSR1)
            wait_for(log.exists, one)
            assert client.ask().body == b"OK"
        one.signal(signal.SIGTERM)
        assert one.wait() == 0
    assert "stopping gracefully" in text(log)
    assert "stopping gracefully" not in text(moved)
    assert dead not in text(log)


def text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def wait_for(true: Callable[[], object], one: Lb) -> None:
    """Look from outside until something holds, or the process ends."""
    tick = threading.Event()
    for _ in range(1000):
        if true():
            return
        assert one.process.poll() is None, one.log
        tick.wait(0.01)
    raise AssertionError("it never came")


def test_the_pid_file_names_the_process_and_goes_with_it(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    pid_file = tmp_path / "lb.pid"
    one = lb(origin(), top={"pid_file": str(pid_file)})
    assert one.fetch().body == b"OK"
    assert int(pid_file.read_text("ascii")) == one.process.pid
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert not pid_file.exists()


def test_the_unix_sockets_file_goes_with_the_process(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    path = tmp_path / "lb.sock"
    one = lb(origin(), listen=[f"unix:{path}"])
    assert one.fetch().body == b"OK"
    assert path.is_socket()
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert not path.exists()


def test_a_port_in_use_is_exit_3_and_named(runtime: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        wanted = settings("127.0.0.1:9", listen=[address])
        one = Lb(runtime, tmp_path / "conf.yaml", wanted)
        assert one.wait() == 3
    assert address in one.log
    assert "address already in use" in one.log
    assert "Traceback" not in one.log


def test_a_tunnel_ends_with_the_time_for_a_graceful_stop(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        wire.head()
        wire.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n"
        )
        wire.rest()

    backend: Origin = origin(script)
    one = lb(backend, top={"graceful_shutdown_timeout_seconds": 0.3})
    with one.connect() as client:
        client.get(fields="Connection: upgrade\r\nUpgrade: websocket\r\n")
        assert client.response().status == 101
        one.signal(signal.SIGTERM)
        assert client.rest() == b""
    assert one.wait() == 0
