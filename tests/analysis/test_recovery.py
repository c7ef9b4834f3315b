"""Mass drops are found from the sockets' own times, and so is when their users were back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.charts import reconnects
from analysis.compare import as_json, compare, side
from analysis.frames import CONNECTION_COLUMNS, load, read_connections
from analysis.recovery import MassDrop, mass_drops, sentences
from tests.analysis.runs import HEALTHY, SCENES, STARTED_AT, Way, closed, made, rejection, restarts
from tests.judge import booked
from tests.judge.booked import START_S, broken, failed, healthy
from wsoak.judge.drops import AttemptLog
from wsoak.judge.drops import mass_drops as drops_in
from wsoak.ledger.outcomes import DROPPED
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.rundir import RunReader

Scene = Callable[[str], Path]
INSTANT: dict[str, Any] = {"tcp_ms": 0.0, "upgrade_ms": 0.0}


def reset(opened_s: float, ended_s: float, **fields: Any) -> ConnectionRecord:
    """A socket that was reset."""
    return broken("reset", opened_s, age_s=ended_s - opened_s, **INSTANT, **fields)


def held(opened_s: float, ended_s: float = 60.0, **fields: Any) -> ConnectionRecord:
    """A socket that the run's end closed."""
    return healthy(opened_s, age_s=ended_s - opened_s, **INSTANT, **fields)


def frame_of(records: Iterable[ConnectionRecord]) -> pd.DataFrame:
    """The rows as ``read_connections`` gives them."""
    frame = pd.DataFrame([{c: getattr(r, c) for c in CONNECTION_COLUMNS} for r in records])
    frame["code"] = pd.to_numeric(frame["code"])
    frame["age_s"] = pd.to_numeric(frame["age_s"])
    frame["reason"] = [json.dumps(r.reason) for r in records]
    frame["opened_at"] = [r.started_at + r.handshake_ms / 1000 for r in records]
    frame["ended_at"] = [r.ended_at for r in records]
    return frame


def drops_of(records: list[ConnectionRecord], users: int = 0) -> list[MassDrop]:
    books = booked.books(records, gauges=[("users", float(users))] if users else [])
    return mass_drops(frame_of(records), books)


BEFORE = 200
DROP = [reset(0.01 * n, 10.0 + 0.00005 * n) for n in range(BEFORE)]
BACK = [held(12.0 + 0.0101 * n, attempt=1) for n in range(BEFORE)]
WHOLE = 0.95 * BEFORE


def test_recovery_is_exact_by_the_times_of_the_sockets_themselves() -> None:
    (drop,) = drops_of(DROP + BACK, users=100)

    assert drop.at == pytest.approx(START_S + 10.0)
    assert (drop.open_before, drop.dropped, drop.name) == (BEFORE, BEFORE, None)
    assert drop.took_s == pytest.approx(0.00005 * (BEFORE - 1), abs=1e-6)
    assert drop.recovered_s == pytest.approx(2.0 + 0.0101 * 189, abs=1e-5)
    assert drop.ways == {"1006 reset by network": BEFORE}
    assert drop.exact
    assert (drop.attempts, drop.rejected, drop.failed) == (190, 0, 0)
    # those that began from 12 s to 13 s
    assert (drop.peak, drop.peak_per_user_s) == (100, 1.0)


def test_attempts_until_then_are_told_by_their_outcome() -> None:
    tries = [
        *[failed("rejected-503", at_s=10.5 + 0.001 * n, attempt=1) for n in range(300)],
        *[failed("refused", "tcp", at_s=11.5, attempt=2) for _ in range(50)],
        failed("cancelled", at_s=11.6, attempt=2),
        failed("rejected-503", at_s=11.7),
        failed("rejected-503", at_s=30.0, attempt=1),
    ]
    (drop,) = drops_of(DROP + BACK + tries, users=BEFORE)

    assert (drop.attempts, drop.rejected, drop.failed) == (190 + 350, 300, 50)
    assert drop.rejected_share == pytest.approx(300 / 540)
    assert (drop.peak, drop.peak_per_user_s) == (300, 1.5)


