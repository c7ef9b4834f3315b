"""Preflight: a rehearsal that is in no book, what stops a run, and how a run is stopped."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gevent
import pytest
from locust import task
from locust.exception import StopUser

from analysis import checks
from tests.load.checks.servers import Play, echo, routed, status
from tests.load.checks.servers import json as answer
from tests.load.session import Session, rest, session
from tests.wire.harness import PATIENCE_S, Peer, until
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RunReader
from wsoak.load import WebSocketUser
from wsoak.load.accounts_file import BadAccounts
from wsoak.load.checks.limits import Plan
from wsoak.load.checks.preflight import Checked, check
from wsoak.load.checks.rehearsal import Where
from wsoak.load.door import Control, Door
from wsoak.load.hooks import EXIT_INVALID
from wsoak.load.options import Options

NOTHING: Play = status("404 Not Found")
HEALTHY = answer('{"status": "healthy", "time": "2026-01-01T00:00:00.000000"}')


class EchoingUser(WebSocketUser):
    """Talks with ``/echo``."""

    health_path = "/health"
    path = "/echo"
    patience_s = PATIENCE_S

    @task
    def stay(self) -> None:
        with self.connect(self.path, name="echo") as ws:
            ws.request({"reply_to": 1}, reply_to=1)
            rest()

    def rehearse(self) -> None:
        with self.connect(self.path, name="echo") as ws:
            ws.request({"reply_to": 1}, reply_to=1, timeout=self.patience_s)


class PlainUser(WebSocketUser):
    """Says nothing of itself."""

    @task
    def stay(self) -> None:
        rest()


class RaisingUser(EchoingUser):
    def rehearse(self) -> None:
        raise KeyError("s3cret")


class RaisingAtStartUser(EchoingUser):
    def on_start(self) -> None:
        raise KeyError("s3cret")


class UnmadeUser(EchoingUser):
    def __init__(self, _: Any) -> None:
        raise KeyError("s3cret")


class StoppingUser(EchoingUser):
    def rehearse(self) -> None:
        self.api("POST", "/start", json={})
        raise StopUser


class HangingUser(EchoingUser):
    hanging: ClassVar[list[bool]] = []
    stopped: ClassVar[list[bool]] = []

    def rehearse(self) -> None:
        with self.connect(self.path, name="echo"):
            self.hanging.append(True)
            rest()

    def on_stop(self) -> None:
        self.stopped.append(True)


class ForbiddenUser(EchoingUser):
    path = "/forbidden"


class LostUser(EchoingUser):
    path = "/lost"


class SilentUser(EchoingUser):
    path = "/silent"
    patience_s = 0.2


class RenamedUser(SilentUser):
    path = "/renamed"


class DifferentUser(SilentUser):
    path = "/different"


class UsableAllTheSameUser(SilentUser):
    """A message makes its socket usable, and its ``reply_id`` looks in the wrong place."""

    def rehearse(self) -> None:
        with self.connect("/renamed", name="echo", usable_when=lambda _: True) as ws:
            ws.request({"reply_to": 1}, reply_to=1, timeout=self.patience_s)


class CheckingUser(EchoingUser):
    def rehearse(self) -> None:
        super().rehearse()
        self.check("all is as it should be", False)
        self.api("GET", "/start")


class IllUser(EchoingUser):
    health_path = "/ill"


def silent(peer: Peer) -> None:
    peer.accept().answer_close()


def saying(text: str) -> Play:
    """Opens, and answers each message with this text."""

    def play(peer: Peer) -> None:
        peer.accept()
        while True:
            peer.hear_text()
            peer.say(text)

    return play


ROUTES: dict[str, Play] = {
    "/echo": echo,
    "/health": HEALTHY,
    "/ill": answer('{"status": "ill"}', "503 Service Unavailable"),
    "/start": answer("{}", "500 s3cret"),
    "/forbidden": status("403 Forbidden"),
    "/silent": silent,
    "/renamed": saying('{"request_id": 1, "text": "s3cret"}'),
    "/different": saying('{"state": "s3cret"}'),
}

CASES: dict[type[WebSocketUser], tuple[str | None, str]] = {
    # the finding that stops the run, and words of the sentence
    EchoingUser: (None, ""),
    PlainUser: (None, ""),
    CheckingUser: (None, ""),
    RaisingUser: ("rehearsal-failed", "the scenario raised KeyError at test_preflight.py:"),
    RaisingAtStartUser: ("rehearsal-failed", "the scenario raised KeyError at test_preflight.py:"),
    UnmadeUser: (
        "rehearsal-failed",
        "no user can be made: the scenario raised KeyError at test_preflight.py:",
    ),
    StoppingUser: ("rehearsal-failed", "no socket was opened (POST /start: HTTP 500)"),
    HangingUser: ("rehearsal-failed", "did not end within"),
    ForbiddenUser: ("upgrade-refused", "/forbidden"),
    LostUser: ("route-not-found", "/lost"),
    SilentUser: ("no-answer", "1 request and no answer;"),
    RenamedUser: (
        "replies-unmatched",
        "1 request and no answer; messages came, and the id of a request is in the field `request_id`;",
    ),
    DifferentUser: (
        "no-answer",
        "1 request and no answer; what came instead holds the id of no request: a JSON object with the "
        "fields state;",
    ),
    UsableAllTheSameUser: ("replies-unmatched", "in the field `request_id`"),
    IllUser: ("health-failed", "GET /ill: HTTP 503"),
}


class Impatient(Where):
    """Waits for one who hangs until it does, and not much longer."""

    @property
    def patience_s(self) -> float:
        """See ``Where``."""
        until(lambda: HangingUser.hanging)
        return 0.1


def where(host: str, **more: Any) -> Where:
    return Where(Options.of(None), host, "a-run", **more)


@pytest.fixture(scope="module")
def checked() -> dict[str, Checked]:
    """Each of them checked alone, all at the same time."""
    with routed(ROUTES, NOTHING) as listener:
        place = where(f"http://127.0.0.1:{listener.port}")
        hurried = Impatient(place.options, place.host, place.run_id)
        jobs = {
            each.__name__: gevent.spawn(check, [each], hurried if each is HangingUser else place, Plan(1))
            for each in CASES
        }
        gevent.joinall(jobs.values(), raise_error=True)
    return {name: job.get() for name, job in jobs.items()}


@pytest.mark.parametrize("user_class", CASES, ids=lambda each: each.__name__)
def test_what_stops_a_run_is_one_finding_and_one_sentence(
    user_class: type[WebSocketUser], checked: dict[str, Checked]
) -> None:
    finding, words = CASES[user_class]
    found = checked[user_class.__name__]
    assert [step.finding for step in found.outcome.failed] == ([finding] if finding else []), found.outcome
    assert words in found.outcome.sentence()
    assert bool(found.outcome.sentence()) is bool(finding)
    assert "s3cret" not in json.dumps(found.outcome.to_json())


def names(found: Checked) -> list[str]:
    return [step.name for step in found.outcome.steps if step.scenario != "all users"]


def test_a_healthy_scenario_has_a_figure_for_each_step(checked: dict[str, Checked]) -> None:
    found = checked["EchoingUser"]
    assert names(found) == ["look-up", "connect", "health", "rehearsal", "handshake", "exchange"]
    assert all(step.result == "ok" for step in found.outcome.steps)
    told = {step.name: step.text for step in found.outcome.steps}
    assert "clock" in told["health"]
    assert "upgrade" in told["handshake"]
    assert "1 of 1 request answered" in told["exchange"]


def test_a_scenario_that_says_nothing_of_itself_gets_the_generic_steps(checked: dict[str, Checked]) -> None:
    steps = [step for step in checked["PlainUser"].outcome.steps if step.scenario == "PlainUser"]
    assert [(step.name, step.result) for step in steps] == [
        ("look-up", "ok"),
        ("connect", "ok"),
        ("rehearsal", "warning"),
    ]


def test_descriptors_of_http_are_counted_for_those_who_use_it(checked: dict[str, Checked]) -> None:
    uses = {name: checked[name].calls_http for name in ("EchoingUser", "CheckingUser", "PlainUser")}
    # of one that is not rehearsed nobody knows
    assert uses == {"EchoingUser": False, "CheckingUser": True, "PlainUser": True}


def test_a_scenarios_own_check_and_a_failed_request_are_warnings(checked: dict[str, Checked]) -> None:
    warned = [step.text for step in checked["CheckingUser"].outcome.steps if step.result == "warning"]
    assert warned == ["GET /start: HTTP 500", "the scenario's check failed: all is as it should be"]


def test_a_user_that_is_cut_short_is_stopped_as_any(checked: dict[str, Checked]) -> None:
    assert checked["HangingUser"].outcome.failed
    assert HangingUser.stopped == [True]


def test_nothing_is_rehearsed_where_nobody_listens() -> None:
    found = check([EchoingUser, PlainUser], where("http://127.0.0.1:1"), Plan(1))
    assert names(found) == ["look-up", "connect"] * 2
    assert found.outcome.sentence().startswith("The checks failed for EchoingUser and PlainUser (connect)")


def test_a_proxy_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://u:s3cret@127.0.0.1:1")
    found = check([PlainUser], where("http://127.0.0.1:1"), Plan(1))
    assert names(found) == ["proxy", "look-up", "connect"]
    step = found.outcome.steps[0]
    assert step.result == "warning"
    assert step.text.startswith(
        "HTTP_PROXY names a proxy for 127.0.0.1, and --client fast goes there directly"
    )
    assert "s3cret" not in json.dumps(found.outcome.to_json())


def test_source_addresses_that_cannot_reach_the_host_are_not_the_servers_fault() -> None:
    place = where("http://node.invalid:1")
    options = replace(place.options, source_ips=("::1",), resolve=("node.invalid:1:127.0.0.1",))
    found = check([PlainUser], replace(place, options=options), Plan(1))
    (step,) = found.outcome.failed
    assert (step.name, step.finding) == ("connect", "source-unusable")
    assert found.outcome.sentence().endswith(
        "source-unusable: --source-ips has IPv6 alone, and the host IPv4 addresses; likely cause: "
        "--source-ips has no address of this machine that is of the host's family."
    )
    books = Books()
    for delta in found.for_the_books():
        books.add(delta)
    assert [finding.id for finding in find(books, 0.0)] == ["source-unusable"]


def test_a_file_that_cannot_be_used_is_raised_to_whoever_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "accounts.csv").write_text("phone\n")
    options = replace(Options.of(None), accounts=tmp_path / "accounts.csv")
    with pytest.raises(BadAccounts):
        check([EchoingUser], Where(options, "http://127.0.0.1:1", "a-run"), Plan(1))
    assert "Traceback" not in "".join(capfd.readouterr())


class LoggingInUser(EchoingUser):
    """Asks for an account, and has not said what it must have."""

    def rehearse(self) -> None:
        self.account(lambda index: {"phone": str(index)})


@pytest.mark.parametrize("columns", [(), ("phone",)])
def test_accounts_without_what_a_user_asks_them_for_are_a_mistake_in_the_use(
    tmp_path: Path, columns: tuple[str, ...]
) -> None:
    (tmp_path / "accounts.csv").write_text("user\nanna\n")
    asking = type("AskingUser", (LoggingInUser,), {"account_columns": columns})
    with routed(ROUTES, NOTHING) as listener:
        host = f"http://127.0.0.1:{listener.port}"
        options = replace(Options.of(None), accounts=tmp_path / "accounts.csv")
        with pytest.raises(BadAccounts, match=r" no phone|needs phone"):
            check([asking], Where(options, host, "a-run"), Plan(1))


def test_a_route_that_is_there_twice_is_a_warning_and_stops_nothing() -> None:
    with routed({**ROUTES, "/api/api/echo": echo}, NOTHING) as listener:
        found = check([EchoingUser], where(f"http://127.0.0.1:{listener.port}"), Plan(1))
    assert found.outcome.failed == []
    assert [step.finding for step in found.outcome.steps if step.result == "warning"] == ["route-doubled"]
    (delta,) = found.for_the_books()
    assert [(seen.id, seen.name) for seen in delta.observations] == [("route-doubled", "echo")]
    assert delta.connections == []


# --------------------------------------------------------------------------------------------------- doors


class GuardedUser(EchoingUser):
    """Has two doors, of which one is open."""

    ended: ClassVar[list[bool]] = []

    def doors(self) -> list[Door]:
        return [
            Door("unauthenticated-accepted", "echo", "/echo?token=s3cret"),
            Door("expired-token-accepted", "echo", "/forbidden"),
        ]

    def on_stop(self) -> None:
        self.ended.append(True)


class RaisingDoorsUser(EchoingUser):
    def doors(self) -> list[Door]:
        raise KeyError("s3cret")


def test_an_open_door_is_for_the_books_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsoak.load.checks.doors.PATIENCE_S", 0.1)
    with routed(ROUTES, NOTHING) as listener:
        place = where(f"http://127.0.0.1:{listener.port}")
        found = check([GuardedUser, RaisingDoorsUser, EchoingUser], place, Plan(1), security=True)
        assert check([GuardedUser], place, Plan(1)).outcome.doors == []
    assert found.outcome.failed == []
    assert [(door.finding, door.accepted) for door in found.outcome.doors] == [
        ("unauthenticated-accepted", True),
        ("expired-token-accepted", False),
    ]
    (delta,) = found.for_the_books()
    assert [(seen.id, seen.name, seen.count) for seen in delta.observations] == [
        ("unauthenticated-accepted", "echo", 1)
    ]
    warned = [step.scenario for step in found.outcome.steps if step.result == "warning"]
    # EchoingUser has no doors: that nothing was tried is said
    assert warned == ["RaisingDoorsUser", "EchoingUser"]
    assert "s3cret" not in repr((found.outcome, delta.observations))
    # after the rehearsal, and after the doors; and once more without them
    assert GuardedUser.ended == [True] * 3


# -------------------------------------------------------------------------------------------- in a session

CHECKED = ("--checks", "preflight")


def test_a_checked_run_has_the_checks_in_its_record_and_not_in_its_books(tmp_path: Path) -> None:
    with (
        routed(ROUTES, NOTHING) as listener,
        session(
            EchoingUser,
            host=f"http://127.0.0.1:{listener.port}",
            run_dir=tmp_path / "r",
            arguments=CHECKED,
        ) as made,
    ):
        made.start(3)
        until(lambda: made.books().count("replies") == 3)
        reader = made.stop()
        entries = made.environment.stats.entries
        assert made.quit() is None
    checks = reader.header["checks"]
    assert checks["passed"] is True
    assert {step["result"] for step in checks["steps"]} == {"ok"}
    books = reader.books()
    assert (books.count("opened"), books.count("requests"), books.observations) == (3, 3, {})
    # the load began after them
    assert reader.header["started_at"] > listener_began(reader)
    assert {name for name, _ in entries} == {"echo"}


def listener_began(reader: RunReader) -> float:
    """When the record was made, as its latency log's first line has it, in whole seconds."""
    log = (reader.path / "latency.hlog").read_text()
    return float(log.partition("StartTime: ")[2].partition(" ")[0])


