"""The shapes, against the drawings in their own docstrings, and by properties that no example shows."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.shape_option import KINDS, parse_shape, seconds
from wsoak.load.shapes import Mark, Point, Shape, ramp, replay, soak, spike, step, storm

ARRIVALS: Final = ["seconds,users", "0,1", "8,5", "13,5", "18,3", "18,2", "26,0"]


# ---------------------------------------------------------------------------------------- reading drawings


@dataclass(frozen=True)
class Drawing:
    """What a docstring draws, in seconds and users; labels are sums such as ``ramp+2*every``."""

    option: str
    counts: list[int]
    rows: dict[str, int]
    ticks: dict[str, int]
    marks: list[int]
    drops: list[int]


def read_drawing(docstring: str) -> Drawing:
    """The drawing in a docstring; ``AssertionError`` where it is none."""
    found = re.search(r"Drawn: ``([^`]+)``", docstring)
    assert found, "no option is named"
    lines = inspect.cleandoc(docstring).splitlines()
    rows = [line for line in lines if " ┤" in line]
    axis = next(line for line in lines if "└" in line)
    labels = lines[lines.index(axis) + 1]
    marked = next((line for line in lines if line.lstrip().startswith("marks ")), "")
    left = axis.index("└") + 1
    assert {row.index("┤") for row in rows} == {left - 1}, "the rows do not begin under each other"

    plots = [row[left:] for row in reversed(rows)]
    width = max(len(plot) for plot in plots)
    columns = [[row for row, plot in enumerate(plots) if plot[at : at + 1] == "•"] for at in range(width)]
    assert all(len(column) == 1 for column in columns), "a second has no count, or two"

    ticks = {found.group(): found.start() - left for found in re.finditer(r"\S+", labels)}
    assert sorted(ticks.values()) == _columns(axis[left:], "┬"), "the labels are not under their ticks"
    return Drawing(
        found.group(1),
        [column[0] for column in columns],
        {row[: left - 1].strip(): number for number, row in enumerate(reversed(rows))},
        ticks,
        _columns(marked[left:], "▲▼"),
        _columns(marked[left:], "▼"),
    )


def _columns(text: str, characters: str) -> list[int]:
    return [at for at, character in enumerate(text) if character in characters]


def value_of(label: str, symbols: dict[str, int]) -> int:
    """The value of a label such as ``ramp+2*every``."""
    return sum(
        math.prod(int(factor) if factor.isdigit() else symbols[factor] for factor in term.split("*"))
        for term in label.split("+")
    )


def mismatches(drawing: Drawing, shape: Shape, symbols: dict[str, int]) -> Iterator[str]:
    """Where the drawing and the shape differ."""
    for at_s, count in enumerate(drawing.counts):
        if shape.users_at(at_s) != count:
            yield f"at {at_s} s: drawn {count}, is {shape.users_at(at_s)}"
    if shape.users_at(len(drawing.counts)) is not None or shape.duration_s != len(drawing.counts) - 1:
        yield f"drawn for {len(drawing.counts) - 1} s, lasts {shape.duration_s} s"
    for label, place in [*drawing.rows.items(), *drawing.ticks.items()]:
        if value_of(label, symbols) != place:
            yield f"{label} is drawn at {place}, and is {value_of(label, symbols)}"
    if drawing.marks != [mark.at_s for mark in shape.marks]:
        yield f"marks drawn at {drawing.marks}, are {shape.marks}"
    if drawing.drops != list(shape.drops):
        yield f"drops drawn at {drawing.drops}, are {shape.drops}"


def symbols_of(option: str) -> dict[str, int]:
    """The numbers that an option gives, by key: all of a drawing's are whole."""
    pairs = (pair.split("=") for pair in option.partition(":")[2].split(","))
    return {key: seconds(text) for key, text in pairs if text[0].isdigit()}


@pytest.fixture(autouse=True)
def _in_a_folder_with_arrivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("arrivals.csv").write_text("\n".join(ARRIVALS), encoding="utf-8")


def curve(text: str) -> Shape:
    """A shape that is known before the run, as all are but a search."""
    shape = parse_shape(text)
    assert isinstance(shape, Shape)
    return shape


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"search"}))
def test_a_kind_is_what_its_docstring_draws(name: str) -> None:
    drawing = read_drawing(KINDS[name].make.__doc__ or "")
    assert drawing.option.startswith(f"{name}:")
    assert list(mismatches(drawing, curve(drawing.option), symbols_of(drawing.option))) == []


def test_the_drawn_arrivals_are_those_of_the_docstring() -> None:
    assert [f"``{line}``" in (replay.__doc__ or "") for line in ARRIVALS] == [True] * len(ARRIVALS)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("base ┤••••••  ", "base ┤••••••• "),
        ("peak ┤      •", "peak ┤       "),
        ("•••••••••••\n            0", "••••••••••\n            0"),
        ("┬─────┬───────┬─────────┬", "┬────┬────────┬─────────┬"),
        ("marks        ▲", "marks       ▲ "),
        ("▲       ▲", "▲       ▼"),
        ("peak ┤", "   6 ┤"),
        ("at=6s", "at=5s"),
    ],
)
def test_a_wrong_drawing_is_seen(was: str, becomes: str) -> None:
    docstring = spike.__doc__ or ""
    assert was in docstring
    try:
        drawing = read_drawing(docstring.replace(was, becomes, 1))
    except AssertionError:
        return
    assert list(mismatches(drawing, curve(drawing.option), symbols_of(drawing.option))) != []


