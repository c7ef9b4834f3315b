"""What a server sends is hostile text: no part of it acts on a terminal, a page or a table."""

from __future__ import annotations

import csv
import json
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.e2e.conftest import SERVERS
from tests.e2e.processes import Outcome, analysis, load_until, serving
from wsoak.ledger.books import Books

RATES = ("-u", "15", "-r", "15", "--message-rate", "5")
TEXT_FILES = (".csv", ".json", ".hlog")


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run against a server that means harm, until it has done all that it can."""
    path = tmp_path_factory.mktemp("hostile") / "run"
    with serving(sys.executable, str(SERVERS / "hostile.py")) as server:
        return load_until(
            met_every_harm, "every harm was met", path, "EchoUser", "--host", server.url, *RATES
        )


OUTCOMES = {"rejected-503", "open"}
CODES = {1008, 4999, 1011}
DETAILS = {"protocol-violation", "bad-reason"}


def met_every_harm(books: Books) -> bool:
    quoted = [
        any("</script>" in text for group in books.ends.values() for text in getattr(group, sort).texts)
        for sort in ("reasons", "server_errors", "bodies")
    ]
    return (
        {kind.outcome for kind in books.ends} >= OUTCOMES
        and {kind.code for kind in books.ends} >= CODES
        and {kind.detail for kind in books.ends} >= DETAILS
        and all(quoted)
    )


def controls(text: str) -> set[str]:
    """The characters that act on a terminal instead of being shown; line ends and tabs do no harm."""
    return {
        character
        for character in text
        if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs")
    }


def test_the_run_goes_on_and_its_sockets_met_every_harm(harmed: Outcome) -> None:
    assert "Traceback" not in harmed.said, harmed.said
    records = list(harmed.run.connections())
    assert {record.outcome for record in records} >= OUTCOMES
    assert {record.code for record in records} >= CODES
    assert {record.detail for record in records} >= DETAILS
    assert any("</script>" in record.reason for record in records)
    assert any("</script>" in record.server_error for record in records)
    assert any("</script>" in record.body for record in records)
    assert harmed.run.damaged == {}


def test_nothing_that_it_sent_acts_on_the_terminal(harmed: Outcome) -> None:
    assert controls(harmed.out) == set()
    assert controls(harmed.err) == set()


@pytest.mark.parametrize(("command", "quotes"), [("report", False), ("diagnose", True), ("compare", False)])
def test_nothing_that_it_sent_acts_on_the_terminal_of_the_analysis(
    harmed: Outcome, command: str, quotes: bool
) -> None:
    both = (harmed.path, harmed.path) if command == "compare" else (harmed.path,)
    answer = analysis(command, *both)
    assert answer.returncode == 0, answer.stderr
    assert controls(answer.stdout) == controls(answer.stderr) == set()
    assert (r"\x1b" in answer.stdout) is quotes


def test_the_report_holds_no_script(harmed: Outcome, tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    assert analysis("report", harmed.path).returncode == 0
    assert analysis("compare", harmed.path, harmed.path, "--html", page).returncode == 0
    for file in (harmed.path / "report.html", page):
        text = file.read_text("utf-8")
        assert "&lt;script&gt;alert(1)" in text, "the harm is quoted"
        assert "<script" not in text.lower()
        assert "</script" not in text.lower()
        assert controls(text) == set()


def test_no_file_of_the_run_holds_a_control_character_or_a_forged_row(harmed: Outcome) -> None:
    files = [file for file in harmed.path.iterdir() if file.suffix in TEXT_FILES]
    assert len(files) > 5
    for file in files:
        text = file.read_text("utf-8")
        assert {c for c in controls(text) if unicodedata.category(c) == "Cc"} == set(), file
        if file.suffix == ".json":
            json.loads(text)
        if file.suffix == ".csv":
            assert len({len(row) for row in csv.reader(text.splitlines())}) == 1, file
            assert not any(line.startswith("0,0,forged") for line in text.splitlines())


def test_what_it_sent_is_kept_short(harmed: Outcome) -> None:
    for record in harmed.run.connections():
        assert len(record.body) <= 4096
        assert len(record.server_error) <= 4096
        assert len(record.reason) <= 200
