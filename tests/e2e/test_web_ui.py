"""Locust's web UI, in a browser: the checks, findings and the verdict are where its users look."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.distributed.cluster import free_port
from tests.e2e.browser import browsing
from tests.e2e.processes import LOCUST, PATIENCE_S, PATIENT, ROOT, UNHURRIED, environment, eventually
from tests.target.client import running

pytestmark = pytest.mark.real


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Locust with its web UI: the page's address, and the process, which is killed if it still lives."""
    with free_port() as port:
        where = ("--web-host", "127.0.0.1", "--web-port", str(port), "--run-dir", str(folder / "run"))
        out = (folder / "locust.out").open("wb")
        with out:
            process = subprocess.Popen(
                [LOCUST, *where, *UNHURRIED, *PATIENT, *arguments],
                cwd=ROOT,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        url = f"http://127.0.0.1:{port}/"
        try:
            eventually(lambda: answers(url), "the web UI is there")
            yield url, process
        finally:
            process.kill()
            process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S):
            return True
    except OSError:
        return False


def test_checks_that_fail_are_in_both_tabs_of_a_page_that_was_open(tmp_path: Path) -> None:
    with (
        served(tmp_path, "EchoUser", "--host", "ws://127.0.0.1:1/x", "-u", "2", "-r", "2") as (url, process),
        browsing(url, tmp_path / "browser") as page,
    ):
        page.click("start", then="current ratio")
        page.click("logs")
        page.shows("Check failed for EchoUser: connect: http://127.0.0.1:1/x cannot be reached")
        page.shows("The run is NOT valid")
        page.click("failures")
        page.shows("CHECK")
        page.shows("connect: http://127.0.0.1:1/x cannot be reached: refused: Connection refused")
        # the page is told at last that the run is over
        page.offers("new")
        process.terminate()
        assert process.wait(PATIENCE_S) == 4


def test_findings_show_while_the_run_goes_on_and_the_summary_at_its_end(tmp_path: Path) -> None:
    load = ("DialogueUser", "--checks", "none", "-u", "3", "-r", "3", "--message-rate", "5")
    with (
        running("--fault", "dialogue:lost-history") as target,
        served(tmp_path, *load, "--host", target.url) as (url, process),
        browsing(url, tmp_path / "browser") as page,
    ):
        page.click("start", then="current ratio")
        page.click("failures")
        page.shows("history-lost")
        assert page.has("FINDING")
        page.click("logs")
        page.shows("CRITICAL history-lost on dialogue")
        assert not page.has("The run took")
        page.click("stop")
        page.shows("The run took")
        page.shows("The run is valid.")
        page.offers("new")
        process.terminate()
        # a finding alone is no failure to Locust, as without a web UI
        assert process.wait(PATIENCE_S) == 0
