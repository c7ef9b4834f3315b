"""``--shape``: what it takes, and what it says of what it does not."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load import shapes
from wsoak.load.search import Search
from wsoak.load.shape_option import HELP, KINDS, BadShape, parse_shape, seconds, usage
from wsoak.load.shapes import Shape

GOOD: Final[dict[str, Shape]] = {
    "ramp:to=9,over=90": shapes.ramp(from_users=0, to_users=9, over_s=90, hold_s=0),
    "ramp:hold=1m,over=90s,from=3,to=9": shapes.ramp(from_users=3, to_users=9, over_s=90, hold_s=60),
    " ramp : to = 9 , over = 1m30s ": shapes.ramp(from_users=0, to_users=9, over_s=90, hold_s=0),
    "ramp:from=9,to=0,over=1h": shapes.ramp(from_users=9, to_users=0, over_s=3600, hold_s=0),
    "step:start=100,step=50,every=2m,steps=10": shapes.step(
        start_users=100, step_users=50, every_s=120, steps=10
    ),
    "soak:users=500,ramp=2m,hold=8h,down=2m": shapes.soak(users=500, ramp_s=120, hold_s=28_800, down_s=120),
    "soak:users=5,ramp=0,hold=1": shapes.soak(users=5, ramp_s=0, hold_s=1, down_s=0),
    "spike:base=10,peak=100,at=30s,for=10s": shapes.spike(
        base_users=10, peak_users=100, at_s=30, for_s=10, end_s=None
    ),
    "spike:base=0,peak=1,at=0,for=1,end=1": shapes.spike(
        base_users=0, peak_users=1, at_s=0, for_s=1, end_s=1
    ),
    "storm:users=9,ramp=10s,hold=2m,every=30s": shapes.storm(
        users=9, ramp_s=10, hold_s=120, drops=1, every_s=30
    ),
    "storm:users=9,ramp=10s,hold=91s,drops=3,every=30s": shapes.storm(
        users=9, ramp_s=10, hold_s=91, drops=3, every_s=30
    ),
}

BAD: Final[dict[str, list[str]]] = {
    "": ["There is no shape “”, only ramp, step, soak, spike, storm, replay and search."],
    "wave:to=1": ["There is no shape “wave”, only ramp"],
    "ramp": ["The shape ramp needs to=, users at the end", "The shape ramp needs over=, how long the line"],
    "ramp:to=9": ["needs over="],
    "ramp:to=9,over=": ["over=“” is not a duration such as 90, 90s, 2m or 1h."],
    "ramp:to=9,over=5x": ["over=“5x” is not a duration"],
    "ramp:to=9,over=-5": ["over=“-5” is not a duration"],
    "ramp:to=9,over=1m1h": ["over=“1m1h” is not a duration"],
    "ramp:to=9,over=0": ["over=0 is not between 1 and 2,678,400 seconds."],
    "ramp:to=9,over=745h": ["over=745h is not between"],
    "ramp:to=1.5,over=9": ["to=“1.5” is not a whole number."],
    "ramp:to=-1,over=9": ["to=“-1” is not a whole number."],
    "ramp:to=1_0,over=9": ["to=“1_0” is not a whole number."],
    "ramp:to=1000001,over=9": ["to=1000001 is not between 0 and 1,000,000."],
    "ramp:to=1,to=2,over=9": ["The key to is given twice."],
    "ramp:to=1,over=9,": ["“” is not key=value."],
    "ramp:to=1,over=9,\x1b[2J": [r"“\x1b[2J” is not key=value."],
    "ramp:to=5x,over=0,too=1,to=3,boo": [
        "There is no key “too”, only to, over, from and hold.",
        "The key to is given twice.",
        "“boo” is not key=value.",
        "to=“5x” is not",
        "over=0 is not",
    ],
    "step:start=1,step=0,every=9,steps=0": ["step=0 is not between", "steps=0 is not between 1 and 1,000."],
    "step:start=1,step=1000000,every=9,steps=2": ["The last step has more than 1,000,000 users."],
    "soak:users=0,ramp=1,hold=0": ["users=0 is not", "hold=0 is not"],
    "spike:base=5,peak=5,at=10,for=20,end=29": [
        "The peak of 5 users is not above the base of 5.",
        "The shape ends at 29 s, before its peak does: at=10 and for=20 seconds.",
    ],
    "spike:base=5,peak=3,at=x,for=20": [
        "at=“x” is not a duration",
        "The peak of 3 users is not above the base of 5.",
    ],
    "storm:users=9,ramp=1,hold=1m,every=30s,drops=2": [
        "The hold of 60 s leaves no time after the last of 2 drops, one every 30 s."
    ],
    "search:from=9,to=9,hold=4s,resolution=200%,steps=0": [
        "The shape search needs slo=, what is to be kept: an objective such as response p(99) < 250ms.",
        "hold=4s is not between 5 and",
        "resolution=200% is not between 0.001 and 1.",
        "steps=0 is not between 1 and",
        "The most users, 9, are not above the first step's 9.",
    ],
    "search:from=1,to=9,slo=fast please": ["slo: The objective 'fast please' cannot be read: at character"],
    "search:from=1,to=9,slo=responce p(99) < 1s": ['makes no sense: "responce" is no duration; did you'],
    "search:from=1,to=9,slo=response p(99) > 1s,": ["“” is not key=value.", "No capacity can be found for"],
    "search:from=0,to=9,slo=": ["from=0 is not between 1 and", "slo: The objective '' cannot be read"],
    "search:from=1,to=9,slo=close.count < 3": ["it should bound a percentile from above"],
    "replay": ["The shape replay needs file=, the curve: a CSV file with the columns seconds and users."],
    "replay:file=": ["file=“” is not a CSV file"],
    "replay:file=/dev/zero,scale=0,speed=fast": [
        "The file “/dev/zero” does not exist, or is no file.",
        "scale=0 is not between 0.001 and 1,000,000.",
        "speed=“fast” is not a number such as 2 or 0.5.",
    ],
}


SEARCHES: Final = {
    "search:from=5,to=500,slo=response p(99) < 250ms": (5, 500, "response p(99) < 250ms", 30, 0.05, 15),
    "search:slo=response{name=a, name!=b*} within 1s >= 99%,to=9,from=1,hold=1m,resolution=10%,steps=3": (
        *(1, 9, "response{name=a, name!=b*} within 1s >= 99%"),
        *(60, 0.1, 3),
    ),
    "search:from=1,to=2,slo=handshake.success>=99.5%,resolution=0.2": (
        *(1, 2, "handshake.success>=99.5%"),
        *(30, 0.2, 15),
    ),
}


@pytest.mark.parametrize(("text", "meant"), SEARCHES.items(), ids=SEARCHES)
def test_a_search_holds_an_objective_with_all_its_signs(text: str, meant: tuple[object, ...]) -> None:
    search = parse_shape(text)
    assert isinstance(search, Search)
    assert meant == (
        *(search.from_users, search.to_users, search.slo.text),
        *(search.hold_s, search.resolution, search.steps),
    )
    assert search.peak_users == search.to_users


@pytest.mark.parametrize(("text", "shape"), GOOD.items(), ids=GOOD.keys())
def test_a_description_is_a_shape(text: str, shape: Shape) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize(("text", "sentences"), BAD.items(), ids=[repr(text) for text in BAD])
def test_all_mistakes_are_told_at_once_in_sentences(text: str, sentences: list[str]) -> None:
    with pytest.raises(BadShape) as raised:
        parse_shape(text)
    assert len(raised.value.mistakes) == len(sentences), raised.value.mistakes
    for sentence, mistake in zip(sentences, raised.value.mistakes, strict=True):
        assert sentence in mistake
        assert mistake.endswith(".")
    assert f"{raised.value}." == " ".join(raised.value.mistakes)


def test_a_replay_reads_its_file_and_is_checked_with_it(tmp_path: Path) -> None:
    path = tmp_path / "day,1.csv"
    path.write_text("seconds,users\n0,0\n100,40\n", encoding="utf-8")
    curve = path.rename(tmp_path / "day.csv")
    shape = parse_shape(f"replay:file={curve},scale=2,speed=4")
    assert (shape.duration_s, shape.peak_users, shape.users_at(12.5)) == (25, 80, 40)
    with pytest.raises(BadShape) as raised:
        parse_shape(f"replay:file={curve},scale=50000,speed=200")
    assert raised.value.mistakes == [
        "The curve has more than 1,000,000 users.",
        "The curve lasts less than 1 s, or more than 31 days.",
    ]


def test_mistakes_in_a_file_are_told_with_those_in_the_option(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("seconds,users\n0,x\n1,y\n", encoding="utf-8")
    with pytest.raises(BadShape) as raised:
        parse_shape(f"replay:file={path},speed=x")
    assert [mistake.split(" ")[0] for mistake in raised.value.mistakes] == ["Line", "Line", "speed=“x”"]


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("2m", 120),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h1m1s", 3661),
        ("1h5", 3605),
    ],
)
def test_a_duration_is_written_in_seconds_minutes_or_hours(text: str, duration_s: int) -> None:
    assert seconds(text) == duration_s


@pytest.mark.parametrize("text", ["", " ", "s", "h", "1.5m", "-1", "1d", "1s1m", "٣", "1e3", "90 s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        seconds(text)


@given(st.sampled_from(sorted(KINDS)), st.text())
def test_any_text_is_a_shape_or_is_refused_in_sentences(kind: str, text: str) -> None:
    try:
        shape = parse_shape(f"{kind}:{text}")
    except BadShape as error:
        assert error.mistakes
    else:
        assert shape.duration_s > 0


# --------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_a_key_for_each_argument_of_its_function(name: str) -> None:
    kind = KINDS[name]
    assert sorted(key.argument for key in kind.keys) == sorted(inspect.signature(kind.make).parameters)


@pytest.mark.parametrize("name", KINDS)
def test_keys_that_must_be_given_stand_first_and_rules_name_known_keys(name: str) -> None:
    kind = KINDS[name]
    optional = [key.default is not None for key in kind.keys]
    assert optional == sorted(optional)
    assert {key for rule in kind.rules for key in rule.keys} <= {key.name for key in kind.keys}


@pytest.mark.parametrize("name", KINDS)
def test_the_help_shows_each_kind_with_all_its_keys(name: str) -> None:
    assert usage(name) in HELP
    assert all(f"{key.name}=" in usage(name) for key in KINDS[name].keys)
    assert "%" not in HELP, "argparse would take it for a format"


def test_a_usage_line_has_the_defaults_in_brackets() -> None:
    assert usage("ramp") == "ramp:to=N,over=T[,from=0][,hold=0s]"
    assert usage("spike") == "spike:base=N,peak=N,at=T,for=T[,end=T]"
