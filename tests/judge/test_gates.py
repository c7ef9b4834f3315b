"""Gates: a file is read whole, and every mistake in it is told at once, with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.judge.figures import DURATIONS, FIGURES, meter
from wsoak.judge.gates import BadGates, Gate, parse_gates
from wsoak.judge.meters import Window

ROOT = Path(__file__).parents[2]


def gates(text: str) -> list[Gate]:
    return parse_gates(text.encode(), "gates.toml")


def mistakes(text: str) -> list[str]:
    with pytest.raises(BadGates) as caught:
        gates(text)
    return caught.value.mistakes


def mistake(expr: str, more: str = "") -> str:
    """What is wrong with one gate, without where it stands."""
    (sentence,) = mistakes(f"[[gates]]\nexpr = '{expr}'\n{more}")
    place, _, clause = sentence.partition(f'"{expr}": ')
    assert place == "gates.toml, line 1, gate 1 "
    return clause


def test_a_gate_has_a_window_and_can_stop_the_run() -> None:
    (gate,) = gates(
        """
        [[gates]]
        name = "no storm"
        expr = "close{code=1006}.rate < 0.1%"
        after = "30s"
        until = "5m"
        abort = true
        delay = "1500ms"
        """
    )
    assert (gate.name, gate.after_s, gate.until_s, gate.abort, gate.delay_s) == (
        "no storm",
        30.0,
        300.0,
        True,
        1.5,
    )
    assert gate.window(1_000.25) == Window(1_030.25, 1_300.25)


def test_a_gate_that_is_an_expression_alone_is_called_by_it() -> None:
    found = gates('gates = ["usable >= 99%", {expr = "usable >= 99%", after = "30s"}]')
    assert [gate.name for gate in found] == ["usable >= 99%", "usable >= 99% (after 30 s)"]
    # the second in which the run began is all its own
    assert found[0].window(1_000.25) == Window(1_000.0)


ISSUE = (
    "handshake.success >= 99.9%",
    "usable >= 99%",
    "response{name=dialogue} p(99) < 250ms",
    "response within 200ms >= 99%",
    "close{code=1006}.rate < 0.1%",
    "reconnect.recovery < 30s",
    "findings{severity=critical} == 0",
    "drift.memory < 2%/h",
    'check{name="an answer"} >= 99%',
    "metric{name=cache_hits}.sum > 100",
    "metric{name=think} p(95) < 3s",
    "gauge{name=queue}.max < 100",
    "gauge{source=target,name=rss_bytes}.max < 500MB",
    "gauge{source=target,name=cpu_share}.mean < 90%",
    "handshake{outcome=rejected-503}.rate < 1%",
    "handshake{outcome=rejected-*,name=dialogue}.count == 0",
    "handshake p(99) < 1s",
    "observed{id=history-lost}.rate < 0.1%",
    "arrivals.served >= 99%",
    "sent.per_second >= 500/s",
    "close{class=policy,initiator=server}.count == 0",
)


@pytest.mark.parametrize("expr", ISSUE)
def test_what_the_documentation_promises_can_be_asked_for_and_measured(expr: str) -> None:
    (gate,) = gates(f"gates = ['{expr}']")
    assert meter(gate.expression, gate.window(0.0))


def test_the_demos_own_gates_are_gates() -> None:
    assert len(parse_gates((ROOT / "gates.toml").read_bytes(), "gates.toml")) > 3


def test_the_documentations_examples_are_gates_and_every_figure_is_in_it() -> None:
    text = (ROOT / "docs" / "gates.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    assert len(blocks) >= 2
    for block in blocks:
        assert gates(block)
    for name in FIGURES:
        base, _, statistic = name.partition(".")
        if base in DURATIONS and statistic in ("mean", "max"):
            continue
        assert f"`{name}`" in text, name
    assert [kind for kind in DURATIONS if f"`{kind}`" not in text] == []


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("handshak.success >= 99%", 'unknown figure "handshak.success"; did you mean "handshake.success"?'),
        ("throughput >= 5", 'unknown figure "throughput"; docs/gates.md lists them.'),
        ("response >= 99%", '"response" is a duration: ask for response p(99) < 250ms, or response within'),
        ("close < 1%", '"close" alone is no figure: ask for close.rate or close.count or close.per_second.'),
        ("findings p(99) < 1s", '"findings" is no duration; p(…) and within go with response'),
        ("respose p(99) < 1s", '"respose" is no duration; did you mean "response"?; p('),
        ("usable >= 99", "the limit of usable must be a share, such as 99.9%, not 99."),
        ("response p(99) < 250", "the limit of response must be a duration, such as 250ms or 30s, not 250."),
        (
            "drift.memory < 2%",
            "the limit of drift.memory must be a share an hour, such as 2%/h or bytes an hour, such as",
        ),
        ("usable >= 100%", "no number of samples can show >= 100%"),
        ("response within 1s > 100%", "no number of samples can show > 100%"),
        ("close{code=1006}.rate <= 0%", "no number of samples can show <= 0%"),
        ("usable >= 101%", "101% is no share"),
        ("usable == 99%", "== fits no measured figure"),
        ("response p(99) == 1s", "== fits no measured figure"),
        ("response p(100) < 1s", "p(100) is no percentile"),
        ("response p(0) < 1s", "p(0) is no percentile"),
        ("response p(99) < 61s", "61s lies outside what is measured: 1 µs to 60 s."),
        ("response within 1ns >= 9%", "1ns lies outside what is measured"),
        ("response within 50% >= 9%", "within needs a duration"),
        (
            "close{cod=1006}.rate < 1%",
            'close.rate has no label "cod"; did you mean "code"?; it has name, code',
        ),
        ("arrivals.served{name=x} > 1%", 'arrivals.served has no label "name"; it has none.'),
        ("close{code=106}.rate < 1%", '"106" is no close code: take 1000 to 4999'),
        ("close{code=9*}.rate < 1%", '"9*" is no close code.'),
        ("findings{severity=critcal} == 0", '"critcal" is no severity; did you mean "critical"?'),
        ("close{initiator=serve}.rate < 1%", '"serve" is no initiator; did you mean "server"?'),
        ("close{detail=heartbeat}.rate < 1%", '"heartbeat" is no detail; did you mean "heartbeat-lost"?'),
        ("close{detail=write-failed}.rate < 1%", '"write-failed" is no detail'),
        ("handshake{outcome=rejected-101}.rate < 1%", 'no handshake is "rejected-101"'),
        ("handshake{outcome=rejected-5030}.rate < 1%", "take a status from 100 to 999"),
        ("close{clean=yes}.rate < 1%", '"yes" is no clean; there are false, true.'),
        ("handshake{outcome=refusd}.rate < 1%", '"refusd" is no outcome; did you mean "refused"?'),
        ("handshake{outcome=ports-exhausted}.rate < 1%", "is not the server's doing, and in no rate."),
        ("handshake.rate < 1%", "handshake.rate needs a label: {outcome=… or phase=…}."),
        ("metric p(99) < 1s", "metric needs a label: {name=…}."),
        ("gauge.max < 5", "gauge.max needs a label: {name=…}."),
        ("observed.rate < 5%", "observed.rate needs a label: {id=…}."),
    ],
)
def test_a_gate_that_asks_for_nothing_that_there_is_is_told_so(expr: str, said: str) -> None:
    # TOML's literal strings hold no apostrophe, and need no escapes
    assert mistake(expr).startswith(said) or said in mistake(expr)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("after = 30", 'after must be a text between quotes, such as "30s".'),
        ('after = "30"', "after: '30' is no duration, such as 30s or 2m."),
        ('after = "1m"\nuntil = "60s"', "until must be later than after."),
        ('abort = "yes"', "abort must be true or false."),
        ('delay = "5s"', "delay goes with abort = true."),
        ("abortt = true", 'unknown key "abortt"; did you mean "abort"?'),
        ('colour = "red"', 'unknown key "colour"; there are expr, name'),
    ],
)
def test_a_wrong_key_or_value_is_told(more: str, said: str) -> None:
    assert mistake("usable >= 99%", more).startswith(said)


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("reconnect.recovery < 30s", "is known only when the run is over"),
        ("drift.memory < 2%/h", "is known only when the run is over"),
        ("request.count >= 1000", "only an upper limit can abort a run"),
        ("request.count == 1000", "only an upper limit can abort a run"),
    ],
)
def test_what_is_not_known_while_the_run_goes_on_cannot_stop_it(expr: str, said: str) -> None:
    assert said in mistake(expr, "abort = true")


@pytest.mark.parametrize(
    "expr", ["findings{severity=critical} == 0", "close.count < 10", "response p(99) < 1s", "usable >= 9%"]
)
def test_what_is_known_while_the_run_goes_on_can(expr: str) -> None:
    assert gates(f"[[gates]]\nexpr = '{expr}'\nabort = true")[0].abort


def test_every_mistake_of_a_file_is_told_at_once_with_its_line() -> None:
    found = mistakes(
        """# a comment
