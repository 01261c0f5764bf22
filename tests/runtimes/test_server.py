"""Services that a program brings along, in every runtime."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.certificates import Authority
from tests.children import environment
from tests.runtimes.fixtures import OriginFactory
from tests.runtimes.origins import Recorder, reply
from tests.runtimes.process import ROOT, Lb, settings
from tests.runtimes.programs import BEGIN, END, ProgramFactory, program
from tests.runtimes.secured import (
    NAME,
    TlsOriginFactory,
    authority,
    client_context,
    secure,
    tls_origin,
)
from tests.runtimes.test_health_checks import ask_until, prober
from tests.runtimes.test_workers import wait_gone
from tests.runtimes.wire import PATIENCE, dial

__all__ = ["authority", "program", "tls_origin"]

PLAIN = f"""{BEGIN}
upstreams = LoadBalancer.try_from_iter(BACKENDS)
server.add_service(proxy(To(upstreams)))
{END}"""


def bodies(one: Lb, count: int, service: str | None = None) -> list[bytes]:
    return [one.fetch(service=service).body for _ in range(count)]


def ask_for(one: Lb, wanted: list[bytes], service: str | None = None) -> None:
    """Ask until these are the answers: workers hear of news a moment after the log."""
    for _ in range(1000):
        if bodies(one, len(wanted), service) == wanted:
            return
    raise AssertionError(f"never {wanted}")


def test_the_walk_through_runs_as_it_stands(
    program: ProgramFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    scripts = [Recorder(reply(b"one")), Recorder(reply(b"two"))]
    one, two = (tls_origin(authority.issue(NAME), script) for script in scripts)
    text = (ROOT / "examples" / "load_balancer.py").read_text("utf-8")
    for said, meant in (
        ("1.1.1.1:443", one.address),
        ("1.0.0.1:443", two.address),
        ("0.0.0.0:6188", "127.0.0.1:0"),
    ):
        assert said in text
        text = text.replace(said, meant)
    lb = program(text, SSL_CERT_FILE=authority.ca_file)
    assert bodies(lb, 4, "LB") == [b"one", b"two", b"one", b"two"]
    (asked, _) = scripts[0].requests
    assert asked.get("Host") == NAME.encode()
    assert set(one.names) == {NAME}
    two.close()
    line = lb.line("backend is unhealthy")
    assert f'upstream="health check" backend={two.address}' in line
    ask_for(lb, [b"one"] * 4)
    one.close()
    lb.line("backend is unhealthy", one.address)
    ask_until(lb, 503)


def test_a_program_needs_no_file_and_no_flags(
    program: ProgramFactory, origin: OriginFactory, runtime: str
) -> None:
    text = PLAIN.replace(
        "Server(Opt.parse_args())", f"Server(Opt(runtime={runtime!r}))"
    )
    lb = program(text, backends=(origin().address,))
    assert lb.fetch().status == 200
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0


def test_workers_share_one_set_of_probes(
    program: ProgramFactory, origin: OriginFactory
) -> None:
    script = Recorder()
    backend, keeper = origin(script), origin()
    text = f"""{BEGIN}
upstreams = LoadBalancer.try_from_iter(BACKENDS)
upstreams.set_health_check(HttpHealthCheck("a.example", path="/ok"))
upstreams.health_check_frequency = None
server.add_service(proxy(To(LoadBalancer.try_from_iter(BACKENDS[1:]))))
server.add_service(background_service("web", upstreams))
{END}"""
    lb = program(text, "--threads", "3", backends=(backend.address, keeper.address))
    lb.wait_ready(3)
    backend.wait_accepted(1)
    assert lb.fetch().status == 200
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert [it.start for it in script.requests] == [b"GET /ok HTTP/1.1"]


def test_a_prober_that_died_is_replaced_and_knows_what_was_known(
    program: ProgramFactory, origin: OriginFactory
) -> None:
    dead, alive = origin(reply(b"dead")), origin(reply(b"alive"))
    text = f"""{BEGIN}
upstreams = LoadBalancer.try_from_iter(BACKENDS)
upstreams.set_health_check(TcpHealthCheck())
upstreams.health_check_frequency = 0.05
checks = background_service("checks", upstreams)
server.add_service(checks)
server.add_service(proxy(To(checks.task())))
{END}"""
    lb = program(text, backends=(dead.address, alive.address))
    dead.wait_accepted(1)
    dead.close()
    lb.line("backend is unhealthy")
    os.kill(prober(lb), signal.SIGKILL)
    prober(lb, 2)
    os.kill(lb.workers()[0], signal.SIGKILL)
    lb.wait_ready(2)
    assert set(bodies(lb, 6)) == {b"alive"}
    lb.may_log_errors = True


def test_a_check_and_a_discovery_of_the_programs_own(
    program: ProgramFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    first, second = origin(reply(b"first")), origin(reply(b"second"))
    (tmp_path / "list").write_text(first.address)
    text = f"""{BEGIN}