# ---------------------------------------------------------------------------------------------- properties

counts = st.integers(0, 1_000)
times = st.integers(1, 10_000)
any_shape = st.one_of(
    st.builds(ramp, from_users=counts, to_users=counts, over_s=times, hold_s=st.integers(0, 100)),
    st.builds(step, start_users=counts, step_users=counts, every_s=times, steps=st.integers(1, 50)),
    st.builds(soak, users=counts, ramp_s=st.integers(0, 99), hold_s=times, down_s=st.integers(0, 99)),
    st.builds(
        spike, base_users=counts, peak_users=counts, at_s=st.integers(0, 99), for_s=times, end_s=st.none()
    ),
    st.builds(
        storm,
        users=counts,
        ramp_s=st.integers(0, 99),
        hold_s=st.just(1_001),
        drops=st.integers(1, 10),
        every_s=st.integers(1, 100),
    ),
)


@given(any_shape, st.floats(0, 1))
def test_users_stay_between_the_corners_until_the_shape_is_over(shape: Shape, share: float) -> None:
    users = shape.users_at(shape.duration_s * share)
    corners = [point.users for point in shape.points]
    assert users is not None
    assert min(corners) <= users <= max(corners) == shape.peak_users
    assert shape.users_at(math.nextafter(shape.duration_s, math.inf)) is None


@given(any_shape)
def test_marks_come_in_order_and_within_the_shape(shape: Shape) -> None:
    at = [mark.at_s for mark in shape.marks]
    assert at == sorted(at)
    assert all(0 <= at_s <= shape.duration_s for at_s in at)


@given(counts, counts, times, st.floats(0, 1), st.floats(0, 1))
def test_a_ramp_never_turns_back(start: int, end: int, over_s: int, one: float, other: float) -> None:
    shape = ramp(from_users=start, to_users=end, over_s=over_s, hold_s=0)
    early, late = (shape.users_at(over_s * share) for share in sorted((one, other)))
    assert early is not None
    assert late is not None
    assert (late - early) * (end - start) >= 0


@given(counts, st.integers(1, 100), times, st.integers(1, 100))
def test_each_step_is_marked_where_it_begins(start: int, rise: int, every_s: int, steps: int) -> None:
    shape = step(start_users=start, step_users=rise, every_s=every_s, steps=steps)
    assert len(shape.marks) == steps
    for number, mark in enumerate(shape.marks):
        users = start + number * rise
        assert shape.users_at(mark.at_s) == users
        assert mark.text.startswith(f"step {number + 1} of {steps}: {users:,} user")


POINTS: Final = st.dictionaries(st.integers(0, 10**9), st.integers(0, 1_000), min_size=2, max_size=30)


@given(POINTS, st.sampled_from([0.5, 1, 2, 10]), st.sampled_from([0.25, 1, 4, 60]))
def test_a_replay_is_the_recorded_curve_scaled_and_sped_up(
    recorded: dict[int, int], scale: float, speed: float
) -> None:
    rows = sorted(recorded.items())
    shape = replay(arrivals=[Point(*row) for row in rows], scale=scale, speed=speed)
    for at_s, users in rows:
        assert shape.users_at((at_s - rows[0][0]) / speed) == int(users * scale + 0.5)


# --------------------------------------------------------------------------------------------------- marks


@pytest.mark.parametrize(
    ("shape", "marks"),
    [
        (ramp(from_users=0, to_users=5, over_s=9, hold_s=0), []),
        (ramp(from_users=0, to_users=5, over_s=9, hold_s=1), [Mark(9, "hold: 5 users")]),
        (soak(users=1, ramp_s=2, hold_s=3, down_s=0), [Mark(2, "hold: 1 user")]),
        (
            soak(users=1_000, ramp_s=2, hold_s=3, down_s=4),
            [Mark(2, "hold: 1,000 users"), Mark(5, "down: 0 users")],
        ),
        (
            spike(base_users=1, peak_users=9, at_s=5, for_s=2, end_s=None),
            [Mark(5, "peak: 9 users"), Mark(7, "base: 1 user")],
        ),
        (
            storm(users=2, ramp_s=1, hold_s=9, drops=2, every_s=3),
            [
                Mark(1, "hold: 2 users"),
                Mark(4, "drop 1 of 2", drop=True),
                Mark(7, "drop 2 of 2", drop=True),
            ],
        ),
    ],
    ids=str,
)
def test_the_record_is_told_what_begins(shape: Shape, marks: list[Mark]) -> None:
    assert list(shape.marks) == marks


def test_a_spike_goes_on_after_its_peak_for_as_long_as_before_unless_told() -> None:
    assert spike(base_users=1, peak_users=9, at_s=30, for_s=10, end_s=None).duration_s == 70
    assert spike(base_users=1, peak_users=9, at_s=30, for_s=10, end_s=45).duration_s == 45


def test_a_soak_without_a_way_down_ends_with_all_its_users() -> None:
    shape = soak(users=7, ramp_s=10, hold_s=20, down_s=0)
    assert (shape.users_at(30), shape.users_at(31)) == (7, None)