colour = "red"

[[gates]]
expr = "usabel >= 99"

[[gates]]
name = "the second"
expr = "close{code=106, initiator=me}.rate == 1"
after = "soon"

[[gates]]
name = "the third"
"""
    )
    places, clauses = zip(*(sentence.split(": ", 1) for sentence in found), strict=True)
    assert places == (
        "gates.toml",
        'gates.toml, line 4, gate 1 "usabel >= 99"',
        *['gates.toml, line 7, gate 2 "the second"'] * 5,
        'gates.toml, line 12, gate 3 "the third"',
    )
    assert clauses == (
        'unknown key "colour"; gates are listed under [[gates]].',
        'unknown figure "usabel"; did you mean "usable"?',
        '"106" is no close code: take 1000 to 4999, or 4* for all that begin with a 4.',
        '"me" is no initiator; there are client, network, server.',
        "the limit of close.rate must be a share, such as 99.9%, not 1.",
        "== fits no measured figure: ask for < or >, or for a .count, which is exact.",
        "after: 'soon' is no number with a unit, such as 99.9%, 250ms or 30s.",
        'it has no expr, such as expr = "usable >= 99%".',
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there must be 1 to 500 gates"),
        ("gates = []", "there must be 1 to 500 gates"),
        ("[gates]\nexpr = 'usable >= 1%'", '"gates" must be a list: write [[gates]].'),
        ("gates = [7]", "a gate is an expression, or a table"),
        ("gates = [", "gates.toml is not TOML: "),
        ("gates = ['usable >= 9%', 'usable >= 9%']", 'two gates are called "usable >= 9%"'),
        # one of them has another mistake, too
        (
            "[[gates]]\nname='a'\nexpr='usable >= 9'\n[[gates]]\nname='a'\nexpr='usable >= 9%'",
            'two gates are called "a"',
        ),
    ],
)
def test_a_file_without_gates_is_a_mistake(text: str, said: str) -> None:
    assert any(said in sentence for sentence in mistakes(text))


def test_a_file_that_is_no_text_is_a_mistake() -> None:
    with pytest.raises(BadGates, match="not UTF-8"):
        parse_gates(b"\xff\xfe", "gates.toml")


@given(st.binary(max_size=60) | st.text("[gates]='usable >= 9%\n", max_size=60).map(str.encode))
def test_any_bytes_are_gates_or_as_many_sentences(raw: bytes) -> None:
    try:
        found = parse_gates(raw, "gates.toml")
    except BadGates as error:
        assert error.mistakes
        assert all(sentence.startswith("gates.toml") for sentence in error.mistakes)
    else:
        assert tomllib.loads(raw.decode())["gates"]
        assert all(isinstance(gate, Gate) for gate in found)
