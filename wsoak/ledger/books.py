"""Books: all deltas of a run added up. Rules, summaries and reports read them.

Their size is bounded by names, by kinds of end, and (with ``horizon_s``) by the last minutes, never by
messages or connections, so a running master can keep them for hours. Books of parts of a run add up to the
books of the whole, in any order.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from wsoak.ledger.delta import Delta
from wsoak.ledger.gateways import gateway_answer
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import CANCELLED, OPEN, TIMEOUT_UPGRADE, rejected_status
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation, UserError
from wsoak.ledger.sample import EndSample
from wsoak.ledger.timeline import ZERO, CounterRow, plus, value

SAMPLES: Final = 3
"""How many different texts of each sort a group keeps as evidence."""

ADDRESSES: Final = 256
"""The sockets of so many different IP addresses are counted apart."""

ACTIVE_WITHIN_S: Final = 0.1
"""A socket whose last message came less than this before its end was being written to by its server."""


class EndKind(NamedTuple):
    """What connections that ended in the same way have in common."""

    name: str
    outcome: str
    phase: str
    code: int | None
    sent_code: int | None
    received_code: int | None
    initiator: str | None
    clean: bool | None
    detail: str
    replied: bool
    """Whether any message came."""
    usable: bool | None
    denied: bool
    """Whether the server sent an error message before the close."""
    reconnect: bool
    """Whether it was a later attempt of its user."""
    ended_by_run: bool
    ended_by_user: bool
    """Whether ``ended_by_run`` was the end of its user alone."""
    state: str
    gateway: str
    """What the answer of a gateway's own says (see ``gateways``); empty for any other answer."""
    no_backend: bool
    """Whether that gateway could reach no server behind it."""


class Reconnects(NamedTuple):
    """Reconnects that began in one second: all of them, and of those the ones after a failed attempt."""

    attempts: int = 0
    repeated: int = 0


class Samples:
    """Up to ``SAMPLES`` different texts; the smallest are kept, so that merging order does not matter."""

    __slots__ = ("texts",)

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts: list[str] = sorted({text for text in texts if text})[:SAMPLES]

    def add(self, texts: Iterable[str]) -> None:
        """Keep these too, as far as there is room."""
        for text in texts:
            self.add_text(text)

    def add_text(self, text: str) -> None:
        """Keep this one too, if there is room and it is not empty."""
        if text and text not in self.texts:
            insort(self.texts, text)
            del self.texts[SAMPLES:]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Samples) and self.texts == other.texts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Samples({self.texts!r})"


@dataclass(slots=True)
class Crowd:
    """Sockets that opened while about as many handshakes as each other's were under way.

    ``least`` and ``most`` are those numbers, ``ConnectionRecord.opening``.
    """

    count: int = 0
    upgrade_sum_us: int = 0
    least: int = 2**63
    most: int = 0

    def add_one(self, upgrade_ms: float, opening: int) -> None:
        """Count one socket."""
        self.count += 1
        self.upgrade_sum_us += round(upgrade_ms * 1000)
        if opening < self.least:
            self.least = opening
        if opening > self.most:
            self.most = opening

    def add(self, other: Crowd) -> None:
        """Count the other's sockets too."""
        self.count += other.count
        self.upgrade_sum_us += other.upgrade_sum_us
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)


