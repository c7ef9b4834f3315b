"""Preflight: the checks before the first user: a mistake is one sentence, and not ten thousand failures.

    of each user class        resolve ─► connect ─► TLS ─► health ─► rehearsal ─► other routes ─► doors
    of the machine            descriptors, local ports

The classes are checked at the same time, each step bounded in time. A rehearsal's books are judged by the
rules of a run, so that both speak of a fault by the same id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import gevent
from gevent.pool import Pool
from locust import User

from wsoak.judge.findings import Finding
from wsoak.judge.words import counted, duration, figure, listed
from wsoak.ledger.delta import Delta
from wsoak.ledger.outcomes import OPEN, PHASES
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.records import ConnectionRecord, Observation
from wsoak.ledger.units import NS_PER_MS
from wsoak.load.accounts_file import BadAccounts
from wsoak.load.checks import routes
from wsoak.load.checks.doors import doors_of, skipped, try_doors
from wsoak.load.checks.limits import Means, Plan, limit_steps
from wsoak.load.checks.network import CONNECT_S, HEALTH_S, network_steps
from wsoak.load.checks.rehearsal import NAME, Evidence, Rehearsal, Unmade, Where
from wsoak.load.checks.steps import EVERYBODY, Outcome, Result, Step, Tried
from wsoak.load.clock import READ_TIMEOUT_S
from wsoak.load.door import Door
from wsoak.load.options import BadOptions
from wsoak.load.user import WebSocketUser
from wsoak.wire.endpoint import BadUrl

AT_ONCE: Final = 16
NETWORK_S: Final = CONNECT_S + HEALTH_S + READ_TIMEOUT_S
DOORS_S: Final = 60.0

SECURITY: Final = "security"
NO_ANSWER: Final = "no-answer"
UNMATCHED: Final = "replies-unmatched"
FAILED: Final = "rehearsal-failed"


@dataclass(slots=True)
class Checked:
    """What the checks found, and what of it belongs in a run's books.

    Attributes:
        warnings: observations of what does not stop a run, such as doors that opened.
        evidence: what the checks' own users did: for the books of a run that they stop.
        calls_http: whether some scenario called the server's HTTP API, or was not rehearsed.
    """

    outcome: Outcome = field(default_factory=Outcome)
    warnings: list[Observation] = field(default_factory=list)
    evidence: list[Delta] = field(default_factory=list)
    calls_http: bool = False

    def for_the_books(self) -> list[Delta]:
        """What a run's books are to hold of it."""
        noticed = Delta(NAME, 0, observations=list(self.warnings))
        return [noticed, *self.evidence] if self.outcome.failed else [noticed]


def check(
    user_classes: Sequence[type[User]],
    where: Where,
    plan: Plan,
    *,
    security: bool = False,
    shown: Callable[[str], None] = lambda _: None,
) -> Checked:
    """Check all that there is to check.

    Args:
        shown: is given the table's lines, when all of it is done.

    Raises:
        accounts.BadAccounts, options.BadOptions: when a file that an option names cannot be used.
        wire.endpoint.BadUrl: when a user class's own host is none.
    """
    ours = [each for each in user_classes if issubclass(each, WebSocketUser)]
    found = Checked()
    pool = Pool(AT_ONCE)
    try:
        parts = list(pool.map(lambda each: _checked(each, where, security), ours))
    finally:
        pool.kill()
    for part in parts:
        if isinstance(part, ValueError):
            raise part
        found.outcome.steps += part.outcome.steps
        found.outcome.doors += part.outcome.doors
        found.warnings += part.warnings
        found.evidence += part.evidence
        found.calls_http |= part.calls_http
    limits = limit_steps(replace(plan, calls_http=found.calls_http), Means.of_this_machine())
    found.outcome.steps += limits
    found.evidence.append(_of_limits(limits))
    for line in found.outcome.lines():
        shown(line)
    return found


def _checked(user_class: type[WebSocketUser], where: Where, security: bool) -> Checked | ValueError:
    try:
        return _ClassCheck(user_class, where, security).run()
    except (BadAccounts, BadOptions, BadUrl) as error:
        # raised by whoever asked for all: gevent would print it here
        return error


def _of_limits(steps: Sequence[Step]) -> Delta:
    recorder = Recorder(NAME)
    for step in steps:
        if step.result == "failed":
            recorder.observe(step.finding, EVERYBODY, 1, 1, step.text)
    return recorder.take()


