"""Every chart is drawn from a run, or left out with a reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from analysis import fonts
from analysis.charts import CHARTS, draw_all
from analysis.charts.closes import ages_frame, closes_frame
from analysis.charts.latency import delivery_frame, spectrum_frame
from analysis.charts.openings import outcomes_frame, success_frame
from analysis.charts.traffic import sockets_frame
from analysis.frames import Run, load
from analysis.style import GREY, log_ticks, settings
from tests.analysis.runs import HEALTHY, REFUSED, SCENES, closed, made, rejection
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.rundir import RunWriter

Scene = Callable[[str], Path]

CHINESE = "对话 第一轮 $a$ 🚀"

NOTHING_OPENED = {"phases.png", "latency.png", "spectrum.png", "closes.png", "ages.png", "messages.png"}
LEFT_OUT = {
    "healthy": {"closes.png", "ages.png", "reconnects.png"},
    "datetime-crash": {"latency.png", "spectrum.png", "reconnects.png"},
    "session-denied": {"latency.png", "spectrum.png", "reconnects.png"},
    "lost-history": {"closes.png", "ages.png", "reconnects.png"},
    "route-not-found": NOTHING_OPENED,
    "refused": NOTHING_OPENED,
    "mixed": set[str](),
    "cut": {"closes.png", "ages.png", "reconnects.png"},
    "distributed": {"closes.png", "ages.png", "reconnects.png"},
}
NEVER = {"delivery.png", "drift.png"}
"""No scene has pushes with time-stamps, or is a soak."""
WITH_ARRIVALS = {"distributed"}


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """matplotlib warns of glyphs that no font has, and of layouts that do not fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_has_all_charts_for_which_it_has_data(scene: Scene, tmp_path: Path, name: str) -> None:
    drawn = draw_all(load(scene(name)), tmp_path)

    assert {one.chart.file for one in drawn if one.path is None} == LEFT_OUT[name] | NEVER | (
        set() if name in WITH_ARRIVALS else {"arrivals.png"}
    )
    for one in drawn:
        if one.path is not None:
            height, width, *_ = imread(one.path).shape
            assert (width, height > 500) == (1500, True)
            assert one.n.startswith("n = ")
    assert {path.name for path in tmp_path.iterdir()} == {one.path.name for one in drawn if one.path}


def figures(run: Run) -> Iterator[tuple[str, Figure]]:
    for chart in CHARTS:
        frame = chart.prepare(run)
        if not frame.empty:
            with settings():
                yield chart.file, chart.draw(frame)


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def rendered(run: Run) -> dict[str, str]:
    """All texts of each chart, after it was drawn: warnings of glyphs come then."""
    shown = {}
    for file, figure in figures(run):
        with settings():
            figure.canvas.draw()
        shown[file] = texts(figure)
    return shown


def test_every_chart_carries_its_title_n_and_the_run_s_id(scene: Scene) -> None:
    titles = {chart.file: chart.title for chart in CHARTS}
    for file, figure in figures(load(scene("mixed"))):
        assert titles[file] in texts(figure)
        assert "n = " in texts(figure)
        assert "run mixed" in texts(figure)
        for axes in figure.axes:
            assert axes.get_ylabel()
        assert figure.axes[-1].get_xlabel()


def test_a_chart_of_an_earlier_state_does_not_stay_behind(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "closes.png").write_bytes(b"old")

    draw_all(load(scene("healthy")), tmp_path)

    assert not (tmp_path / "closes.png").exists()


@pytest.mark.skipif(fonts.cjk_family() is None, reason="no Chinese font is installed")
def test_chinese_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    run = load(made(tmp_path / "run", name=CHINESE, run_id=CHINESE))

    shown = rendered(run)

    assert "对话 第一轮 $a$" in shown["latency.png"]
    assert "🚀" not in shown["latency.png"]


def test_without_a_chinese_font_chinese_is_written_as_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "cjk_family", lambda: None)
    run = load(made(tmp_path / "run", name=CHINESE, run_id=CHINESE))

    shown = rendered(run)

    assert "\\u5bf9\\u8bdd" in shown["latency.png"]
    assert "对" not in "".join(shown.values())


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("plain", "plain"),
        ("_private", " _private"),
        ("a\x1bb\nc", "a\\x1bb\\nc"),
        ("\u202ereversed", "\\u202ereversed"),
        ("x" * 60, "x" * 47 + "…"),
    ],
)
def test_labels_are_one_line_that_can_be_drawn(text: str, drawn: str) -> None:
    assert fonts.drawable(text) == drawn


@pytest.mark.parametrize("seconds", [1, 2, 61])
def test_short_runs_can_be_drawn(tmp_path: Path, seconds: int) -> None:
    run = load(made(tmp_path / "run", users=1, seconds=seconds, ramp_s=0))

    drawn = draw_all(run, tmp_path / "charts")

    assert {one.chart.file for one in drawn if one.path} >= {"success.png", "sockets.png"}


def test_a_run_without_anything_has_no_charts(tmp_path: Path) -> None:
    RunWriter(tmp_path / "run", {})._close_files()

    assert all(one.path is None for one in draw_all(load(tmp_path / "run"), tmp_path / "charts"))


