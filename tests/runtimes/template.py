"""A process that has read all the modules, and forks one `lb` after the other.

Most of the time that `lb` takes to start goes into imports, and these tests start it
many hundred times. A child of the template is `lb` in all that counts: a process of
its own, with its own arguments, environment, folder and streams. Tests of the command
itself (the daemon, the shell's lines) run it as anybody would.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]


class Process:
    """What a test needs of `subprocess.Popen`."""

    def __init__(self, pid: int, stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._over = threading.Event()

    def ended(self, status: int) -> None:
        self.returncode = os.waitstatus_to_exitcode(status)
        self._over.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._over.wait(timeout):
            raise subprocess.TimeoutExpired("lb", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        # It is not reaped before we know, so the number is not another's.
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Template:
    """The tests' end of it."""

    def __init__(self, env: dict[str, str]) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=env,
            )
        self._children: dict[int, Process] = {}
        self._lock = threading.Condition()
        self._started: list[int] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(
        self, argv: list[str], env: dict[str, str], program: Path | None
    ) -> Process:
        """Start `lb`, or a program in its place, with its log on a pipe."""
        read, write = os.pipe()
        told = {"argv": argv, "env": env, "cwd": os.getcwd()}
        asked = json.dumps({**told, "program": program and str(program)}).encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))
        with self._lock:
            self._sock.sendmsg([asked], [rights])
            os.close(write)
            assert self._lock.wait_for(lambda: self._started, 60.0), "no template"
            pid = self._started.pop()
            self._children[pid] = Process(pid, os.fdopen(read, "rb"))
            self._lock.notify_all()
            return self._children[pid]

    def close(self) -> None:
        """End it; it ends with its socket, too."""
        self._sock.shutdown(socket.SHUT_RDWR)
        self._process.wait(60.0)
        self._listener.join(60.0)
        self._sock.close()

    def _listen(self) -> None:
        while said := self._sock.recv(256):
            told = json.loads(said)
            with self._lock:
                if "started" in told:
                    self._started.append(told["started"])
                    self._lock.notify_all()
                    continue
                pid = told["ended"]
                self._lock.wait_for(lambda pid=pid: pid in self._children)
                self._children.pop(pid).ended(told["status"])


_templates: list[Template] = []


def start(argv: list[str], env: dict[str, str], program: Path | None = None) -> Process:
    """Start `lb`, or a program, from the template of this test process."""
    if not _templates:
        _templates.append(Template(env))
        atexit.register(_templates[0].close)
    return _templates[0].start(argv, env, program)


# -- the other end -------------------------------------------------------------


def serve(sock: socket.socket) -> None:
    """Fork what is asked for, and tell what became of it."""
    import lbproto_cli.main
    import lbproto_cli.server  # noqa: F401
    import lbproto_runtimes.aio
    import lbproto_runtimes.threads

    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401
    with contextlib.suppress(ImportError):
        import lbproto_runtimes.greenlets  # noqa: F401

    gc.freeze()  # children need not look through all that
    ends: dict[int, int] = {}
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd in ends:
                poll.unregister(fd)
                pid, status = os.waitpid(ends.pop(fd), 0)
                os.close(fd)
                _say(sock, {"ended": pid, "status": status})
                continue
            data, messages, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(4))
            if not data:
                return
            stderr = array.array("i")
            stderr.frombytes(messages[0][2][:4])
            pid = os.fork()
            if not pid:
                for end in ends:
                    os.close(end)
                sock.close()
                _be_lb(json.loads(data), stderr[0])
            os.close(stderr[0])
            end = os.pidfd_open(pid)
            ends[end] = pid
            poll.register(end, select.POLLIN)
            _say(sock, {"started": pid})


def _say(sock: socket.socket, told: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # the tests are over
        sock.send(json.dumps(told).encode())


def _be_lb(asked: dict[str, object], stderr: int) -> None:
    """Never returns."""
    status = 4
    try:
        os.dup2(stderr, 2)
        os.close(stderr)
        assert isinstance(asked["env"], dict)
        assert isinstance(asked["argv"], list)
        os.chdir(str(asked["cwd"]))
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.argv = ["lb", *asked["argv"]]
        from lbproto_cli.main import command

        if asked["program"] is None:
            command()
        sys.argv[0] = str(asked["program"])
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
