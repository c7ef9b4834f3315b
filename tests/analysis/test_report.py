"""The report: one file that opens without a network, and escapes what servers sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import fonts, report
from analysis.__main__ import main
from analysis.frames import load
from analysis.judged import BOXES
from analysis.soak import Drift
from tests.analysis.runs import HEALTHY, SCENES, STARTED_AT, closed, header, made
from tests.judge.booked import row
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.rundir import CONNECTIONS_FILE, FINDINGS_FILE, RunWriter
from wsoak.ledger.timeline import ARRIVALS

Scene = Callable[[str], Path]

PICTURE = "data:image/png;base64,"
EVIL = "</li><script>alert(1)</script>\x1b[31m\u202e<img src=http://evil.example/x onerror=x>"


class Tags(HTMLParser):
    """What a page holds: its tags with attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(path: Path) -> tuple[str, Tags]:
    """The page of a run, drawn now."""
    report.write_report(load(path))
    return read(path)


def read(path: Path) -> tuple[str, Tags]:
    """The page in a run directory."""
    page = (path / report.REPORT_FILE).read_text(encoding="utf-8")
    return page, Tags(page)


@pytest.mark.parametrize("name", SCENES)
def test_a_report_is_one_file_that_asks_nothing_of_a_network(reported: Scene, name: str) -> None:
    _, tags = read(reported(name))

    for tag, attributes in tags.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for attribute in ("src", "href"):
            assert (attributes.get(attribute) or PICTURE).startswith(PICTURE)


@pytest.mark.parametrize("name", SCENES)
def test_findings_are_written_beside_it(reported: Scene, name: str) -> None:
    path = reported(name)
    _, tags = read(path)

    written = json.loads((path / FINDINGS_FILE).read_text())

    assert written == [finding.to_json() for finding in load(path).findings]
    for finding in written:
        assert f"{finding['id']} on {finding['system']}" in tags.text
        for sentence in finding["evidence"]:
            assert sentence in tags.text


def test_validity_comes_before_findings_and_these_before_numbers(reported: Scene) -> None:
    page, _ = read(reported("mixed"))

    places = [
        page.index(text)
        for text in ("<h1>Run mixed", "The run is valid", ">Findings<", ">Charts<", ">Tables<")
    ]
    assert places == sorted(places)


def test_a_cut_run_says_so_at_the_top(reported: Scene) -> None:
    page, tags = read(reported("cut"))

    assert "20 sockets were open at the cut" in tags.text
    assert page.index("The run was cut") < page.index(">Findings<")
    assert "The run is not valid" in tags.text
    assert "The run is valid" not in tags.text
    assert "<title>cut: NOT VALID</title>" in page


def test_a_run_under_way_says_so_and_is_not_called_cut(tmp_path: Path) -> None:
    path = tmp_path / "run"
    writer = RunWriter(path, header(1))
    delta = Delta("0", 0)
    delta.timeline[STARTED_AT, "dialogue"] = row(opened=3)
    writer.append(delta)

    _, tags = page_of(path)
    writer._close_files()

    assert "still under way: this is what is on record so far, with 3 sockets open" in tags.text
    assert "cut" not in tags.text


def test_what_a_server_sent_is_escaped(tmp_path: Path) -> None:
    path = made(
        tmp_path / "run",
        closed(1008, server_error=EVIL, reason=EVIL, usable=False, replies=False),
        name=EVIL,
        asked_for=EVIL,
        run_id=EVIL,
        options={"x": EVIL},
    )

    page, tags = page_of(path)

    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "alert(1)" in tags.text
    assert not [tag for tag, attributes in tags.tags if "onerror" in attributes]