@pytest.mark.parametrize(("back", "recovered"), [(189, False), (190, True)])
def test_nearly_95_percent_is_not_95_percent(back: int, recovered: bool) -> None:
    (drop,) = drops_of(DROP + BACK[:back])

    assert (drop.recovered_s is not None) == recovered
    assert drop.most_back == back


def test_where_nobody_comes_back_none_were_open_at_best() -> None:
    (drop,) = drops_of([*DROP, held(0.0), held(1.0)])

    assert (drop.recovered_s, drop.most_back, drop.open_before) == (None, 2, BEFORE + 2)
    assert (drop.attempts, drop.peak, drop.rejected_share, drop.peak_per_user_s) == (0, 0, None, None)


def spread(count: int, over_s: float, age_s: float, end: Callable[..., ConnectionRecord]) -> list[Any]:
    """Sockets that open evenly over this time, and end at one age."""
    return [end(over_s * n / count, over_s * n / count + age_s) for n in range(count)]


def by_code(code: int) -> Callable[[float, float], ConnectionRecord]:
    def made_(opened_s: float, ended_s: float) -> ConnectionRecord:
        return booked.closed(code, opened_s, age_s=ended_s - opened_s, **INSTANT)

    return made_


NO_DROPS: dict[str, list[ConnectionRecord]] = {
    "nothing at all": [],
    "no socket ever opened": [failed("refused", "tcp", at_s=0.01 * n) for n in range(500)],
    "the end of the run": [held(0.01 * n) for n in range(200)],
    "sockets that their client closes": [
        healthy(0.01 * n, age_s=10, reason="done", **INSTANT) for n in range(200)
    ],
    "sockets whose work is done": [by_code(1000)(0.001 * n, 10.0) for n in range(200)],
    "too few": [reset(0.0, 10.0) for _ in range(9)],
    "too small a share": [*[reset(0.0, 10.0) for _ in range(39)], *[held(0.0) for _ in range(161)]],
    "one after the other": [reset(0.0, 10.0 + 0.1 * n) for n in range(100)] + [held(0.0) for _ in range(100)],
    "steady coming and going": spread(2000, 60.0, 2.0, reset),
    "sockets that are closed as soon as they open": spread(5000, 20.0, 0.01, by_code(1008)),
}


@pytest.mark.parametrize("records", NO_DROPS.values(), ids=NO_DROPS)
def test_what_is_no_mass_drop_is_not_called_one(records: list[ConnectionRecord]) -> None:
    assert (
        drops_of(records) == []
        if records
        else mass_drops(
            pd.DataFrame({**{c: [] for c in CONNECTION_COLUMNS}, "opened_at": [], "ended_at": []}),
            booked.books(),
        )
        == []
    )


@pytest.mark.parametrize("scene_name", ["healthy", "refused", "route-not-found", "lost-history", "cut"])
def test_scenes_without_a_mass_drop_have_none(scene: Scene, scene_name: str) -> None:
    assert load(scene(scene_name)).mass_drops == []


def test_what_ends_by_chance_shortly_before_is_not_its_beginning() -> None:
    strays = [reset(0.0, 9.2), reset(0.0, 9.5), reset(0.0, 9.9)]

    (drop,) = drops_of(DROP + strays)

    assert drop.at == pytest.approx(START_S + 10.0)
    assert drop.open_before == BEFORE


def test_what_ends_by_chance_after_it_does_not_delay_the_recovery() -> None:
    # 0.8 s after the drop, when all are back, one of the last survivors ends as well
    survivors = [reset(0.0, 10.8), *[held(0.0) for _ in range(3)]]
    back = [held(10.2 + 0.0001 * n, attempt=1) for n in range(BEFORE)]

    (drop,) = drops_of(DROP + survivors + back)

    assert drop.recovered_s is not None
    assert 0.2 < drop.recovered_s < 0.23


