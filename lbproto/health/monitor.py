"""All probes of a configuration, in one machine.

Every backend of an upstream with a health check is a `_Patient`: it is probed at
intervals, all of them side by side, and what is believed of it changes after so many
findings in a row. A change is a line in the log and a `Report`, which whoever drives
the machine takes and passes on to those that choose backends.

The first probes begin at once. An interval is shortened at random by up to a tenth, so
that probes which began together do not stay together; it is never lengthened, so a
backend that goes down is found within interval and timeout.

Patients have one deadline each, in a heap. An entry whose time is not the patient's
any more is dropped when it comes to the top.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from lbproto.config import HealthCheck, Upstream
from lbproto.health.finding import Health
from lbproto.health.preface import own_header
from lbproto.health.probe import Probe
from lbproto.machine.effects import Close, Effect, Level, Log, Target
from lbproto.machine.env import Env
from lbproto.machine.events import Drain, Event, Lost, Wake
from lbproto.machine.values import ConnId, value

__all__ = ["BackendKey", "HealthMonitor", "Report"]

JITTER: Final = 0.1
"""How much of an interval may be left out."""

BackendKey: TypeAlias = tuple[str, str]
"""An upstream's name, and the address of one of its backends as text."""


@value
class Report:
    """What is believed of a backend has changed."""

    upstream: str
    backend: str
    """Its address, as `str(target)` writes it."""
    healthy: bool
    reason: str
    """What went wrong; empty if nothing does any more."""

    def log(self) -> Log:
        """Return the line that tells an operator."""
        fields: dict[str, object] = {"upstream": self.upstream, "backend": self.backend}
        if self.healthy:
            return Log(Level.INFO, "backend is healthy", fields)
        return Log(
            Level.WARNING, "backend is unhealthy", fields | {"reason": self.reason}
        )


@value
class _Plan:
    """How a backend is probed."""

    target: Target
    check: HealthCheck
    preface: bytes


class _Patient:
    """A backend that is probed."""

    __slots__ = ("at", "health", "idle", "key", "next", "plan", "probe")

    def __init__(self, key: BackendKey, plan: _Plan, *, healthy: bool) -> None:
        self.key = key
        self.plan = plan
        self.health = Health(healthy=healthy)
        self.probe: Probe | None = None
        self.next = -math.inf
        """When the next probe is due."""
        self.at = math.inf
        """The time of its entry in the heap that counts."""
        self.idle: ConnId | None = None

    @property
    def due(self) -> float:
        return self.next if self.probe is None else self.probe.deadline