def test_the_scenarios_own_figures_have_a_table(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    delta.timeline[STARTED_AT, "voice"] = row(opened=1, sent=3)
    delta.timeline[STARTED_AT, "answered"] = row(check_passed=1200, check_failed=34)
    delta.timeline[STARTED_AT, "words"] = row(metric_count=3, metric_sum=4.5)
    # a counter and a trend of one name
    delta.timeline[STARTED_AT, "first audio"] = row(metric_count=5, metric_sum=7)
    delta.latency[STARTED_AT, "metric", "first audio"] = Histogram.of([1_000_000] * 3)
    # the open model's wait is told elsewhere
    delta.timeline[STARTED_AT, ARRIVALS] = row(arrived=1, served=1)
    delta.latency[STARTED_AT, "metric", ARRIVALS] = Histogram.of([5_000_000])
    writer.append(delta)
    writer._close_files()
    run = load(tmp_path / "run")

    (own,) = [table for table in report.context(run, [])["tables"] if "own figures" in table.title]

    assert own.columns == ("kind", "name", "n", "passed", "failed", "sum", "p50", "p95", "p99", "max")
    assert own.rows == (
        ("check", "answered", "1,234", "1,200", "34", "", "", "", "", ""),
        ("counter", "first audio", "2", "", "", "7", "", "", "", ""),
        ("counter", "words", "3", "", "", "4.5", "", "", "", ""),
        ("trend", "first audio", "3", "", "", "", "1 ms", "1 ms", "1 ms", "1 ms"),
    )
    assert "own figures" in page_of(tmp_path / "run")[1].text


def test_http_calls_have_a_table(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    delta.timeline[STARTED_AT, "GET /feed"] = row(http_ok=4)
    delta.timeline[STARTED_AT, "POST /login"] = row(http_ok=9, http_failed=1)
    delta.latency[STARTED_AT, "http", "POST /login"] = Histogram.of([1_000_000] * 10)
    writer.append(delta)
    writer._close_files()
    run = load(tmp_path / "run")

    (calls,) = [table for table in report.context(run, [])["tables"] if "HTTP" in table.title]

    assert calls.columns == ("call", "n", "failed", "succeeded", "p50", "p90", "p95", "p99", "p99.9", "max")
    assert calls.rows == (
        ("POST /login", "10", "1", "90.0 %", *["1 ms"] * 6),
        ("GET /feed", "4", "0", "100 %", *[""] * 6),
    )


def test_a_scenario_without_figures_of_its_own_has_no_such_table(reported: Scene) -> None:
    assert "own figures" not in read(reported("refused"))[1].text


def test_an_invalid_run_says_why_and_what_to_do(tmp_path: Path) -> None:
    _, tags = page_of(made(tmp_path / "run", gauges={"cpu_saturated": 1.0, "cpu_share": 0.99}))

    assert "The generator was saturated" in tags.text
    assert "--processes" in tags.text


def test_who_asks_for_nothing_has_empty_cells_and_not_zeros(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    delta.timeline[STARTED_AT, "tasks"] = row(opened=1, requests=5, reply_timeouts=5, sent=5, received=7)
    delta.timeline[STARTED_AT, "feed"] = row(opened=1, received=9)
    delta.timeline[STARTED_AT, "ring"] = row(check_passed=3)
    delta.timeline[STARTED_AT, "echo"] = row(requests=2, replies=2)
    writer.append(delta)
    writer._close_files()

    tables = report.context(load(tmp_path / "run"), [])["tables"]

    (counters,) = [table for table in tables if table.title == "Messages, requests and checks"]
    assert counters.columns == (
        "name", "requests", "replies", "reply timeouts", "sent", "received", "check passed",
    )  # fmt: skip
    assert counters.rows == (
        ("tasks", "5", "0", "5", "5", "7", ""),
        ("feed", "", "", "", "0", "9", ""),
        ("echo", "2", "2", "0", "", "", ""),
        ("ring", "", "", "", "", "", "3"),
    )


def test_only_paths_and_what_was_seen_break_within_words(tmp_path: Path) -> None:
    door = {
        "scenario": "DialogueUser",
        "socket": "dialogue",
        "path": "/v1/dialogues/ws/" + 9 * "27c4b6db",
        "tried": "without credentials",
        "expected": "refused",
        "seen": "403",
        "accepted": False,
    }
    run = load(made(tmp_path / "run", users=1, seconds=2, checks={"doors": [door]}))

    tags = Tags(report.html(run, []))

    first = next(place for place, (tag, _) in enumerate(tags.tags) if tag == "tbody")
    cells = [of.get("class") for tag, of in tags.tags[first:] if tag == "td"][:7]
    assert cells == [None, None, "long", None, None, "long", None]
    style = (Path(report.__file__).parent / "templates" / "style.css").read_text()
    assert ".words td { overflow-wrap: normal; } .words td.long { overflow-wrap: anywhere; }" in style


def test_a_drift_has_the_colour_that_a_gate_of_its_verdict_has(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [Drift(word, word, word, "It is so.") for word in ("fail", "inconclusive", "pass")]
    monkeypatch.setattr(report, "drifts", lambda _: told)

    tags = Tags(report.html(load(scene("healthy")), []))

    boxes = {of["id"]: of["class"] for tag, of in tags.tags if tag == "section"}
    assert boxes == {f"drift-{drift.verdict}": f"finding {BOXES[drift.verdict]} drift" for drift in told}


def test_a_missing_chinese_font_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "run", name="对话")
    monkeypatch.setattr(fonts, "cjk_family", lambda: None)

    _, tags = page_of(path)

    assert "fonts-noto-cjk" in tags.text
    assert "对话" in tags.text


def test_charts_without_data_are_named_with_the_reason(reported: Scene) -> None:
    _, tags = read(reported("refused"))

    assert "How opened sockets ended (no opened socket ended before the run did)" in tags.text


def test_thousands_of_names_make_a_bounded_report(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    for n in range(2000):
        name = f"message {n}"
        delta.timeline[STARTED_AT, name] = row(opened=1, failed=1, requests=1, replies=1)
        if n < 300:
            delta.latency[STARTED_AT, "response", name] = Histogram.of([1_000_000])
    writer.append(delta)
    writer._close_files()

    page, tags = page_of(tmp_path / "run")

    assert len(page) < 2_000_000
    assert "more rows are not shown" in tags.text
    assert "the busiest 4 of 300 names" in page


def test_a_run_with_half_a_line_has_a_report(own_scene: Scene) -> None:
    path = own_scene("mixed")
    file = path / CONNECTIONS_FILE
    file.write_bytes(file.read_bytes()[:-30])

    _, tags = page_of(path)

    assert "connections.csv" in tags.text


# ------------------------------------------------------------------------------------------ the command


def test_report_prints_where_it_is_and_exits_with_0(
    own_scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_scene("session-denied")

    assert main(["report", str(path)]) == 0

    out = capsys.readouterr().out
    assert f"Report: {path / 'report.html'}" in out
    assert "CRITICAL  closed-policy-denied on dialogue" in out
    assert (path / "report.html").exists()


def test_report_of_an_invalid_run_exits_with_0_and_says_so_first(
    own_scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(own_scene("cut"))]) == 0

    out = capsys.readouterr().out
    assert out.index("NOT VALID") < out.index("Report:")


@pytest.mark.parametrize("command", [["report"], ["diagnose"], ["diagnose", "--json"], ["compare"]])
def test_what_is_no_run_is_one_sentence_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    name, *options = command
    runs = [str(tmp_path / "nothing")] * (2 if name == "compare" else 1)

    assert main([name, *runs, *options]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert str(tmp_path / "nothing") in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["report"], ["compare", "one"]])
def test_a_wrong_use_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_one_sentence_and_exit_2(
    own_scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_scene("healthy")
    (path / "charts").write_text("a file where the charts should go")

    assert main(["report", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_analysis_imports_neither_gevent_nor_locust() -> None:
    code = "import sys, analysis.__main__; print({'gevent', 'locust', 'websocket'} & set(sys.modules))"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "set()"


def test_a_long_healthy_run_is_readable(tmp_path: Path) -> None:
    path = made(tmp_path / "run", HEALTHY, users=2, seconds=700)

    _, tags = page_of(path)

    assert "11 min 40 s" in tags.text


def test_a_report_keeps_the_findings_that_the_run_wrote_itself(own_scene: Scene) -> None:
    path = own_scene("mixed")
    (path / FINDINGS_FILE).write_text('["as the run said"]')
    report.write_report(load(path))
    assert json.loads((path / FINDINGS_FILE).read_text()) == ["as the run said"]

    (path / FINDINGS_FILE).unlink()
    run = load(path)
    report.write_report(run)
    written = json.loads((path / FINDINGS_FILE).read_text())
    assert [finding["id"] for finding in written] == [finding.id for finding in run.findings]
