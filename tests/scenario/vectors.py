"""The catalogue of byte streams in `data`, run against the core.

Each row is what a client sends (and what a backend answers), and what must and
must not come out at either end. `run` plays one row on the simulator in one
segmentation and returns what went wrong, in words.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h11

from lbproto.config import (
    Backend,
    Config,
    Limits,
    Match,
    Respond,
    Route,
    Service,
    Timeouts,
    Upstream,
)
from lbproto.machine.effects import Target
from lbproto.machine.events import ConnectError
from lbproto.testing.sim import Endpoint, Sim, SimBackend

Vector = dict[str, Any]
Cut = Callable[[bytes], Sequence[bytes]]
Framing = Literal["native", "h11"]

DATA = Path(__file__).parent / "data"
FILES = ("vectors.jsonl", "own_vectors.jsonl")
ADDRESS = "10.0.0.1:80"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")

LIMITS = {
    "max_body": "body_size",
    "max_chunk_ext": "chunk_extensions",
    "max_connections": "connections",
    "max_header_bytes": "header_size",
    "max_headers": "header_count",
    "max_interim": "interim_responses",
    "max_request_line": "request_line",
    "max_response_header": "response_header_size",
    "max_trailer": "trailer_size",
}
TIMEOUTS = {
    "body_timeout": "request_body",
    "header_timeout": "request_header",
    "keepalive_timeout": "keepalive",
    "connect_timeout": "connect",
    "response_timeout": "response_header",
}


def load() -> list[Vector]:
    texts = [(DATA / name).read_text("utf-8") for name in FILES]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def octets(vector: Vector, what: str) -> bytes:
    if f"{what}_bytes_b64" in vector:
        return base64.b64decode(vector[f"{what}_bytes_b64"])
    text: str = vector.get(f"{what}_text", "")
    return text.encode("latin-1")


def config(overrides: dict[str, Any], framing: Framing = "native") -> Config:
    limits, timeouts, service = {}, {}, {}
    service["framing"] = framing
    for key, value in overrides.items():
        if key in LIMITS:
            limits[LIMITS[key]] = value
        elif key in TIMEOUTS:
            timeouts[TIMEOUTS[key]] = float(value)
        elif key == "proxy_status":
            service[key] = value
        elif key == "deny_path":
            denied = Route(match=Match(path=value), respond=Respond(status=403))
            service["routes"] = (denied,)
        elif key == "allow_upgrade":
            service["upgrades"] = tuple(name.encode() for name in value)
        elif key == "via_pseudonym":
            service["via"] = value.encode()
        elif key == "trusted_proxies":
            networks = tuple(ipaddress.ip_network(net) for net in value)
            service["trusted_proxies"] = networks
        else:
            raise ValueError(f"vector with an unknown key {key}")
    web = Service(
        name="web",
        upstream="web",
        limits=Limits(**limits),
        timeouts=Timeouts(**timeouts),
        **service,
    )
    backend = Backend(target=Target("10.0.0.1", 80))
    upstream = Upstream(name="web", backends=(backend,))
    return Config(services=(web,), upstreams={"web": upstream})


class Origin:
    """A backend that answers each request, and judges it with h11."""

    def __init__(self, vector: Vector) -> None:
        # A client that resets does so while the backend is still thinking.
        self._answer = b"" if vector.get("client_then") == "reset" else ANSWER
        if "backend_text" in vector or "backend_bytes_b64" in vector:
            self._answer = octets(vector, "backend")
        self._then = vector.get("backend_then", "keep")
        self._early = vector.get("backend_reads") == "head only"
        self._parsers: dict[int, h11.Connection] = {}
        self.requests: list[h11.Request] = []
        self.bodies: list[bytes] = []
        self.complete = 0

    def __call__(self, end: Endpoint, data: bytes) -> None:
        parser = self._parsers.setdefault(end.conn, h11.Connection(h11.SERVER))
        parser.receive_data(data)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self.requests.append(event)
                self.bodies.append(b"")
                if self._early:
                    self._reply(end)
            elif isinstance(event, h11.Data):
                self.bodies[-1] += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.complete += 1
                left, _ = parser.trailing_data
                parser = self._parsers[end.conn] = h11.Connection(h11.SERVER)
                if left:
                    parser.receive_data(left)
                if not self._early:
                    self._reply(end)

    def _reply(self, end: Endpoint) -> None:
        if self._answer:
            end.send(self._answer)
        if self._then == "close":
            end.close()
        elif self._then == "reset":
            end.abort()


@dataclass
class Run:
    """One vector at work, and what went wrong with it."""

    vector: Vector
    cut: Cut
    framing: Framing = "native"
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        overrides = dict(self.vector.get("config", {}))
        self.sim = Sim(config(overrides, self.framing))
        self.origin = Origin(self.vector)
        stepped = "steps" in self.vector
        self.backend: SimBackend = self.sim.backend(
            ADDRESS, None if stepped else self.origin
        )
        self.client: Endpoint | None = None
        self.other: Endpoint | None = None

    def check(self, good: bool, problem: str) -> None:
        if not good:
            self.problems.append(problem)

    # -- plain vectors -------------------------------------------------------

    def plain(self) -> None:
        vector = self.vector
        try:
            self.client = client = self.sim.client()
        except ConnectionRefusedError:
            self.check(0 in statuses_of(vector), "not accepted")
            return
        data = octets(vector, "client")
        if "delay_ms" in vector:
            for i in range(len(data)):
                client.send(data[i : i + 1])
                self.sim.advance(vector["delay_ms"] / 1000)
        else:
            client.send(data, self.cut(data))
        if vector.get("client_then") == "half_close":
            client.half_close()
        elif vector.get("client_then") == "reset":
            client.abort()
        patience = (
            5.0 if any(key in TIMEOUTS for key in vector.get("config", {})) else 0.0
        )
        self.sim.advance(patience)
        open_now = not (client.eof or client.closed)
        self.sim.advance(3.0)
        self.judge(open_now)

    # -- scripted vectors ----------------------------------------------------

    def steps(self) -> None:
        steps = self.vector["steps"]
        for step in steps:
            if step.get("backend_refuses"):
                self.backend.mode = ConnectError.REFUSED
            if step.get("backend_connect_blackhole"):
                self.backend.mode = ConnectError.TIMEOUT
        self.client = self.sim.client()
        for step in steps:
            for name, value in step.items():
                getattr(self, f"step_{name}")(value)
        self.sim.advance(5.0 if self.vector.get("config") else 0.0)
        self.judge(not (self.client.eof or self.client.closed))

    def step_client(self, text: str) -> None:
        assert self.client is not None
        data = text.encode("latin-1")
        self.client.send(data, self.cut(data))

    def step_client2(self, text: str) -> None:
        self.other = self.sim.client()
        data = text.encode("latin-1")
        self.other.send(data, self.cut(data))

    def step_backend(self, text: str) -> None:
        self.backend.connections[-1].send(text.encode("latin-1"))

    def step_backend_sees(self, text: str) -> None:
        seen = self.backend.received
        self.check(text.encode("latin-1") in seen, f"backend does not see {text!r}")

    def step_backend_sees_head(self, _: bool) -> None:
        self.check(b"\r\n\r\n" in self.backend.received, "backend sees no head")

    def step_client_sees(self, text: str) -> None:
        assert self.client is not None
        seen = self.client.received
        self.check(text.encode("latin-1") in seen, f"client does not see {text!r}")

    def step_backend_close(self, _: bool) -> None:
        self.backend.connections[-1].close()

    def step_backend_sees_end(self, _: bool) -> None:
        self.check(self.backend.connections[-1].closed, "the connection is kept")

    def step_backend_reset_on_next_request(self, _: bool) -> None:
        self.backend.connections[-1].on_data = lambda end, data: end.abort()

    def step_new_backend_connection(self, _: bool) -> None:
        self.check(len(self.backend.connections) == 2, "no new backend connection")

    def step_wait_ms(self, milliseconds: int) -> None:
        self.sim.advance(milliseconds / 1000)

    def step_backend_refuses(self, _: bool) -> None:
        pass

    def step_backend_connect_blackhole(self, _: bool) -> None:
        pass

    # -- judgement -----------------------------------------------------------

    def judge(self, open_now: bool) -> None:
        vector, expect = self.vector, self.vector["expect"]
        assert self.client is not None
        seen, sent = self.backend.received, self.client.received
        found = [int(status) for status in STATUS.findall(sent)]
        final = [status for status in found if status >= 200 or status == 101] or [0]
        status = final[-1] if "steps" in vector else final[0]
        self.check(
            status in statuses_of(vector), f"status {status}, not {expect['status']}"
        )
        if not expect["forwarded"] and not vector.get("head_may_be_forwarded"):
            self.check(seen == b"", f"the backend got {seen[:80]!r}")
        # Content that went out in chunks is also looked at without them.
        seen += b"".join(self.origin.bodies)
        fold = (lambda b: b) if vector.get("exact_case") else bytes.lower
        for side, data in (("backend", seen), ("client", sent)):
            for text in expect.get(f"{side}_must_contain", []):
                wanted = fold(text.encode("latin-1"))
                self.check(wanted in fold(data), f"{side} lacks {text!r}")
            for text in expect.get(f"{side}_must_not_contain", []):
                wanted = fold(text.encode("latin-1"))
                self.check(wanted not in fold(data), f"{side} has {text!r}")
        if expect["connection"] == "close":
            self.check(self.client.eof or self.client.closed, "the connection is kept")
        elif expect["connection"] == "keep":
            self.check(open_now, "the connection is closed")
        if "steps" not in vector:
            self.judge_requests()

    def judge_requests(self) -> None:
        vector, expect = self.vector, self.vector["expect"]
        assert self.client is not None
        if "requests_out" in expect:
            count = len(self.origin.requests)
            self.check(count == expect["requests_out"], f"{count} requests out")
        if "body" in vector:
            body = self.origin.bodies[0] if self.origin.bodies else None
            self.check(body == vector["body"].encode(), f"body {body!r}")
        if vector.get("head_may_be_forwarded"):
            self.check(self.origin.complete == 0, "the backend saw a complete request")
        if vector.get("backend_abort") or vector.get("head_may_be_forwarded"):
            ends = self.backend.connections
            self.check(all(end.reset for end in ends), "the backend was not aborted")
        if "backend_reuse" in vector:
            idle = self.sim.gateway.balancer.stats().idle
            self.check(idle == int(vector["backend_reuse"]), f"{idle} idle connections")
        for text in vector.get("contains_b64", {}).get("backend", []):
            wanted = base64.b64decode(text)
            self.check(wanted in self.backend.received, f"backend lacks {wanted!r}")
        for key, data in (
            ("order", self.backend.received),
            ("order_client", self.client.received),
        ):
            places = [data.find(text.encode()) for text in vector.get(key, [])]
            self.check(
                places == sorted(places) and -1 not in places, f"{key}: {places}"
            )
        active = self.sim.gateway.balancer.stats().active
        self.check(active == 0 or open_request(vector), f"{active} leases are held")


def open_request(vector: Vector) -> bool:
    """The exchange is still going on when the vector ends."""
    if 101 in statuses_of(vector):
        return True
    return bool(vector.get("backend_text") == "" and vector["backend_then"] == "keep")


def statuses_of(vector: Vector) -> list[int]:
    status = vector["expect"]["status"]
    return status if isinstance(status, list) else [status]


def run(vector: Vector, cut: Cut, framing: Framing = "native") -> list[str]:
    """Play one vector in one segmentation; return what went wrong."""
    one = Run(vector, cut, framing)
    if "steps" in vector:
        one.steps()
    else:
        one.plain()
    return one.problems