class HealthMonitor:
    """The machine that probes backends; see `Machine`."""

    __slots__ = (
        "_count",
        "_env",
        "_heap",
        "_mint",
        "_out",
        "_owners",
        "_patients",
        "_reports",
    )

    def __init__(self, env: Env, mint: Callable[[], ConnId]) -> None:
        """`mint` makes ids of connections that its driver has not seen yet."""
        self._env = env
        self._mint = mint
        self._patients: dict[BackendKey, _Patient] = {}
        self._owners: dict[ConnId, _Patient] = {}
        self._heap: list[tuple[float, int, _Patient]] = []
        self._count = 0
        self._out: list[Effect] = []
        self._reports: list[Report] = []

    # -- who is probed -------------------------------------------------------

    def watch(
        self,
        upstreams: Iterable[Upstream],
        known: Mapping[BackendKey, bool] | None = None,
    ) -> None:
        """Probe the backends of these upstreams, and no others from now on.

        Those that stay keep their state. A new one is taken as `known` says, or else
        as healthy. What this orders comes with the next `Wake`, which is due.
        """
        wanted = _plans(upstreams)
        for key in [key for key in self._patients if key not in wanted]:
            self._leave(self._patients.pop(key))
        for key, plan in wanted.items():
            patient = self._patients.get(key)
            if patient is None:
                healthy = (known or {}).get(key, True)
                patient = self._patients[key] = _Patient(key, plan, healthy=healthy)
            elif patient.plan != plan:
                self._leave(patient)
                patient.plan = plan
                patient.next = -math.inf
            self._arm(patient)

    def states(self) -> dict[BackendKey, bool]:
        """Return what is believed: whether each backend is healthy."""
        return {key: one.health.healthy for key, one in self._patients.items()}

    def take_reports(self) -> list[Report]:
        """Return what has changed since this was called last."""
        reports, self._reports = self._reports, []
        return reports

    # -- the machine ---------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When to feed `Wake`; infinite if nothing is probed."""
        return -math.inf if self._out else self._earliest()

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Advance by one fact."""
        if isinstance(event, Wake):
            while self._earliest() <= now:
                patient = heapq.heappop(self._heap)[2]
                patient.at = math.inf
                self._due(patient, now)
        elif isinstance(event, Drain):
            for patient in self._patients.values():
                self._leave(patient)
            self._patients.clear()
        else:
            conn = event.conn
            owner = self._owners.get(conn)
            if owner is not None:
                self._tell(owner, conn, event, now)
        out, self._out = self._out, []
        return out

    def _due(self, patient: _Patient, now: float) -> None:
        if patient.probe is not None:
            self._advance(patient, patient.probe, Wake(), now)
            return
        plan, idle = patient.plan, patient.idle
        patient.idle = None
        probe = Probe(plan.target, plan.check, plan.preface, self._mint, idle)
        patient.probe = probe
        self._owners[probe.conn] = patient
        skipped = JITTER * self._env.random()
        patient.next = now + plan.check.interval * (1 - skipped)
        self._out += probe.begin(now)
        self._arm(patient)

    def _tell(self, patient: _Patient, conn: ConnId, event: Event, now: float) -> None:
        """Pass on an event of a connection."""
        if patient.probe is not None:
            self._advance(patient, patient.probe, event, now)
            return
        # Nothing was asked on an idle connection: it ends, or is of no use.
        patient.idle = None
        del self._owners[conn]
        if not isinstance(event, Lost):
            self._out.append(Close(conn))

    def _advance(
        self, patient: _Patient, probe: Probe, event: Event, now: float
    ) -> None:
        conn = probe.conn
        self._out += probe.handle(event, now)
        if probe.conn != conn:  # the first one was of no use
            del self._owners[conn]
            self._owners[probe.conn] = patient
        if probe.over:
            patient.probe = None
            patient.idle = probe.kept
            if probe.kept is None:
                del self._owners[probe.conn]
            self._conclude(patient, probe)
        self._arm(patient)

    def _conclude(self, patient: _Patient, probe: Probe) -> None:
        """Draw the conclusion from a probe that is over."""
        finding, check = probe.finding, patient.plan.check
        if finding is None or not patient.health.observe(
            finding.healthy, check.healthy_after, check.unhealthy_after
        ):
            return
        report = Report(*patient.key, finding.healthy, finding.reason)
        self._out.append(report.log())
        self._reports.append(report)

    def _leave(self, patient: _Patient) -> None:
        """Close what is open to a backend, and forget its time."""
        probe, patient.probe = patient.probe, None
        idle, patient.idle = patient.idle, None
        if probe is not None:
            del self._owners[probe.conn]
            self._out += probe.abandon()
        if idle is not None:
            del self._owners[idle]
            self._out.append(Close(idle))
        patient.at = math.inf

    def _earliest(self) -> float:
        """When the first patient's time comes."""
        while self._heap and self._heap[0][0] != self._heap[0][2].at:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def _arm(self, patient: _Patient) -> None:
        if patient.at != patient.due:
            patient.at = patient.due
            self._count += 1  # patients are not compared
            heapq.heappush(self._heap, (patient.at, self._count, patient))


def _plans(upstreams: Iterable[Upstream]) -> dict[BackendKey, _Plan]:
    """Say how each backend is probed, where any is."""
    plans = {}
    for upstream in upstreams:
        check = upstream.health_check
        if check is None:
            continue
        preface = own_header(upstream.proxy_protocol)
        for backend in upstream.backends:
            target = replace(backend.target, tls=upstream.tls)
            key = (upstream.name, str(target))
            if check.port is not None:
                target = replace(target, port=check.port)
            plans[key] = _Plan(target, check, preface)
    return plans
