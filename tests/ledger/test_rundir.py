"""The run directory: what was written comes back, whatever happened to writer and disk."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import IO, Any, get_args, get_type_hints

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger import writer_process
from tests.ledger.samples import HOSTILE_TEXTS, connection, deltas
from tests.ledger.test_delta import full_delta
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import HIGHEST_NS, LOWEST_NS, Histogram
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.rundir import (
    CONNECTIONS_FILE,
    GAUGES_FILE,
    LATENCY_FILE,
    OBSERVATIONS_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    TIMELINE_FILE,
    USER_ERRORS_FILE,
    LatencyInterval,
    RunReader,
    RunWriter,
    TimelineRow,
    UnreadableRun,
    UnwritableRun,
    write_json,
)
from wsoak.ledger.timeline import COUNTERS

REPOSITORY = Path(__file__).parents[2]
STARTED_AT = 1_700_000_000
HEADER = {"started_at": STARTED_AT, "command": "locust EchoUser"}
TABLES = (CONNECTIONS_FILE, TIMELINE_FILE, LATENCY_FILE, GAUGES_FILE, OBSERVATIONS_FILE, USER_ERRORS_FILE)

READ: dict[str, Callable[[RunReader], Iterator[Any]]] = {
    CONNECTIONS_FILE: RunReader.connections,
    TIMELINE_FILE: RunReader.timeline,
    LATENCY_FILE: RunReader.latency,
    GAUGES_FILE: RunReader.gauges,
    OBSERVATIONS_FILE: RunReader.observations,
    USER_ERRORS_FILE: RunReader.user_errors,
}


def write_run(path: Path, *parts: Delta, ended: bool = True) -> RunReader:
    """A run with these deltas in it."""
    writer = RunWriter(path, HEADER)
    for delta in parts:
        writer.append(delta)
    if ended:
        writer.finish(ended_at=STARTED_AT + 60)
    return RunReader(path)


def books_of(parts: list[Delta]) -> Books:
    books = Books()
    for delta in parts:
        books.add(delta)
    return books


def is_one_sentence(text: str) -> bool:
    return text.endswith(".") and "\n" not in text and text[0] == text[0].upper()


# ---------------------------------------------------------------------------------------------- round trip


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(deltas(), max_size=3))
def test_everything_written_comes_back_equal(parts: list[Delta]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        reader = write_run(Path(directory) / "run", *parts)
        assert list(reader.connections()) == [record for delta in parts for record in delta.connections]
        assert list(reader.gauges()) == [gauge for delta in parts for gauge in delta.gauges]
        assert list(reader.observations()) == [seen for delta in parts for seen in delta.observations]
        assert list(reader.timeline()) == [
            TimelineRow(second, name, delta.worker, row)
            for delta in parts
            for (second, name), row in delta.timeline.items()
        ]
        assert list(reader.latency()) == [
            LatencyInterval(second, kind, name, histogram)
            for delta in parts
            for (second, kind, name), histogram in sorted(delta.latency.items(), key=lambda item: item[0])
        ]
        assert reader.books() == books_of(parts)
        assert reader.damaged == {}


HOSTILE_IDS = [ascii(text)[:30] for text in HOSTILE_TEXTS]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=HOSTILE_IDS)
def test_a_hostile_text_comes_back_equal_and_forges_no_line(text: str, tmp_path: Path) -> None:
    delta = full_delta(text)
    reader = write_run(tmp_path / "run", delta)
    assert list(reader.connections()) == delta.connections
    assert list(reader.observations()) == delta.observations
    assert reader.books() == books_of([delta])
    heads = dict.fromkeys(TABLES, 1) | {LATENCY_FILE: 4}
    rows = dict.fromkeys(TABLES, 1) | {LATENCY_FILE: 2}  # the interval, and what lay outside its range
    for name in TABLES:
        written = (tmp_path / "run" / name).read_bytes()
        assert written.count(b"\n") == heads[name] + rows[name]
        assert not set(written) & ({*range(0x20), 0x7F} - {0x0A}), f"{name} holds control characters"


def test_halves_of_a_pair_side_by_side_come_back_as_the_character_that_they_are(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", Delta("w", 0, connections=[connection(reason="\ud83d\ude00")]))
    assert [record.reason for record in reader.connections()] == ["😀"]


def test_what_a_server_sent_is_a_json_string_on_disk(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Delta("w", 0, connections=[connection(reason='a "b"')]))
    assert '"""a \\""b\\"""""' in (tmp_path / "run" / CONNECTIONS_FILE).read_text()


def test_a_record_of_nothings_comes_back_as_one(tmp_path: Path) -> None:
    optional = [name for name, kind in get_type_hints(ConnectionRecord).items() if NoneType in get_args(kind)]
    nothings: dict[str, Any] = dict.fromkeys(optional)
    record = connection(**nothings)
    assert len(optional) > 10
    assert list(write_run(tmp_path / "run", Delta("w", 0, connections=[record])).connections()) == [record]


def test_an_empty_run_reads_as_empty_books(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run")
    assert reader.books() == Books()
    assert reader.damaged == {}


def test_the_header_comes_back_even_where_an_option_was_no_text(tmp_path: Path) -> None:
    options = {"run_dir": "r\udce9sultats", "name": "你好", "quote": '"\n'}
    RunWriter(tmp_path / "run", {**HEADER, "options": options}).finish(ended_at=1, how="ended")
    header = RunReader(tmp_path / "run").header
    assert header == {
        "schema_version": SCHEMA_VERSION,
        **HEADER,
        "options": options,
        "ended_at": 1,
        "how": "ended",
    }
    assert "你好" in (tmp_path / "run" / RUN_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize(("header", "run_id"), [({"run_id": "r-7"}, "r-7"), ({}, "run")])
def test_a_run_has_a_name(header: dict[str, Any], run_id: str, tmp_path: Path) -> None:
    RunWriter(tmp_path / "run", header).finish(ended_at=1)
    assert RunReader(tmp_path / "run").run_id == run_id


# ------------------------------------------------------------------------------------------ standard tools


def read_by_hdrhistogram(path: Path) -> list[HdrHistogram]:
    reader = HistogramLogReader(str(path), HdrHistogram(LOWEST_NS, HIGHEST_NS, 3))
    found = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found.append(histogram)
    reader.input_file.close()
    return found


def test_the_latency_log_is_read_by_hdrhistograms_own_reader(tmp_path: Path) -> None:
    values_ns = {
        (STARTED_AT, "response", "a,b\nc"): [5_000, 6_000, 10**12],
        (STARTED_AT, "lag", "dialogue"): [1],
        (STARTED_AT + 1, "response", "dialogue"): list(range(1_000, 3_000_000, 1_000)),
    }
    latency = {key: Histogram.of(values) for key, values in values_ns.items()}
    write_run(tmp_path / "run", Delta("w", 0, latency=latency), Delta("w", 1, latency=latency))
    found = read_by_hdrhistogram(tmp_path / "run" / LATENCY_FILE)
    expected = sorted(latency.items(), key=lambda item: item[0]) * 2
    assert [h.get_total_count() for h in found] == [histogram.total for _, histogram in expected]
    assert [h.get_start_time_stamp() for h in found] == [second * 1000.0 for (second, _, _), _ in expected]
    assert [h.get_tag() for h in found] == ["lag:dialogue", "response:a%2Cb%0Ac", "response:dialogue"] * 2
    assert [h.get_value_at_percentile(50) for h in found] == [h.percentile_ns(50) for _, h in expected]


def test_hdrhistograms_reader_also_sees_intervals_of_a_worker_whose_clock_is_behind(tmp_path: Path) -> None:
    seconds = [STARTED_AT, STARTED_AT - 3, STARTED_AT - 1, STARTED_AT - 5, STARTED_AT + 1]
    parts = [
        Delta("w", seq, latency={(second, "response", "a"): Histogram.of([5_000])})
        for seq, second in enumerate(seconds)
    ]
    reader = write_run(tmp_path / "run", *parts)
    found = read_by_hdrhistogram(tmp_path / "run" / LATENCY_FILE)
    assert [h.get_start_time_stamp() / 1000 for h in found] == seconds
    assert [interval.second for interval in reader.latency()] == seconds


# -------------------------------------------------------------------------------------------- cut or damaged


def small_delta(seq: int) -> Delta:
    second = STARTED_AT + seq
    return Delta(
        worker="w",
        seq=seq,
        timeline={(second, "a\nb"): tuple(range(len(COUNTERS)))},
        latency={
            (second, "lag", "你好"): Histogram.of([7_000]),
            (second, "response", "a"): Histogram.of([1, 5_000, 10**12]),
        },
        connections=[connection(id=f"0.{seq}", reason="你\n,好"), connection(error='"')],
        gauges=[Gauge(second + 0.5, "w", "target", "fds", 0.25)],
        observations=[Observation(second + 0.5, "w", "history-lost", "你好", 1, 9, "m\x00")],
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_file_cut_at_any_byte_loses_at_most_its_last_line_and_says_so(name: str, tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", small_delta(0), small_delta(1))
    whole = (reader.path / name).read_bytes()
    everything = list(READ[name](reader))
    is_row: Callable[[bytes], bool] = (
        (lambda line: line.startswith(b"Tag=")) if name == LATENCY_FILE else (lambda line: line != head)
    )
    head = whole.splitlines(keepends=True)[0]
    for size in range(len(whole)):
        prefix = whole[:size]
        (reader.path / name).write_bytes(prefix)
        complete = [line for line in prefix.splitlines(keepends=True) if line.endswith(b"\n")]
        assert list(READ[name](reader)) == everything[: sum(map(is_row, complete))]
        expected = {} if prefix.endswith(b"\n") or not prefix else {name: 1}
        assert reader.damaged == expected, prefix[-40:]


def test_a_run_with_all_of_its_files_cut_still_gives_books(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", small_delta(0), small_delta(1))
    whole = {name: (reader.path / name).read_bytes() for name in TABLES}
    for cut_bytes in range(1, max(map(len, whole.values())), 7):
        for name, content in whole.items():
            (reader.path / name).write_bytes(content[: max(0, len(content) - cut_bytes)])
        reader.books()
        assert max(reader.damaged.values(), default=0) <= 1


def test_a_header_cut_at_any_byte_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run").path
    whole = (path / RUN_FILE).read_bytes()
    for size in range(len(whole) - 1):
        (path / RUN_FILE).write_bytes(whole[:size])
        with pytest.raises(UnreadableRun) as caught:
            RunReader(path)
        assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (CONNECTIONS_FILE, b"true", b"yes"),
        (CONNECTIONS_FILE, b"1000,1000", b"1000,x"),
        (CONNECTIONS_FILE, b"1000,1000", b"1000"),
        (CONNECTIONS_FILE, b'"""', b'"'),
        (CONNECTIONS_FILE, b"dialogue", b"dia\xfflogue"),
        (CONNECTIONS_FILE, b"dialogue", b"dia\nlogue"),
        (TIMELINE_FILE, b",7,", b",seven,"),
        (TIMELINE_FILE, b",7,", "\u00b2".encode().join([b",", b","])),
        (LATENCY_FILE, b"Tag=", b"Gat="),
        (LATENCY_FILE, b"HISTFAAA", b"HISTF"),
        (LATENCY_FILE, b"#[Outside: 1,1]", b"#[Outside: 1;1]"),
        (GAUGES_FILE, b"0.25", b"0.2.5"),
        (OBSERVATIONS_FILE, b'""', b"'"),
    ],
)
def test_damage_within_a_file_costs_the_damaged_lines_alone(
    name: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    reader = write_run(tmp_path / "run", small_delta(0), small_delta(1))
    everything = list(READ[name](reader))
    content = (reader.path / name).read_bytes()
    assert old in content
    (reader.path / name).write_bytes(content.replace(old, new, 1))
    for _ in range(2):  # the count is that of the last reading
        left = list(READ[name](reader))
        assert len(everything) - 1 <= len(left)
        assert all(item in everything for item in left) or name == LATENCY_FILE
        assert 1 <= reader.damaged[name] <= 2


def test_a_head_that_names_no_columns_of_ours_makes_every_line_damaged(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", small_delta(0))
    lines = (reader.path / CONNECTIONS_FILE).read_text().splitlines(keepends=True)
    (reader.path / CONNECTIONS_FILE).write_text("".join([lines[0].replace("outcome", "income"), *lines[1:]]))
    assert list(reader.connections()) == []
    assert reader.damaged == {CONNECTIONS_FILE: 2}


@pytest.mark.parametrize("name", [name for name in TABLES if name != USER_ERRORS_FILE])
def test_a_missing_table_reads_as_empty_and_damaged(name: str, tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", small_delta(0))
    (reader.path / name).unlink()
    assert list(READ[name](reader)) == []
    assert reader.damaged == {name: 1}


def test_a_timeline_of_an_older_wsoak_has_zeros_for_newer_counters(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run")
    (reader.path / TIMELINE_FILE).write_text("worker,name,second,sent,gone\nw,a,7,5,9\n")
    [row] = reader.timeline()
    assert (row.second, row.name, row.worker) == (7, "a", "w")
    assert dict(zip(COUNTERS, row.counters, strict=True)) == dict.fromkeys(COUNTERS, 0) | {"sent": 5}


def test_connections_of_an_older_wsoak_do_not_say_what_it_did_not_measure(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", small_delta(0))
    before = list(reader.connections())
    path = reader.path / CONNECTIONS_FILE
    later = ConnectionRecord.COLUMNS.index("opening")
    with path.open(newline="") as file:
        rows = [row[:later] for row in csv.reader(file)]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    unknown = ConnectionRecord._field_defaults
    assert list(unknown) == list(ConnectionRecord.COLUMNS[later:])
    assert list(reader.connections()) == [record._replace(**unknown) for record in before]
    assert reader.damaged == {}


# --------------------------------------------------------------------------------- under way, ended, or cut


def state_of(reader: RunReader) -> dict[str, bool]:
    return {"ended": reader.ended, "under_way": reader.under_way, "cut": reader.cut}


def test_a_run_is_under_way_until_it_ends(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", HEADER)
    early = RunReader(tmp_path / "run")
    assert state_of(early) == {"ended": False, "under_way": True, "cut": False}
    writer.update(workers=3)
    assert state_of(RunReader(tmp_path / "run")) == state_of(early)
    writer.finish(ended_at=STARTED_AT + 60)
    assert state_of(RunReader(tmp_path / "run")) == {"ended": True, "under_way": False, "cut": False}
    assert state_of(early) == {"ended": True, "under_way": False, "cut": False}


def test_an_ending_run_looks_cut_at_no_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RunWriter(tmp_path / "run", HEADER)
    seen = []

    def watched_write(path: Path, value: Any) -> None:
        seen.append(RunReader(tmp_path / "run").cut)
        write_json(path, value)
        seen.append(RunReader(tmp_path / "run").cut)

    monkeypatch.setattr("wsoak.ledger.rundir.write_json", watched_write)
    writer.finish(ended_at=STARTED_AT + 60)
    seen.append(RunReader(tmp_path / "run").cut)
    assert seen == [False, False, False]


def test_a_run_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", HEADER)
    reader = RunReader(tmp_path / "run")
    parts = [small_delta(0), small_delta(1)]
    for count, delta in enumerate(parts, 1):
        writer.append(delta)
        assert reader.books() == books_of(parts[:count])
    assert reader.damaged == {}
    writer.finish(ended_at=1)


def start_writer(what: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", writer_process.__name__, what, str(path)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def lines_of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.mark.parametrize("deltas_before", [1, 2, 50])
def test_a_killed_writer_leaves_a_readable_run_that_says_cut(deltas_before: int, tmp_path: Path) -> None:
    with start_writer("append", tmp_path / "run") as process:
        try:
            printed = lines_of(process.stdout)
            for _ in range(deltas_before):
                written = int(printed.readline())
            assert state_of(RunReader(tmp_path / "run")) == {"ended": False, "under_way": True, "cut": False}
        finally:
            process.kill()
        written = max([written, *map(int, printed.read().splitlines()[:-1])])
    reader = RunReader(tmp_path / "run")
    assert state_of(reader) == {"ended": False, "under_way": False, "cut": True}
    books = reader.books()
    found = sum(group.count for group in books.ends.values())
    assert found >= written
    assert books.count("opened") * writer_process.PER_DELTA >= written
    assert max(reader.damaged.values(), default=0) <= 1


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("ended", [True, False])
def test_a_second_writer_on_a_run_is_refused(ended: bool, tmp_path: Path) -> None:
    reader = write_run(tmp_path / "run", small_delta(0), ended=ended)
    before = {file.name: file.read_bytes() for file in reader.path.iterdir()}
    with pytest.raises(UnwritableRun) as caught:
        RunWriter(tmp_path / "run", HEADER)
    assert is_one_sentence(str(caught.value))
    assert "already holds a run" in str(caught.value)
    assert {file.name: file.read_bytes() for file in reader.path.iterdir()} == before


def test_of_two_writers_that_start_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    real_mkdir = Path.mkdir
    winners = []

    def other_writer_comes_first(self: Path, *args: Any, **kwargs: Any) -> None:
        real_mkdir(self, *args, **kwargs)
        monkeypatch.setattr(Path, "exists", lambda _self: False)  # both have looked before either wrote
        monkeypatch.setattr(Path, "mkdir", real_mkdir)
        winners.append(RunWriter(path, HEADER))

    monkeypatch.setattr(Path, "mkdir", other_writer_comes_first)
    with pytest.raises(UnwritableRun) as caught:
        RunWriter(path, HEADER)
    assert is_one_sentence(str(caught.value))
    [winner] = winners
    winner.append(small_delta(0))
    winner.finish(ended_at=1)
    assert RunReader(path).books() == books_of([small_delta(0)])
    assert RunReader(path).damaged == {}


def test_a_table_of_somebody_elses_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / GAUGES_FILE).write_text("mine\n")
    with pytest.raises(UnwritableRun) as caught:
        RunWriter(tmp_path, HEADER)
    assert is_one_sentence(str(caught.value))
    assert [file.name for file in tmp_path.iterdir()] == [GAUGES_FILE]
    assert (tmp_path / GAUGES_FILE).read_text() == "mine\n"


@pytest.mark.parametrize("path", ["file", "file/run"])
def test_a_directory_that_cannot_be_made_is_refused_in_one_sentence(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableRun) as caught:
        RunWriter(tmp_path / path, HEADER)
    assert is_one_sentence(str(caught.value))


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wsoak.ledger.rundir.os.fsync", full)
    with pytest.raises(UnwritableRun, match="No space left on device"):
        RunWriter(tmp_path / "run", HEADER)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_full_disk_is_one_sentence_and_no_piece_of_a_line_stays(tmp_path: Path) -> None:
    with start_writer("fill", tmp_path / "run") as process:
        said = [json.loads(line) for line in lines_of(process.stdout)]
    assert [next(iter(line)) for line in said] == ["append", "update", "finished"]
    assert is_one_sentence(said[0]["append"])
    assert is_one_sentence(said[1]["update"])
    whole = said[0]["deltas"]
    reader = RunReader(tmp_path / "run")
    assert reader.ended
    assert whole > 1
    # the delta that did not fit is lost as far as its file is concerned; the next one is whole again
    assert len(list(reader.connections())) == (whole + 1) * writer_process.PER_DELTA
    assert reader.books().last_s == STARTED_AT + whole + 1
    assert reader.damaged == {}


def replace_header(path: Path, text: str) -> None:
    (path / RUN_FILE).write_text(text)


def put_a_file_in_place_of_it(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


def put_a_folder_in_place_of_the_header(path: Path) -> None:
    (path / RUN_FILE).unlink()
    (path / RUN_FILE).mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(shutil.rmtree, "does not exist", id="nothing there"),
        pytest.param(put_a_file_in_place_of_it, "not a directory", id="a file"),
        pytest.param(lambda path: (path / RUN_FILE).unlink(), "no run.json", id="no header"),
        pytest.param(lambda path: replace_header(path, ""), "not JSON", id="empty header"),
        pytest.param(lambda path: replace_header(path, "{]"), "not JSON", id="garbage"),
        pytest.param(lambda path: replace_header(path, "[" * 100_000), "not JSON", id="deep garbage"),
        pytest.param(lambda path: (path / RUN_FILE).write_bytes(b"\xff\xfe"), "not JSON", id="no text"),
        pytest.param(lambda path: replace_header(path, "[]"), "no schema_version", id="a list"),
        pytest.param(lambda path: replace_header(path, "{}"), "no schema_version", id="no version"),
        pytest.param(
            lambda path: replace_header(path, '{"schema_version": "1"}'),
            "no schema_version",
            id="a text version",
        ),
        pytest.param(
            lambda path: replace_header(path, json.dumps({"schema_version": SCHEMA_VERSION + 1})),
            "update wsoak",
            id="newer",
        ),
        pytest.param(
            put_a_folder_in_place_of_the_header,
            "cannot be read",
            id="a folder",
        ),
    ],
)
def test_a_directory_that_is_no_run_is_refused_in_one_sentence(
    spoil: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    path = write_run(tmp_path / "run").path
    spoil(path)
    with pytest.raises(UnreadableRun) as caught:
        RunReader(path)
    assert is_one_sentence(str(caught.value)), str(caught.value)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_write_json_leaves_the_old_file_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "x.json", {"old": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wsoak.ledger.rundir.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "x.json", {"new": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_columns_of_records_are_those_that_the_design_promises() -> None:
    promised = (
        "id, worker, name, path, started_at, outcome, status, error, resolve_ms, tcp_ms, tls_ms, upgrade_ms, "
        "hello_ms, usable_ms, age_s, code, sent_code, received_code, reason, initiator, clean, detail, "
        "errno, state, messages_sent, messages_received, bytes_sent, bytes_received"
    )
    assert set(promised.split(", ")) <= set(ConnectionRecord.COLUMNS)


def test_a_run_of_a_wsoak_that_kept_no_user_errors_lacks_nothing(tmp_path: Path) -> None:
    reader = write_run(tmp_path / "r", full_delta("x"))
    (tmp_path / "r" / USER_ERRORS_FILE).unlink()

    assert reader.books().user_errors == {}
    assert USER_ERRORS_FILE not in reader.damaged