@pytest.mark.parametrize("web", [False, True])
def test_a_run_that_fails_its_checks_is_over_before_its_first_user(
    web: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    users: list[str] = []

    class CountedUser(LostUser):
        def on_start(self) -> None:
            users.append(self.run_id)

    with (
        routed(ROUTES, NOTHING) as listener,
        session(
            CountedUser,
            host=f"http://127.0.0.1:{listener.port}",
            run_dir=tmp_path / "r",
            arguments=CHECKED,
            web=web,
        ) as made,
    ):
        made.runner.start(5, 100)
        until(lambda: made.runner.state == "stopped" and not made.under_way)
        assert (made.under_way, made.runner.user_count, users) == (False, 0, ["r"])
        if web:
            goes_on(made, tmp_path)
        assert made.quit() == (None if web else EXIT_INVALID)
    reader = RunReader(tmp_path / "r")
    assert (reader.ended, reader.header["ended_by"]) == (True, "preflight")
    assert reader.header["checks"]["passed"] is False
    (finding,) = json.loads((tmp_path / "r" / "findings.json").read_text())
    assert (finding["id"], finding["system"]) == ("route-not-found", "echo")
    errors = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("The checks failed for CountedUser (rehearsal): ")
    assert "likely cause" in errors[0]
    assert "Traceback" not in caplog.text
    assert ("Checks before the load:" in capsys.readouterr().out) is not web


def goes_on(made: Session, tmp_path: Path) -> None:
    """The next run of the session is one like any other."""
    user_class: Any = made.environment.user_classes[0]
    user_class.path = "/echo"
    made.start(2)
    until(lambda: made.books().count("replies") == 2)
    assert made.stop().path == tmp_path / "r-2"


def test_a_signal_while_the_checks_go_on_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearsing: list[bool] = []

    def rehearsed(peer: Peer) -> None:
        rehearsing.append(True)
        silent(peer)

    with (
        routed({**ROUTES, "/echo": rehearsed}, NOTHING) as listener,
        session(
            HangingUser,
            host=f"http://127.0.0.1:{listener.port}",
            run_dir=tmp_path / "r",
            arguments=(*CHECKED, "--close-timeout", "0.5"),
        ) as made,
    ):
        made.runner.start(1, 100)
        until(lambda: made.under_way and rehearsing)
        assert made.quit() == EXIT_INVALID
    reader = RunReader(tmp_path / "r")
    assert (reader.ended, reader.header["ended_by"]) == (True, "signal")
    said = capsys.readouterr().out
    assert "stopped by a signal while its checks were under way, before any load" in said
    assert "No connection was tried" not in said


def test_a_door_whose_control_stays_shut_is_no_row_but_a_sentence_that_says_why() -> None:
    control = Control(Door("control", "echo", "/forbidden?token=s3cret"), "it is another's key")

    class ControlledUser(EchoingUser):
        def doors(self) -> list[Door]:
            return [
                Door("forged-token-accepted", "echo", "/forbidden"),
                Door("expired-token-accepted", "echo", "/forbidden", control=control),
                Door("unsigned-token-accepted", "echo", "/forbidden", skipped="there is no such"),
            ]

    with routed(ROUTES, NOTHING) as listener:
        found = check([ControlledUser], where(f"http://127.0.0.1:{listener.port}"), Plan(1), security=True)
    assert found.outcome.failed == []
    assert [door.finding for door in found.outcome.doors] == ["forged-token-accepted"]
    sentences = [
        "not tried, as there is no such: with an unsigned token (alg: none)",
        "not tried, as it is another's key (rejected-403): with an expired token",
    ]
    assert [step.text for step in found.outcome.steps if step.name == "doors"] == sentences
    # in the terminal, in run.json, and in the report's table of that
    lines, record = found.outcome.lines(), found.outcome.to_json()
    rows = checks.steps({"checks": record}).rows
    for sentence in sentences:
        assert [line.split()[0] for line in lines if line.endswith(sentence)] == ["warning"]
        assert ("ControlledUser", "doors", "warning", sentence, "") in rows
    assert "s3cret" not in repr((lines, record))


A_DOOR = Door("unauthenticated-accepted", "echo", "/forbidden")
NO_DOORS: dict[str, tuple[Any, str]] = {
    # what ``doors`` returns, and what is said of it
    "None": (None, "None"),
    "a generator": ((each for each in [A_DOOR]), "a value of type generator"),
    "no door": ([A_DOOR, "/echo?s3cret"], "one with a value of type str in it"),
    "no path": ([Door("x-accepted", "echo", None)], "one whose path cannot be used"),  # type: ignore[arg-type]
    "no headers": (
        [Door("x-accepted", "echo", "/x", headers=["Cookie"], knock="hello")],  # type: ignore[arg-type,list-item]
        "one whose headers and knock cannot be used",
    ),
    "no control": (
        [Door("x-accepted", "echo", "/x", control=A_DOOR)],  # type: ignore[arg-type]
        "one whose control cannot be used",
    ),
    "a control's path": (
        [Door("x-accepted", "echo", "/x", control=Control(Door("x", "echo", None), "no"))],  # type: ignore[arg-type]
        "one whose control cannot be used",
    ),
}


@pytest.mark.parametrize("case", NO_DOORS)
def test_doors_that_are_none_are_one_sentence_that_names_the_method(
    case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    class WrongUser(EchoingUser):
        def doors(self) -> Any:
            return NO_DOORS[case][0]

    with routed(ROUTES, NOTHING) as listener:
        found = check([WrongUser], where(f"http://127.0.0.1:{listener.port}"), Plan(1), security=True)
    assert found.outcome.doors == []
    (step,) = (step for step in found.outcome.steps if step.name == "doors")
    assert (step.result, step.text) == (
        "warning",
        "not all doors were tried: WrongUser.doors() must return a list of Door, and returned "
        f"{NO_DOORS[case][1]}",
    )
    assert "Traceback" not in "".join(capfd.readouterr())