@dataclass(slots=True)
class EndGroup:
    """The connections of one ``EndKind``: how many, when, how old, and their texts.

    ``first_s`` and ``last_s`` are Unix seconds of the end; ``idle`` is the time between the last bytes
    received and the end, and ``heard`` the Unix seconds of those bytes; ``active`` counts the connections
    whose last message (pings and pongs go on while nobody speaks) came under ``ACTIVE_WITHIN_S`` before it.
    ``sample`` has some of those ends that are not the run's. ``waited`` is the time between a user's failed
    attempt and these ones.
    ``tcp`` is the TCP phase of those that got through it, whatever came of them.

    ``crowds`` has the opened ones by worker and by the binary digits of ``opening``: 1, 2 to 3, 4 to 7, …
    ``onsets`` says for each worker in which Unix second the first one began that got no answer to its upgrade
    in time, and the least ``opening`` of those that began in that second. Later ones tell less: who tries
    again meets a queue that others have just left.
    """

    count: int = 0
    first_s: float = float("inf")
    last_s: float = float("-inf")
    age_sum_ms: int = 0
    age_min_s: float = float("inf")
    age_max_s: float = float("-inf")
    idle_min_s: float = float("inf")
    idle_max_s: float = float("-inf")
    heard_first_s: float = float("inf")
    heard_last_s: float = float("-inf")
    active: int = 0
    tcp_count: int = 0
    tcp_sum_us: int = 0
    tcp_max_ms: float = 0.0
    crowds: dict[tuple[str, int], Crowd] = field(default_factory=dict)
    onsets: dict[str, tuple[int, int]] = field(default_factory=dict)
    sample: EndSample = field(default_factory=EndSample)
    errors: Samples = field(default_factory=Samples)
    bodies: Samples = field(default_factory=Samples)
    headers: Samples = field(default_factory=Samples)
    waited_min_s: float = float("inf")
    waited_max_s: float = float("-inf")
    reasons: Samples = field(default_factory=Samples)
    server_errors: Samples = field(default_factory=Samples)
    paths: Samples = field(default_factory=Samples)

    def add_record(self, record: ConnectionRecord) -> None:
        """Count one connection."""
        # comparisons, not min and max: it runs for each of thousands of connections a second
        ended_at = record.ended_at
        self.count += 1
        if ended_at < self.first_s:
            self.first_s = ended_at
        if ended_at > self.last_s:
            self.last_s = ended_at
        if record.age_s is not None:
            self._add_age(record.age_s)
        idle_s = record.idle_s
        if idle_s is not None:
            quiet_s = idle_s if record.quiet_s is None else record.quiet_s
            self._add_silence(idle_s, quiet_s, ended_at - idle_s)
            if not record.ended_by_run:
                self.sample.add_record(record)
        tcp_ms = record.tcp_ms
        if tcp_ms is not None:
            self.tcp_count += 1
            self.tcp_sum_us += round(tcp_ms * 1000)
            if tcp_ms > self.tcp_max_ms:
                self.tcp_max_ms = tcp_ms
        opening = record.opening
        if opening is not None:
            if record.outcome == OPEN and record.upgrade_ms is not None:
                self._crowd(record.worker, opening.bit_length()).add_one(record.upgrade_ms, opening)
            elif record.outcome == TIMEOUT_UPGRADE and math.isfinite(record.started_at):
                self._add_onset(record.worker, (int(record.started_at), opening))
        if record.error:
            self.errors.add_text(record.error)
        if record.body:
            self.bodies.add_text(record.body)
        if record.headers:
            self.headers.add_text(record.headers)
        if record.reason:
            self.reasons.add_text(record.reason)
        if record.server_error:
            self.server_errors.add_text(record.server_error)
        if record.waited_s is not None:
            self.waited_min_s = min(self.waited_min_s, record.waited_s)
            self.waited_max_s = max(self.waited_max_s, record.waited_s)
        self.paths.add_text(record.path)

    def _add_age(self, age_s: float) -> None:
        # whole milliseconds: float sums depend on their order
        self.age_sum_ms += round(age_s * 1000)
        if age_s < self.age_min_s:
            self.age_min_s = age_s
        if age_s > self.age_max_s:
            self.age_max_s = age_s

    def _add_silence(self, idle_s: float, quiet_s: float, heard_s: float) -> None:
        if idle_s < self.idle_min_s:
            self.idle_min_s = idle_s
        if idle_s > self.idle_max_s:
            self.idle_max_s = idle_s
        if heard_s < self.heard_first_s:
            self.heard_first_s = heard_s
        if heard_s > self.heard_last_s:
            self.heard_last_s = heard_s
        self.active += quiet_s < ACTIVE_WITHIN_S

    def add(self, other: EndGroup) -> None:
        """Count the other group's connections too."""
        self.count += other.count
        self.first_s = min(self.first_s, other.first_s)
        self.last_s = max(self.last_s, other.last_s)
        self.age_sum_ms += other.age_sum_ms
        self.age_min_s = min(self.age_min_s, other.age_min_s)
        self.age_max_s = max(self.age_max_s, other.age_max_s)
        self.idle_min_s = min(self.idle_min_s, other.idle_min_s)
        self.idle_max_s = max(self.idle_max_s, other.idle_max_s)
        self.heard_first_s = min(self.heard_first_s, other.heard_first_s)
        self.heard_last_s = max(self.heard_last_s, other.heard_last_s)
        self.active += other.active
        self.tcp_count += other.tcp_count
        self.tcp_sum_us += other.tcp_sum_us
        self.tcp_max_ms = max(self.tcp_max_ms, other.tcp_max_ms)
        for (worker, digits), crowd in other.crowds.items():
            self._crowd(worker, digits).add(crowd)
        for worker, onset in other.onsets.items():
            self._add_onset(worker, onset)
        self.sample.add(other.sample)
        self.waited_min_s = min(self.waited_min_s, other.waited_min_s)
        self.waited_max_s = max(self.waited_max_s, other.waited_max_s)
        for sort in ("errors", "bodies", "headers", "reasons", "server_errors", "paths"):
            getattr(self, sort).add(getattr(other, sort).texts)

    def _crowd(self, worker: str, digits: int) -> Crowd:
        found = self.crowds.get((worker, digits))
        if found is None:
            found = self.crowds[worker, digits] = Crowd()
        return found

    def _add_onset(self, worker: str, onset: tuple[int, int]) -> None:
        self.onsets[worker] = min(onset, self.onsets.get(worker, onset))


