"""What is printed never ends what prints: other encodings, readers that have gone, closed descriptors."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from wsoak.judge.streams import never_fail_to_encode, say

SENTENCE = "p99 – of 3 × “läuft” 审 \udce4 µs ≤ 2 …"


@pytest.mark.parametrize(
    ("encoding", "errors", "shown"),
    [
        ("ascii", "strict", '"l?uft" ? ? us <= 2 ...'),
        ("ascii", "surrogateescape", '"l?uft" ? ? us <= 2 ...'),
        ("ascii", "backslashreplace", '"l?uft" ? ? us <= 2 ...'),
        ("latin-1", "strict", '"läuft" ? ? µs <= 2 ...'),
        ("utf-8", "strict", "“läuft” 审 ? µs ≤ 2 …"),
        ("ascii", "ignore", "luft   s  2 "),
    ],
)
def test_what_cannot_be_encoded_is_replaced(
    encoding: str, errors: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding, errors=errors))
    never_fail_to_encode()
    never_fail_to_encode()
    assert say(SENTENCE, sys.stdout)
    assert raw.getvalue().decode(encoding).strip().endswith(shown.strip())


def test_streams_that_are_not_there_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    never_fail_to_encode()
    assert not say("a line", sys.stdout)
    assert say("a line", sys.stderr)


def test_a_closed_stream_is_silent() -> None:
    closed = io.StringIO()
    closed.close()
    assert not say("a line", closed)


def test_a_reader_that_has_gone_costs_no_exit_code() -> None:
    reading, writing = os.pipe()
    # not os.close, which gevent puts off where another test has let it
    os.fdopen(reading, "rb", buffering=0).close()
    code = "import sys; from wsoak.judge.streams import say; say('a', sys.stdout); print('b'); sys.exit(7)"
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run([sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, check=False)
    # Python's own for a failed flush at its exit is 120
    assert (done.returncode, done.stderr) == (7, b"")