import pathlib
folder = pathlib.Path(os.environ["FOLDER"])

class Listed:
    def discover(self):
        return (folder / "list").read_text().split()

class Marked:
    async def check(self, backend):
        if (folder / str(backend.target)).exists():
            raise OSError("it is marked")

    def health_threshold(self, success):
        return 1 if success else 2

upstreams = LoadBalancer.from_backends(Listed(), RoundRobin)
upstreams.set_health_check(Marked())
upstreams.health_check_frequency = 0.05
upstreams.update_frequency = 0.05
server.add_service(background_service("own", upstreams))
server.add_service(proxy(To(upstreams)))
{END}"""
    lb = program(text, FOLDER=str(tmp_path))
    ask_until(lb, 200)
    assert lb.fetch().body == b"first"
    new = tmp_path / "new"
    new.write_text(f"{first.address} {second.address}")
    new.replace(tmp_path / "list")
    line = lb.line("backends have changed", second.address)
    assert "upstream=own" in line
    ask_for(lb, [b"second"])
    mark = tmp_path / first.address
    mark.write_text("")
    assert 'reason="it is marked"' in lb.line("backend is unhealthy")
    ask_for(lb, [b"second"] * 4)
    mark.unlink()
    lb.line("backend is healthy")


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_background_service_runs_once_and_ends_well(
    program: ProgramFactory, origin: OriginFactory, tmp_path: Path, kind: str
) -> None:
    wait = "await shutdown.wait()" if kind == "async def" else "shutdown.wait()"
    text = f"""{BEGIN}
class Clock:
    {kind} start(self, shutdown):
        note("began")
        {wait}
        note("ended")

class Broken:
    {kind} start(self, shutdown):
        raise ValueError("no luck")

def note(word):
    with open(os.environ["NOTES"], "a") as file:
        file.write(word + "\\n")

server.add_service(background_service("clock", Clock()))
server.add_service(background_service("clock", Broken()))
server.add_service(proxy(To(LoadBalancer.try_from_iter(BACKENDS))))
{END}"""
    notes = tmp_path / "notes"
    lb = program(text, "--threads", "2", backends=(origin().address,), NOTES=str(notes))
    line = lb.line("background service failed")
    assert "service=clock-2" in line
    assert "ValueError: no luck" in line
    lb.may_log_errors = True
    assert lb.fetch().status == 200
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert notes.read_text() == "began\nended\n"


def test_listeners_of_every_kind(
    program: ProgramFactory,
    origin: OriginFactory,
    authority: Authority,
    tmp_path: Path,
) -> None:
    mine = authority.issue(NAME)
    text = f"""{BEGIN}
made = proxy(To(LoadBalancer.try_from_iter(BACKENDS)))
made.add_uds("lb.sock", 0o640)
made.add_tls("127.0.0.1:0", os.environ["CERT"], os.environ["KEY"])
made.options = replace(made.options, limits=Limits(header_count=1))
server.add_service(made)
{END}""".replace('"lb.sock"', 'os.environ["SOCK"]')
    path = tmp_path / "lb.sock"
    lb = program(
        text,
        backends=(origin().address,),
        CERT=mine.cert,
        KEY=mine.key,
        SOCK=str(path),
    )
    lb.wait_until(lambda: lb.log.count("listening service=To") == 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with lb.connect() as wire:
        assert wire.ask().status == 200
        assert wire.ask(fields="X-One: 1\r\n").status == 431
    with lb.connect(1) as wire:
        assert wire.ask().status == 200
    with secure(lb.address(2), client_context(authority)) as wire:
        assert wire.ask().status == 200


def test_two_services_of_one_class_have_two_names(
    program: ProgramFactory, origin: OriginFactory
) -> None:
    text = f"""{BEGIN}