@dataclass(slots=True)
class GaugeSummary:
    """A gauge's readings: how many, sum, least, greatest, and the last one with its Unix time."""

    count: int = 0
    sum: float = 0.0
    least: float = float("inf")
    greatest: float = float("-inf")
    last_at: float = float("-inf")
    last: float = 0.0

    def add(self, other: GaugeSummary) -> None:
        """Count the other summary's readings too."""
        self.count += other.count
        self.sum += other.sum
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)
        self.last_at, self.last = max((self.last_at, self.last), (other.last_at, other.last))

    @property
    def mean(self) -> float:
        """The readings' mean; 0 without readings."""
        return self.sum / self.count if self.count else 0.0


@dataclass(slots=True)
class ObservationSummary:
    """Observations of one id and name: how many things were wrong, out of how many, when, and their texts.

    ``first_s`` and ``last_s`` are of those with something wrong; a check that passed only adds to ``of``.
    """

    count: int = 0
    of: int = 0
    first_s: float = float("inf")
    last_s: float = float("-inf")
    texts: Samples = field(default_factory=Samples)

    def add(self, other: ObservationSummary) -> None:
        """Count the other summary's observations too."""
        self.count += other.count
        self.of += other.of
        self.first_s = min(self.first_s, other.first_s)
        self.last_s = max(self.last_s, other.last_s)
        self.texts.add(other.texts.texts)


class ErrorKind(NamedTuple):
    """Which exception of user code; the fields are those of ``records.UserError``."""

    user: str
    where: str
    error: str
    place: str


@dataclass(slots=True)
class ErrorSummary:
    """How often user code raised one exception, and when, in Unix seconds."""

    count: int = 0
    first_s: float = float("inf")
    last_s: float = float("-inf")

    def add(self, other: ErrorSummary) -> None:
        """Count the other summary's exceptions too."""
        self.count += other.count
        self.first_s = min(self.first_s, other.first_s)
        self.last_s = max(self.last_s, other.last_s)