def test_pushes_have_a_chart_of_their_delivery(tmp_path: Path) -> None:
    delta = Delta("0", 0)
    for second in range(20):
        delta.latency[1_700_000_000 + second, "delivery", "roadmap"] = Histogram.of(
            [2_000_000] * 99 + [5_000_000]
        )
    writer = RunWriter(tmp_path / "run", {"run_id": "pushed", "started_at": 1_700_000_000.0})
    writer.append(delta)
    writer._close_files()

    run = load(tmp_path / "run")
    frame = delivery_frame(run)

    assert frame.attrs["n"] == "n = 2,000 pushes"
    assert frame["roadmap", "delivery", "p50"].dropna().unique() == pytest.approx([2.0], rel=0.001)
    assert "roadmap (n 2,000)" in rendered(run)["delivery.png"]


def test_all_phases_lie_below_each_phase_thin_and_grey(scene: Scene) -> None:
    figure = dict(figures(load(scene("healthy"))))["phases.png"]

    lines = figure.axes[0].get_lines()

    labels = [line.get_label() for line in lines]
    assert labels[:2] == ["all phases p50", "all phases p99"]
    assert {"upgrade p50", "upgrade p99"} < set(labels[2:])
    # what is drawn first is below what has its order
    assert len({line.get_zorder() for line in lines}) == 1
    assert {line.get_color() for line in lines[:2]} == {GREY}
    assert all(line.get_color() != GREY for line in lines[2:])
    assert max(line.get_linewidth() for line in lines[:2]) < min(line.get_linewidth() for line in lines[2:])


def test_many_ways_to_end_are_summed_up_as_other(tmp_path: Path) -> None:
    run = load(
        made(
            tmp_path / "run",
            lambda user, _attempt, _second: closed(4000 + user) if user % 2 else rejection(400 + user),
            users=60,
        )
    )

    for frame in (closes_frame(run), outcomes_frame(run)):
        assert frame.shape[1] <= 8
        assert frame.columns[-1] == "other"
    assert closes_frame(run).to_numpy().sum() == 30
    assert outcomes_frame(run).to_numpy().sum() == 60
    draw_all(run, tmp_path / "charts")


# ------------------------------------------------------------------------------------------ what is drawn


def test_success_is_the_share_of_what_was_tried_and_a_gap_where_nothing_was(tmp_path: Path) -> None:
    run = load(
        made(
            tmp_path / "run",
            lambda user, _attempt, _second: replace(HEALTHY, usable=user % 4 > 1) if user % 2 else REFUSED,
            users=20,
            ramp_s=5.0,
        )
    )

    frame = success_frame(run)

    assert frame["handshake"].dropna().mean() == pytest.approx(50.0, abs=2)
    assert frame["usable"].dropna().mean() == pytest.approx(50.0, abs=2)
    assert frame["handshake"].isna().sum() >= 14
    assert frame["tried"].sum() == 20


def test_a_cut_run_counts_openings_of_sockets_that_have_no_row(scene: Scene) -> None:
    frame = outcomes_frame(load(scene("cut")))

    assert frame["open"].sum() == 20


def test_sockets_held_are_those_opened_less_those_that_ended(scene: Scene) -> None:
    frame = sockets_frame(load(scene("mixed")))

    assert frame["open"].iloc[-1] == 0
    assert frame["open"].max() <= frame["users"].max() == 32
    assert frame["attempts"].iloc[-1] == 108
    assert frame["opened"].iloc[-1] == 50


def test_sockets_that_the_run_s_end_closed_do_not_hide_the_others(scene: Scene) -> None:
    run = load(scene("mixed"))

    assert closes_frame(run).sum().to_dict() == {"1006 reset by network": 15, "1011 by server": 8}
    assert ages_frame(run).sum().to_dict() == {"abnormal": 15, "server-error": 8}
    assert "27 more held until the run's end" in closes_frame(run).attrs["n"]


def test_the_spectrum_ends_at_the_rarest_sample(scene: Scene) -> None:
    run = load(scene("mixed"))
    response = run.books.histogram("response")

    curve = spectrum_frame(run).query("kind == 'response'")

    assert curve["rarity"].iloc[0] == 1
    assert curve["rarity"].is_monotonic_increasing
    assert curve["rarity"].iloc[-1] <= response.total
    assert curve["ms"].iloc[-1] * 1e6 == pytest.approx(response.max_ns)
    for percent in (50, 90, 99):
        below = curve[curve["rarity"] <= 1 / (1 - percent / 100)]
        assert below["ms"].iloc[-1] * 1e6 == pytest.approx(response.percentile_ns(percent), rel=0.02)


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.9), (0.6, 1.05), (1.2, 1.9), (0.001, 60_000), (15, 700), (3, 4)]
)
def test_logarithmic_axes_always_have_some_ticks_and_never_many(low: float, high: float) -> None:
    axes = Figure().subplots()
    axes.set_yscale("log")
    axes.set_ylim(low, high)

    log_ticks(axes.yaxis, low, high)

    ticks = [tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    # within a decade few, as they touch one another in a low panel
    assert 2 <= len(ticks) <= (4 if high < 10 * low else 10)


def test_percentiles_of_no_durations_are_an_empty_table(scene: Scene) -> None:
    table = load(scene("refused")).binned.percentiles("response", (50,))

    assert isinstance(table, pd.DataFrame)
    assert table.empty
    assert Histogram().percentile_ns(50) is None