def test_a_second_drop_of_those_who_came_back_is_a_drop_of_its_own() -> None:
    back = [reset(12.0 + 0.001 * n, 20.0, attempt=1) for n in range(BEFORE)]
    again = [held(21.0 + 0.01 * n, attempt=1) for n in range(BEFORE)]

    first, second = drops_of(DROP + back + again)

    assert first.recovered_s == pytest.approx(2.189, abs=1e-4)
    assert second.at == pytest.approx(START_S + 20.0)
    assert second.recovered_s == pytest.approx(1.0 + 1.89, abs=1e-4)


def test_a_drop_that_takes_three_seconds_is_one_drop() -> None:
    slow = [reset(0.0, 10.0 + 0.015 * n) for n in range(200)]

    (drop,) = drops_of(slow + BACK)

    assert drop.dropped == 200
    assert drop.took_s == pytest.approx(2.985, abs=1e-3)


def test_a_drop_in_a_short_run_is_found() -> None:
    (drop,) = drops_of([reset(0.0, 1.5) for _ in range(20)])

    assert (drop.dropped, drop.recovered_s) == (20, None)


def test_a_drop_of_one_small_name_among_many_is_found() -> None:
    others = [held(0.0, name="echo") for _ in range(1000)]

    (drop,) = drops_of(DROP[:50] + others + BACK[:50])

    assert (drop.name, drop.open_before, drop.dropped) == ("dialogue", 50, 50)
    assert drop.recovered_s == pytest.approx(2.0 + 0.0101 * 47, abs=1e-4)


def test_a_drop_of_all_names_is_told_once() -> None:
    others = [reset(0.0, 10.001, name="echo") for _ in range(300)]

    (drop,) = drops_of(DROP + others)

    assert (drop.name, drop.dropped) == (None, 500)