class _ClassCheck:
    """The checks of one user class."""

    def __init__(self, user_class: type[WebSocketUser], where: Where, security: bool) -> None:
        self._class = user_class
        self._scenario = user_class.__name__
        self._where = where
        self._security = security
        self._found = Checked()

    def run(self) -> Checked:
        """All of them, until one fails."""
        try:
            if self._network() and self._rehearse() and self._security:
                self._try_doors()
        except Unmade as error:
            recorder = Recorder(NAME)
            recorder.observe(FAILED, self._scenario, 1, 1, str(error))
            self._found.evidence.append(recorder.take())
            self._add("rehearsal", "failed", str(error), FAILED)
        return self._found

    @property
    def _steps(self) -> list[Step]:
        return self._found.outcome.steps

    def _add(self, name: str, result: Result, text: str, finding: str = "") -> None:
        self._steps.append(Step(self._scenario, name, result, text, finding))

    def _passes(self) -> bool:
        return not self._found.outcome.failed

    # ------------------------------------------------------------------------------------------ network

    def _network(self) -> bool:
        with Rehearsal(self._class, self._where) as rehearsal:
            with gevent.Timeout(NETWORK_S, False):
                for step in network_steps(rehearsal.user):
                    self._steps.append(step)
            self._found.evidence.append(rehearsal.end().delta)
        return self._passes()

    # ---------------------------------------------------------------------------------------- rehearsal

    def _rehearse(self) -> bool:
        if self._class.rehearse is WebSocketUser.rehearse:
            self._add("rehearsal", "warning", "the scenario has none: no log-in, socket or message was tried")
            self._found.calls_http = True
            return True
        with Rehearsal(self._class, self._where) as rehearsal:
            recorder = rehearsal.generator.recorder
            started_ns = recorder.clock_ns()
            rehearsal.do(lambda user: user.rehearse())
            took_ns = recorder.clock_ns() - started_ns
            opened = dict(rehearsal.generator.routes.opened)
            evidence = rehearsal.end()
            self._found.calls_http = rehearsal.requests.count > 0
            self._found.evidence.append(evidence.delta)
            self._judge(rehearsal, evidence, took_ns)
            if self._passes():
                self._look_besides(rehearsal, opened)
        return self._passes()

    def _judge(self, rehearsal: Rehearsal, evidence: Evidence, took_ns: int) -> None:
        for finding in evidence.findings:
            self._add(_step_of(finding), "failed", _told(finding), finding.id)
        requests = counted(rehearsal.requests.count, "HTTP request")
        what = f"{duration(took_ns)}, {requests}, {counted(len(evidence.connections), 'socket')}"
        if self._passes():
            self._judge_course(rehearsal, evidence)
        if self._passes():
            self._add("rehearsal", "ok", what)
            for record in evidence.connections[:1]:
                self._add("handshake", "ok", _phases(record))
            self._add("exchange", "ok", _exchange(evidence))
        for problem in _warnings(rehearsal, evidence) if self._passes() else ():
            self._add("rehearsal", "warning", problem)

    def _judge_course(self, rehearsal: Rehearsal, evidence: Evidence) -> None:
        """What no rule finds: that it did not come to its end, or came to it without an answer."""
        wrong = ""
        if rehearsal.mistake:
            wrong = rehearsal.mistake
        elif rehearsal.late:
            wrong = f"it did not end within {self._where.patience_s:.0f} s"
        elif not any(record.outcome == OPEN for record in evidence.connections):
            wrong = "no socket was opened"
        if wrong:
            failed = list(rehearsal.requests.failed)
            reasons = f" ({listed(failed[:3])})" if failed else ""
            self._fail(evidence, FAILED, "rehearsal", wrong.rstrip(".") + reasons)
        elif _unanswered(evidence):
            asked = counted(evidence.books.count("requests"), "request")
            came = evidence.clue or evidence.came_instead
            text = f"{asked} and no answer; {came}" if came else f"{asked} and no answer"
            self._fail(evidence, UNMATCHED if evidence.clue else NO_ANSWER, "exchange", text)

    def _fail(self, evidence: Evidence, finding: str, step: str, text: str) -> None:
        names = [record.name for record in evidence.connections] or [self._scenario]
        at = evidence.started_at
        evidence.delta.observations.append(Observation(at, NAME, finding, names[0], 1, 1, text))
        self._add(step, "failed", text, finding)

    # --------------------------------------------------------------------------------- beside and beyond

    def _look_besides(self, rehearsal: Rehearsal, opened: routes.Opened) -> None:
        """Whether a route that is there is somewhere else as well; that stops nothing."""
        with gevent.Timeout(routes.PATIENCE_S, False), rehearsal.generator.prober() as prober:
            for name, (endpoint, request) in opened.items():
                seen = routes.look(prober, endpoint, request)
                said = routes.besides(endpoint.resource(request.path), seen)
                if said is not None:
                    self._add("routes", "warning", said.text, said.finding)
                    self._notice(rehearsal, said.finding, name, said.text)

    def _try_doors(self) -> None:
        tried: list[Tried] = []
        doors: list[Door] = []
        untried: list[Door] = []

        def body(user: WebSocketUser) -> None:
            doors.extend(doors_of(user))
            with user.generator.prober(self._where.options.handshake_timeout) as prober:
                found, uncontrolled = try_doors(self._scenario, doors, user.endpoint, prober)
            tried.extend(found)
            untried.extend(uncontrolled)

        if self._class.doors is WebSocketUser.doors:
            self._add("doors", "warning", "the scenario names none: nothing was tried")
            return
        with Rehearsal(self._class, self._where) as rehearsal:
            rehearsal.do(body, more_s=DOORS_S)
            for door in tried:
                self._found.outcome.doors.append(door)
                if door.accepted:
                    self._notice(
                        rehearsal, door.finding, door.name, f"{door.path} {door.tried}: {door.seen}."
                    )
            if rehearsal.mistake or rehearsal.late:
                why = rehearsal.mistake.rstrip(".") or "they took too long"
                self._add("doors", "warning", f"not all doors were tried: {why}")
            elif not doors:
                self._add("doors", "warning", "there were none to try")
            for sentence in skipped([*doors, *untried]):
                self._add("doors", "warning", sentence)

    def _notice(self, rehearsal: Rehearsal, finding: str, name: str, text: str) -> None:
        recorder = rehearsal.generator.recorder
        at = recorder.unix_s(recorder.clock_ns())
        self._found.warnings.append(Observation(at, NAME, finding, name, 1, 1, text))