for address in BACKENDS:
    server.add_service(proxy(To(LoadBalancer.try_from_iter([address]))))
{END}"""
    one, two = origin(reply(b"one")), origin(reply(b"two"))
    lb = program(text, backends=(one.address, two.address))
    lb.wait_until(lambda: lb.log.count("listening service=To") == 2)
    assert lb.fetch(service="To").body == b"one"
    assert lb.fetch(service="To-2").body == b"two"


def test_the_file_may_have_services_of_its_own_and_is_read_again(
    program: ProgramFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    mine, theirs, later = (origin(reply(it)) for it in (b"mine", b"file", b"later"))
    wanted = settings(theirs.address, top={"threads": 1})
    lb = program(PLAIN, backends=(mine.address,), wanted=wanted)
    lb.listening()
    assert lb.fetch(service="web").body == b"file"
    assert lb.fetch(service="To").body == b"mine"
    lb.conf.write_text(yaml.safe_dump(settings(later.address)))
    lb.signal(signal.SIGHUP)
    lb.line("generation serves", "generation=2")
    ask_for(lb, [b"later"], "web")
    assert lb.fetch(service="To").body == b"mine"
    lb.conf.write_text("services: 5")
    lb.signal(signal.SIGHUP)
    lb.line("the configuration stays as it is")
    # A file with the five keys of Pingora's alone is one, too.
    lb.conf.write_text("version: 1\nthreads: 1\n")
    lb.signal(signal.SIGHUP)
    lb.line("generation serves", "generation=3")
    assert lb.fetch(service="To").body == b"mine"


def test_a_program_hands_over_to_its_successor(
    program: ProgramFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    keys = {
        "upgrade_sock": str(tmp_path / "upgrade.sock"),
        "pid_file": str(tmp_path / "lb.pid"),
        "upgrade_timeout": "60s",
        "upgrade_bake": "60s",
    }
    backend = origin().address
    old = program(PLAIN, backends=(backend,), wanted=keys)
    address = old.address()
    old.wait_ready(1)
    fixed = PLAIN.replace("proxy(To(upstreams))", f"proxy(To(upstreams), {address!r})")
    new = program(fixed, "-u", backends=(backend,), wanted=keys)
    new.line("waiting for the process that runs")
    wire = old.connect()
    assert wire.ask().status == 200
    old.signal(signal.SIGQUIT)
    new.line("generation serves")
    old.line("the successor has taken over")
    assert wire.ask().status == 200
    assert new.fetch().status == 200


def test_a_program_goes_on_in_the_background(
    origin: OriginFactory, runtime: str, tmp_path: Path
) -> None:
    where = tmp_path / "lb.sock"
    text = PLAIN.replace(
        "proxy(To(upstreams))",
        "made := http_proxy_service(server.configuration, To(upstreams))",
    ).replace(END, f"\nmade.add_uds({str(where)!r})\n{END}")
    (tmp_path / "program.py").write_text(text, "utf-8")
    files = {"pid_file": str(tmp_path / "lb.pid"), "error_log": "lb.log"}
    (tmp_path / "conf.yaml").write_text(yaml.safe_dump(files), "utf-8")
    done = subprocess.run(
        [sys.executable, "program.py", "-d", "-c", "conf.yaml", "--runtime", runtime],
        cwd=tmp_path,
        env=environment(BACKENDS=origin().address),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    pid = int((tmp_path / "lb.pid").read_text("ascii"))
    try:
        with dial(f"unix:{where}") as wire:
            assert wire.ask().status == 200
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_gone(pid)
    assert not (tmp_path / "lb.pid").exists()


# -- what cannot be ----------------------------------------------------------------

COROUTINE = f"""{BEGIN}
class Waits(To):
    async def upstream_peer(self, session, ctx):
        return HttpPeer(self.upstreams.select(b"", 256))

    async def logging(self, session, error, ctx):
        pass

server.add_service(proxy(Waits(LoadBalancer.try_from_iter(BACKENDS))))
{END}"""


def test_coroutine_functions_need_an_event_loop(
    program: ProgramFactory, origin: OriginFactory, runtime: str
) -> None:
    lb = program(COROUTINE, backends=(origin().address,))
    if runtime in ("asyncio", "uvloop"):
        assert lb.fetch().status == 200
        return
    line = lb.line("ServiceError: Waits.upstream_peer, Waits.logging")
    cannot = "are coroutine functions, which the runtime"
    assert f"{cannot} {runtime} cannot await, expected asyncio or uvloop" in line
    lb.may_log_errors = lb.may_fail = True
    assert lb.wait() != 0


def test_a_reload_to_a_runtime_that_cannot_await_is_refused(
    program: ProgramFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    text = COROUTINE.replace(
        "Opt.parse_args()", f"Opt(conf={str(tmp_path / 'conf0.yaml')!r})"
    )
    lb = program(text, backends=(origin().address,), wanted={"runtime": "asyncio"})
    assert lb.fetch().status == 200
    lb.conf.write_text("runtime: threads\n")
    lb.signal(signal.SIGHUP)
    assert "cannot await" in lb.line("the configuration stays as it is")
    assert lb.fetch().status == 200
