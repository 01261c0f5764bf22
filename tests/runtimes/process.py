"""`lb` as its users run it: a process, a file, a log on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.children import environment
from tests.runtimes import template
from tests.runtimes.wire import PATIENCE, Message, Wire, dial

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"listening service=(\S+) address=(\S+)")
WORKER = re.compile(r"worker started worker=\d+ worker_pid=(\d+)")

Settings = dict[str, Any]


def settings(*backends: str | Settings, **keys: Any) -> Settings:
    """A file with one service, `web`; keys of the service, or `top` for the rest."""
    top: Settings = keys.pop("top", {})
    service = {
        "name": "web",
        "listen": ["127.0.0.1:0"],
        "upstream": {"backends": list(backends)},
        **keys,
    }
    return {**top, "services": [service]}


class Lb:
    """A running balancer."""

    def __init__(
        self,
        runtime: str,
        conf: Path,
        wanted: Settings,
        *args: str,
        preexec: Callable[[], None] | None = None,
        program: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; `program` takes the place of the command."""
        plain = json.loads(json.dumps(wanted))  # no object twice, so no YAML alias
        conf.write_text(yaml.safe_dump(plain), "utf-8")
        self.conf = conf
        argv = ["--runtime", runtime, "-c", str(conf), *args]
        self.process: subprocess.Popen[bytes] | template.Process
        if preexec is None:
            env = environment(**(variables or {}))
            self.process = template.start(argv, env, program)
        else:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lbproto_cli", *argv],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(),
                preexec_fn=preexec,
            )
        self.lines: list[str] = []
        self.wires: list[Wire] = []
        """Connections of the test; they are closed with the process."""
        self.may_log_errors = False
        """A traceback or an internal error in the log is what the test wants."""
        self.may_fail = False
        """The process ends as the test wants, and not well."""
        self._changed = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        services = wanted.get("services", ())
        self._listeners = sum(len(service["listen"]) for service in services)
        self._listeners += program is not None

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait_until(self, true: Callable[[], object]) -> None:
        """Wait until something holds of the log.

        Raises:
            AssertionError: it never did.
        """
        with self._changed:
            self._changed.wait_for(lambda: true() or self._over, PATIENCE)
        assert true(), self.log

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def line(self, *words: str) -> str:
        """Wait for a log line that has all these words, and return it."""

        def found() -> list[str]:
            return [line for line in self.lines if all(w in line for w in words)]

        self.wait_until(found)
        return found()[0]

    def listening(self) -> list[tuple[str, str]]:
        """Service and address of each listener, once all are there."""

        def found() -> list[tuple[str, str]]:
            return LISTENING.findall(self.log)

        self.wait_until(lambda: len(found()) >= self._listeners)
        return found()

    def address(self, index: int = 0, service: str | None = None) -> str:
        listeners = self.listening()
        return [a for name, a in listeners if service in (None, name)][index]

    def connect(self, index: int = 0, service: str | None = None) -> Wire:
        self.wires.append(dial(self.address(index, service)))
        return self.wires[-1]

    def fetch(self, target: str = "/", service: str | None = None) -> Message:
        """Ask once on a connection of its own."""
        with self.connect(service=service) as wire:
            return wire.ask(target)

    def url(self, target: str = "/") -> str:
        return f"http://{self.address()}{target}"

    # -- the process ---------------------------------------------------------

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def workers(self, count: int = 1) -> list[int]:
        """The process ids of all workers that were ever started."""

        def found() -> list[str]:
            return WORKER.findall(self.log)

        self.wait_until(lambda: len(found()) >= count)
        return list(map(int, found()))

    def wait_ready(self, count: int) -> None:
        """Wait until that many workers accept clients."""
        self.wait_until(lambda: self.log.count("worker ready") >= count)

    def peak_memory(self) -> int:
        """The most bytes that were ever resident in the newest worker."""
        status = Path(f"/proc/{self.workers()[-1]}/status").read_text("ascii")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        """How many the newest worker has."""
        return len(os.listdir(f"/proc/{self.workers()[-1]}/fd"))

    def finish(self) -> None:
        """End the process, if the test has not, and check that it was well."""
        for wire in self.wires:
            wire.close()
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        if not self.may_log_errors:
            assert "Traceback" not in self.log, self.log
            assert "internal error" not in self.log, self.log
            assert status == 0 or self.may_fail, self.log


def curl(*args: str, stdin: bytes = b"") -> bytes:
    """Run curl and return what it prints."""
    command: Sequence[str] = ("curl", "-sS", "--max-time", "60", "--noproxy", "*")
    done = subprocess.run(
        [*command, *args], input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