# ------------------------------------------------------------------------------------------------- words


def _step_of(finding: Finding) -> str:
    """What was being done when this went wrong."""
    if finding.id.startswith("log-in") or finding.system == "log-in":
        return "log-in"
    return "rehearsal"


PROBE: Final = "A probe says: "
TOLD: Final = (
    "Path asked for",
    "What failed",
    "The answer's headers",
    "A gateway says",
    "The check says",
    "The server's error message",
)
"""Beginnings of the evidence that belongs in half a sentence, besides the first; a probe's says it all."""
ONE: Final = re.compile(r"^1 of 1 (?:(handshake) \(100 %\)|(opened socket) \(100 %\)|looked at:) ")


def _told(finding: Finding) -> str:
    """A finding in half a sentence; it speaks of one user, and so of no shares."""
    first, *others = finding.evidence or ("",)
    one = ONE.match(first)
    if one is not None:
        first = f"{'a handshake ' if one[1] else 'an opened socket ' if one[2] else ''}{first[one.end() :]}"
    probed = [sentence.removeprefix(PROBE) for sentence in others if sentence.startswith(PROBE)]
    said = [first, *(probed or (sentence for sentence in others if sentence.startswith(TOLD)))]
    return f"{finding.system}: {'; '.join(sentence.rstrip('.') for sentence in said)}"


def _phases(record: ConnectionRecord) -> str:
    shown = [
        f"{phase} {figure(took_ms)} ms"
        for phase in PHASES
        if (took_ms := getattr(record, f"{phase}_ms")) is not None
    ]
    return f"{record.name}: {', '.join(shown)}"


def _unanswered(evidence: Evidence) -> bool:
    """Whether something was expected of the server, and nothing came."""
    asked = evidence.books.count("requests")
    if evidence.clue and not evidence.books.count("replies"):
        return True
    unusable = any(record.usable is False for record in evidence.connections)
    return not evidence.books.count("usable") and (asked > evidence.books.count("replies") or unusable)


def _exchange(evidence: Evidence) -> str:
    books = evidence.books
    requests, replies = books.count("requests"), books.count("replies")
    if requests:
        mean_ns = books.histogram("response").mean_ns
        return f"{replies} of {counted(requests, 'request')} answered, mean {duration(mean_ns)}"
    usable = [record.usable_ms for record in evidence.connections if record.usable_ms is not None]
    if usable:
        return f"the first message after {duration(usable[0] * NS_PER_MS)}"
    return f"{counted(books.count('received'), 'message')} received, none asked for"


def _warnings(rehearsal: Rehearsal, evidence: Evidence) -> Iterator[str]:
    yield from rehearsal.requests.failed
    for name in evidence.books.names_with("check_failed"):
        yield f"the scenario's check failed: {name}"
