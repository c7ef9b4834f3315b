"""Metrics: what the target counts by itself, for a harness's books to be compared with.

Counting is an increment of a plain integer; the Prometheus families are made when somebody asks. Nothing
grows with the number of messages. A *message* is a data message, never a control frame; its *bytes* are its
payload, without frame headers. Sent means handed to the kernel or its buffer.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from target.faults import Faults


@dataclass(slots=True)
class Traffic:
    """Counters of one system's sockets."""

    open_sockets: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    sessions_open: int = 0
    handshakes: Counter[str] = field(default_factory=Counter)
    closes: Counter[tuple[int, str]] = field(default_factory=Counter)

    def ended(self, closure: tuple[int, str]) -> None:
        """A socket has ended, by this code and initiator."""
        self.open_sockets -= 1
        self.closes[closure] += 1


COUNTERS = {
    "messages_received": "Data messages received",
    "messages_sent": "Data messages sent",
    "bytes_received": "Payload bytes of data messages received",
    "bytes_sent": "Payload bytes of data messages sent",
}
GAUGES = {
    "open_sockets": "Sockets that are open now",
    "sessions_open": "Sessions (dialogues, calls, tasks) that were created and not yet deleted",
}


class Metrics(Collector):
    """All counters of the process, by system; ``text()`` is what ``GET /metrics`` answers.

    ``result`` of a handshake: ``accepted``, ``rejected-<status>``, ``bad-request``, ``reset``, ``eof``, or
    ``abandoned`` (the client left first). ``initiator`` of a close: ``client`` or ``server``, whichever
    sent the first close frame, or ``network``, where none was sent; ``code`` is that of the first close
    frame, 1005 where it had none, 1006 for ``network``.
    """

    def __init__(self, faults: Faults, systems: Iterable[str]) -> None:
        self._faults = faults
        self._traffic = {system: Traffic() for system in systems}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def of(self, system: str) -> Traffic:
        """The counters of a system; ``none`` is for paths that belong to no system."""
        return self._traffic.setdefault(system, Traffic())

    def messages_received(self) -> int:
        """Data messages received by all systems."""
        return sum(traffic.messages_received for traffic in self._traffic.values())

    def text(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        for name, doc in COUNTERS.items():
            family = CounterMetricFamily(f"wsoak_target_{name}", doc, labels=["system"])
            for system, traffic in self._traffic.items():
                family.add_metric([system], getattr(traffic, name))
            yield family
        for name, doc in GAUGES.items():
            gauge = GaugeMetricFamily(f"wsoak_target_{name}", doc, labels=["system"])
            for system, traffic in self._traffic.items():
                gauge.add_metric([system], getattr(traffic, name))
            yield gauge
        handshakes = CounterMetricFamily(
            "wsoak_target_handshakes", "Opening handshakes by how they ended", labels=["system", "result"]
        )
        closes = CounterMetricFamily(
            "wsoak_target_closes", "Sockets that ended, by close code", labels=["system", "code", "initiator"]
        )
        for system, traffic in self._traffic.items():
            for result, count in traffic.handshakes.items():
                handshakes.add_metric([system, result], count)
            for (code, initiator), count in traffic.closes.items():
                closes.add_metric([system, str(code), initiator], count)
        yield handshakes
        yield closes
        hits = CounterMetricFamily(
            "wsoak_target_fault_hits", "Occasions that a fault has hit", labels=["system", "fault"]
        )
        for (system, fault), count in self._faults.hits().items():
            hits.add_metric([system, fault], count)
        yield hits