def naive(records: list[ConnectionRecord], drop: MassDrop) -> float | None:
    """The recovery by playing all events one after the other."""
    events = sorted(
        [(r.started_at + r.handshake_ms / 1000, 1, r) for r in records if r.age_s is not None]
        + [(r.ended_at, -1, r) for r in records if r.age_s is not None],
        key=lambda event: (event[0], -event[1]),
    )
    hit = sorted(
        r.ended_at
        for r in records
        if r.initiator == "network" and r.started_at < drop.at <= r.ended_at <= drop.at + drop.took_s
    )
    over = hit[-(-len(hit) * 95 // 100) - 1]
    open_now = 0
    for at, step, _ in events:
        open_now += step
        if at >= over and open_now * 100 >= drop.open_before * 95 and at > drop.at:
            return at - drop.at
    return None


@settings(deadline=None, max_examples=60)
@given(
    before=st.integers(30, 80),
    survivors=st.integers(0, 30),
    spread_s=st.floats(0, 0.2),
    waits=st.lists(st.floats(0.3, 20), min_size=0, max_size=110),
)
def test_recovery_is_that_of_a_replay_of_all_events(
    before: int, survivors: int, spread_s: float, waits: list[float]
) -> None:
    records = [
        *[reset(0.0, 5.0 + spread_s * n / before) for n in range(before)],
        *[held(0.5) for _ in range(survivors)],
        *[held(5.0 + wait, attempt=1) for wait in waits],
    ]
    (drop,) = drops_of(records)

    assert (drop.dropped, drop.open_before) == (before, before + survivors)
    expected = naive(records, drop)
    if expected is None:
        assert drop.recovered_s is None
    else:
        assert drop.recovered_s == pytest.approx(expected, abs=2e-6)


# ----------------------------------------------------------------------------------- from run directories


def dropped_at_8(_user: int, attempt: int, second: float) -> Way:
    """All are closed at 8 s; the server is back at 10 s, and rejects until then."""
    if second < 8 and attempt == 0:
        return closed(1012, age_s=8 - second, reconnect=True, retry_s=0.3)
    return rejection(503, reconnect=True, retry_s=0.3) if second < 10 else HEALTHY


def test_a_run_on_disk_has_its_drop(tmp_path: Path) -> None:
    run = load(made(tmp_path / "run", restarts, users=40))
    (drop,) = run.mass_drops

    assert drop.at - STARTED_AT == pytest.approx(8.0, abs=0.01)
    assert (drop.dropped, drop.ways) == (40, {"1012 by server": 40})
    assert drop.recovered_s == pytest.approx(2.0, abs=0.1)
    opened = sorted(run.connections["opened_at"][run.connections["opened_at"] > drop.at + 2])
    assert drop.recovered_s is not None
    assert drop.at + drop.recovered_s == pytest.approx(opened[37], abs=1e-5)
    assert drop.failed == 40 * 3


def test_what_is_read_alone_is_what_a_run_reads(tmp_path: Path) -> None:
    path = made(tmp_path / "run", dropped_at_8, users=40)
    reader = RunReader(path)

    assert mass_drops(read_connections(reader), reader.books()) == load(path).mass_drops != []


def test_in_a_cut_run_those_still_open_count_by_the_second(tmp_path: Path) -> None:
    whole = load(made(tmp_path / "whole", dropped_at_8, users=40)).mass_drops
    cut = load(made(tmp_path / "cut", dropped_at_8, users=40, cut=True)).mass_drops

    assert whole[0].recovered_s is not None
    assert cut[0].recovered_s is not None
    assert (whole[0].exact, cut[0].exact) == (True, False)
    assert (cut[0].at, cut[0].dropped, cut[0].open_before) == (whole[0].at, whole[0].dropped, 40)
    assert 0 <= cut[0].recovered_s - whole[0].recovered_s <= 1
    assert "to the second" in sentences(cut, STARTED_AT)[0]


def test_a_drop_is_a_sentence_above_the_charts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(tmp_path / "run", dropped_at_8, users=40, options={"reconnect": "immediate"})
    assert main(["report", str(path)]) == 0
    capsys.readouterr()
    page = (path / "report.html").read_text()

    assert page.index('id="mass-drops"') < page.index("<h2>Charts</h2>")
    assert " s, 40 of 40 open sockets (100 %) ended within" in page
    assert "<li>At 8.00" in page
    assert "95 % as many were open again after 2." in page
    assert "of them were rejected" in page
    assert (path / "charts" / "reconnects.png").exists()


def test_a_report_without_a_drop_has_no_such_part(reported: Scene) -> None:
    assert "mass-drops" not in (reported("healthy") / "report.html").read_text()


def test_the_chart_names_the_policy_and_marks_the_drop(tmp_path: Path) -> None:
    run = load(made(tmp_path / "run", dropped_at_8, users=40, options={"reconnect": "immediate"}))

    frame = reconnects.frame(run)

    assert "policy immediate" in frame.attrs["n"]
    ((at, back),) = frame.attrs["drops"]
    assert at == pytest.approx(8.0, abs=0.01)
    assert 10 < back < 10.5
    tried = int((run.connections["attempt"] > 0).sum())
    assert frame.to_numpy().sum() * 40 == pytest.approx(tried)
    # seven a user in two seconds are rejected, and one opens
    assert frame[reconnects.OPENED].sum() == pytest.approx(1.0)
    assert frame[reconnects.FAILED].sum() == pytest.approx(tried / 40 - 1)


@pytest.mark.parametrize("options", [{}, {"reconnect": None}])
def test_the_chart_of_a_run_without_a_policy_names_none(tmp_path: Path, options: dict[str, Any]) -> None:
    run = load(made(tmp_path / "run", dropped_at_8, users=12, options=options))

    assert "policy" not in reconnects.frame(run).attrs["n"]


def test_compare_sets_the_recoveries_side_by_side(tmp_path: Path, scene: Scene) -> None:
    never = made(tmp_path / "never", lambda _u, _a, second: closed(1012, age_s=8 - second), users=40)
    back = made(tmp_path / "back", dropped_at_8, users=40)

    table = {row[0]: row[1:] for row in compare(side(str(never)), side(str(back))).rows}

    assert table["mass drops"] == ("1", "1")
    before, after = table["recovery to 95 %"]
    assert before == "never"
    assert after.startswith("2.")
    healthy_one = str(scene("healthy"))
    table = {row[0]: row[1:] for row in compare(side(healthy_one), side(f"{back},{never}")).rows}
    assert table["recovery to 95 %"][0] == "no mass drop"
    assert table["mass drops"] == ("0", "1 (1 to 1)")
    plain = json.loads(as_json(compare(side(str(never)), side(str(back)))))
    assert plain["before"][0]["mass_drops"][0]["recovered_95_s"] is None
    assert plain["after"][0]["mass_drops"][0]["dropped"] == 40


def test_many_rows_are_looked_through_in_one_go() -> None:
    """Every socket of a long run of short ones is ended by the server, and one real drop is among them."""
    short = spread(30_000, 300.0, 0.05, by_code(1008))

    (drop,) = drops_of([*short, *[reset(100.0, 200.0) for _ in range(100)]])

    assert drop.dropped >= 100
    assert drop.at == pytest.approx(START_S + 200.0, abs=0.1)


def test_every_scene_can_be_read(scene: Scene) -> None:
    for name in SCENES:
        run = load(scene(name))
        assert len(sentences(run.mass_drops, run.started_at)) == len(run.mass_drops)


# ------------------------------------------------------------------------------------- whoever reads a run


def stormed(_user: int, attempt: int, second: float) -> Way:
    """The shape drops all at 8 s; the server is back at 10 s."""
    if second < 8 and attempt == 0:
        asked = {"initiator": "client", "reason": DROPPED}
        return closed(1001, age_s=8 - second, reconnect=True, retry_s=0.3, **asked)
    return rejection(503, reconnect=True, retry_s=0.3) if second < 10 else HEALTHY


def test_a_storm_of_the_shape_is_in_the_report_the_chart_and_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path / "run", stormed, users=40)
    (drop,) = load(path).mass_drops

    assert (drop.dropped, drop.open_before) == (40, 40)
    assert drop.ways == {"1001 dropped by the shape": 40}
    assert drop.recovered_s is not None
    assert drop.recovered_s == pytest.approx(2.0, abs=0.2)
    assert reconnects.frame(load(path)).attrs["drops"] == [
        (
            pytest.approx(drop.at - int(STARTED_AT)),
            pytest.approx(drop.at + drop.recovered_s - int(STARTED_AT)),
        )
    ]
    table = {row[0]: row[1:] for row in compare(side(str(path)), side(str(path))).rows}
    assert table["mass drops"] == ("1", "1")
    assert main(["report", str(path)]) == 0
    capsys.readouterr()
    page = (path / "report.html").read_text()
    assert 'id="mass-drops"' in page
    assert "40 × 1001 dropped by the shape." in page


def as_told(drop: MassDrop) -> dict[str, Any]:
    """A drop for a comparison: sums of times are the same to a microsecond in any order."""
    times = ("at", "took_s", "recovered_95_s")
    return {
        key: pytest.approx(value, abs=2e-6) if key in times and value is not None else value
        for key, value in drop.to_json().items()
    }


@pytest.mark.parametrize("name", [*SCENES, "storm"])
def test_the_terminal_reads_of_the_rows_what_the_report_does(name: str, scene: Scene, tmp_path: Path) -> None:
    path = made(tmp_path / "run", stormed, users=40) if name == "storm" else scene(name)
    log = AttemptLog()
    books = RunReader(path).books(log)

    assert [drop.to_json() for drop in drops_in(log.attempts(), books)] == list(
        map(as_told, load(path).mass_drops)
    )