class Books:
    """A run's, or a part of a run's, state.

    Attributes:
        totals: counters by name, over the whole run.
        seconds: counters by Unix second and name; only the last ``horizon_s`` seconds when that is given.
        reconnects: those that began, by Unix second and name, as far as ``seconds`` goes; one that opened is
            known when its socket has ended.
        latency: histograms by kind and name, over the whole run.
        ends: connections by how they ended.
        gauges: summaries by worker, source and gauge name.
        observations: summaries by finding id and socket name.
        user_errors: exceptions of the scenario's own code.
        addresses: how many of the ended sockets went to each IP address, of the first ``ADDRESSES`` of them.
        first_s, last_s: the first and last Unix second with a timeline row; ``None`` before the first.
    """

    def __init__(self, horizon_s: int | None = None) -> None:
        self.horizon_s = horizon_s
        self.totals: dict[str, CounterRow] = {}
        self.seconds: dict[int, dict[str, CounterRow]] = {}
        self.reconnects: dict[int, dict[str, Reconnects]] = {}
        self.latency: dict[tuple[str, str], Histogram] = {}
        self.ends: dict[EndKind, EndGroup] = {}
        self.gauges: dict[tuple[str, str, str], GaugeSummary] = {}
        self.observations: dict[tuple[str, str], ObservationSummary] = {}
        self.user_errors: dict[ErrorKind, ErrorSummary] = {}
        self.addresses: dict[str, int] = {}
        self.first_s: int | None = None
        self.last_s: int | None = None
        self._oldest_kept: float = float("-inf")

    # ------------------------------------------------------------------------------------------ adding

    def add(self, delta: Delta) -> None:
        """Add a delta in."""
        for (second, name), row in delta.timeline.items():
            self.add_row(second, name, row)
        for (_, kind, name), histogram in delta.latency.items():
            self.add_histogram(kind, name, histogram)
        for record in delta.connections:
            self.add_connection(record)
        for gauge in delta.gauges:
            self.add_gauge(gauge)
        for observation in delta.observations:
            self.add_observation(observation)
        for error in delta.user_errors:
            self.add_user_error(error)

    def merge(self, other: Books) -> None:
        """Add other books in; theirs must not have forgotten seconds that these keep."""
        for second, rows in other.seconds.items():
            for name, row in rows.items():
                self._add_second(second, name, row)
        if other.first_s is not None and other.last_s is not None:
            self._reach(other.first_s)
            self._reach(other.last_s)
        for second, begun in other.reconnects.items():
            for name, reconnects in begun.items():
                self._add_reconnects(second, name, reconnects)
        for name, row in other.totals.items():
            self.totals[name] = plus(self.totals.get(name, ZERO), row)
        for key, histogram in other.latency.items():
            self.latency.setdefault(key, Histogram()).add(histogram)
        for kind, group in other.ends.items():
            self.ends.setdefault(kind, EndGroup()).add(group)
        for gauge_key, summary in other.gauges.items():
            self.gauges.setdefault(gauge_key, GaugeSummary()).add(summary)
        for observation_key, seen in other.observations.items():
            self.observations.setdefault(observation_key, ObservationSummary()).add(seen)
        for error_key, errors in other.user_errors.items():
            self.user_errors.setdefault(error_key, ErrorSummary()).add(errors)
        for address, sockets in other.addresses.items():
            self._add_address(address, sockets)

    def add_row(self, second: int, name: str, row: CounterRow) -> None:
        """Add one timeline row in."""
        self.totals[name] = plus(self.totals.get(name, ZERO), row)
        self._add_second(second, name, row)

    def add_histogram(self, kind: str, name: str, histogram: Histogram) -> None:
        """Add the durations of one kind and name in."""
        self.latency.setdefault((kind, name), Histogram()).add(histogram)

    def add_connection(self, record: ConnectionRecord) -> None:
        """Add one ended attempt in."""
        kind = _kind_of(record)
        group = self.ends.get(kind)
        if group is None:
            group = self.ends[kind] = EndGroup()
        group.add_record(record)
        if record.outcome == OPEN and record.address:
            self._add_address(record.address, 1)
        if record.attempt > 0 and record.outcome != CANCELLED and math.isfinite(record.started_at):
            self._add_reconnects(int(record.started_at), record.name, Reconnects(1, int(record.attempt > 1)))

    def add_gauge(self, gauge: Gauge) -> None:
        """Add one reading in."""
        key = (gauge.worker, gauge.source, gauge.name)
        summary = self.gauges.setdefault(key, GaugeSummary())
        summary.add(GaugeSummary(1, gauge.value, gauge.value, gauge.value, gauge.at, gauge.value))

    def add_observation(self, seen: Observation) -> None:
        """Add one observation in."""
        summary = self.observations.setdefault((seen.id, seen.name), ObservationSummary())
        wrong = ObservationSummary(seen.count, seen.of, seen.at, seen.at, Samples([seen.text]))
        summary.add(wrong if seen.count else ObservationSummary(of=seen.of))

    def add_user_error(self, error: UserError) -> None:
        """Add exceptions of user code in."""
        key = ErrorKind(error.user, error.where, error.error, error.place)
        summary = self.user_errors.setdefault(key, ErrorSummary())
        summary.add(ErrorSummary(error.count, error.at, error.at))

    def _add_address(self, address: str, sockets: int) -> None:
        if address in self.addresses or len(self.addresses) < ADDRESSES:
            self.addresses[address] = self.addresses.get(address, 0) + sockets

    def _add_second(self, second: int, name: str, row: CounterRow) -> None:
        self._reach(second)
        if second >= self._oldest_kept:
            rows = self.seconds.setdefault(second, {})
            rows[name] = plus(rows.get(name, ZERO), row)

    def _add_reconnects(self, second: int, name: str, more: Reconnects) -> None:
        if second >= self._oldest_kept:
            begun = self.reconnects.setdefault(second, {})
            known = begun.get(name, Reconnects())
            begun[name] = Reconnects(known.attempts + more.attempts, known.repeated + more.repeated)

    def _reach(self, second: int) -> None:
        """Let ``first_s`` and ``last_s`` enclose this second; forget what lies beyond the horizon then."""
        self.first_s = second if self.first_s is None else min(self.first_s, second)
        if self.last_s is None or second > self.last_s:
            self.last_s = second
            if self.horizon_s is not None:
                self._oldest_kept = second - self.horizon_s + 1
                for kept in (self.seconds, self.reconnects):
                    for old in [past for past in kept if past < self._oldest_kept]:
                        del kept[old]

    # ----------------------------------------------------------------------------------------- reading

    def total(self, counter: str, name: str | None = None) -> float:
        """One counter over the whole run, of one name or of all."""
        if name is not None:
            return value(self.totals.get(name, ZERO), counter)
        return sum(value(row, counter) for row in self.totals.values())

    def count(self, counter: str, name: str | None = None) -> int:
        """``total`` of a counter of whole things."""
        return int(self.total(counter, name))

    @property
    def open_now(self) -> int:
        """Sockets that opened and have not ended."""
        return self.count("opened") - self.count("closed")

    def histogram(self, kind: str, name: str | None = None) -> Histogram:
        """The durations of one kind, of one name or of all names added up (a new histogram)."""
        merged = Histogram()
        for (of_kind, of_name), histogram in self.latency.items():
            if of_kind == kind and name in (None, of_name):
                merged.add(histogram)
        return merged

    def names_with(self, counter: str) -> list[str]:
        """The names under which this counter is not zero, sorted."""
        return sorted(name for name, row in self.totals.items() if value(row, counter))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Books):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _STATE)

    __hash__ = None  # type: ignore[assignment]


_STATE: Final = (
    "totals",
    "seconds",
    "reconnects",
    "latency",
    "ends",
    "gauges",
    "observations",
    "user_errors",
    "first_s",
    "last_s",
)


def _kind_of(record: ConnectionRecord) -> EndKind:
    status = None if record.outcome == OPEN else rejected_status(record.outcome)
    told = gateway_answer(status, record.body, record.headers)
    return EndKind(
        name=record.name,
        outcome=record.outcome,
        phase=record.phase,
        code=record.code,
        sent_code=record.sent_code,
        received_code=record.received_code,
        initiator=record.initiator,
        clean=record.clean,
        detail=record.detail,
        replied=record.messages_received > 0,
        usable=record.usable,
        denied=bool(record.server_error),
        reconnect=record.attempt > 0,
        ended_by_run=record.ended_by_run,
        ended_by_user=record.ended_by_user,
        state=record.state,
        gateway=told.text if told is not None else "",
        no_backend=told is not None and told.no_backend,
    )
