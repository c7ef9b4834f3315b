"""Run directory: a run on disk. The only module that knows its files.

=================== ==========================================================================
``run.json``        what was run, on what, by whom; how it ended; replaced whole, atomically
``connections.csv`` one row a connection attempt (``records.ConnectionRecord``)
``timeline.csv``    one row a second, name and worker (``timeline.COUNTERS``)
``latency.hlog``    HdrHistogram interval log, a line a second, kind and name, tagged ``kind:name``
``gauges.csv``      one row a reading (``records.Gauge``)
``observations.csv`` one row an observation (``records.Observation``)
``user_errors.csv``  one row an exception of user code and hand-out (``records.UserError``)
=================== ==========================================================================

The tables are only ever appended to, a delta's lines in one ``write`` a file, and every row is one line:
so whatever byte a run was killed at, all but a last, unfinished line can be read. Text that came from a
server is stored as a JSON string, so that no newline or quote in it can forge a row; so is any other text
that is not printable or begins with a quote. The files hold no control characters but line ends.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeVar
from urllib.parse import quote, unquote

from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation, UserError
from wsoak.ledger.timeline import COUNTERS, CounterRow
from wsoak.ledger.units import NS_PER_MS

SCHEMA_VERSION: Final = 1

RUN_FILE: Final = "run.json"
CONNECTIONS_FILE: Final = "connections.csv"
TIMELINE_FILE: Final = "timeline.csv"
LATENCY_FILE: Final = "latency.hlog"
GAUGES_FILE: Final = "gauges.csv"
OBSERVATIONS_FILE: Final = "observations.csv"
USER_ERRORS_FILE: Final = "user_errors.csv"
FINDINGS_FILE: Final = "findings.json"
VERDICT_FILE: Final = "verdict.json"
JUNIT_FILE: Final = "junit.xml"

TIMELINE_COLUMNS: Final = ("second", "name", "worker", *COUNTERS)

SERVER_TEXT_COLUMNS: Final = frozenset({"body", "headers", "reason", "server_error", "text"})
"""Columns that may hold a server's text, and are therefore JSON strings on disk."""

COLUMN_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(("status", "attempt", "code", "sent_code", "received_code", "errno"), int),
    **dict.fromkeys(("messages_sent", "messages_received", "bytes_sent", "bytes_received"), int),
    **dict.fromkeys(("count", "of", "opening"), int),
    **dict.fromkeys(("started_at", "age_s", "idle_s", "quiet_s", "waited_s", "at", "value"), float),
    **dict.fromkeys(("resolve_ms", "tcp_ms", "tls_ms", "upgrade_ms", "hello_ms", "usable_ms"), float),
    **dict.fromkeys(("usable", "clean"), bool),
}
"""The type of each column that is not text; an empty cell in one of these is ``None``."""

_LATER: Final[dict[str, str]] = {
    **dict.fromkeys(COUNTERS, "0"),
    **dict.fromkeys(("opening", "quiet_s", "address", "headers", "waited_s"), ""),
}
"""Columns that an older wsoak may not have written, with the cell that stands for what it did not know."""

_LATER_FILES: Final = frozenset({USER_ERRORS_FILE})
"""Files that an older wsoak did not write: a run without them lacks nothing."""

_OPTIONAL_TEXT: Final = frozenset({"initiator"})
"""Text columns in which an empty cell is ``None`` rather than the empty text."""


class UnreadableRun(Exception):
    """A run directory cannot be read; the message is one sentence for the user."""


class UnwritableRun(Exception):
    """A run directory cannot be made or written; the message is one sentence for the user."""


# a row is one line, however long: the default would refuse texts beyond 128 KiB
csv.field_size_limit(2**31 - 1)

_Converter = Callable[[str], Any]
"""From a cell to a value; raises ``ValueError`` for a cell that is none of ours."""

_Record = TypeVar("_Record", ConnectionRecord, Gauge, Observation, UserError)


# ------------------------------------------------------------------------------------------------ writing


class RunWriter:
    """A run directory being written.

    Args:
        path: the directory; it is made, with its parents, and must not hold a run yet.
        header: what ``run.json`` says besides the schema version: plain JSON values, no secrets.

    Raises:
        UnwritableRun: when it holds a run already, or cannot be made.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.header: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **header}
        self._files: dict[str, IO[bytes]] = {}
        self._log_start_s = int(self.header.get("started_at") or 0)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any((path / name).exists() for name in (RUN_FILE, *_TABLES, LATENCY_FILE)):
                raise UnwritableRun(f"{path} already holds a run; name another directory with --run-dir.")
            self._open(CONNECTIONS_FILE)
            # held while the run is written: a reader can tell a run under way from one that was cut
            fcntl.flock(self._files[CONNECTIONS_FILE], fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name, columns in _TABLES.items():
                self._open(name)
                self._write(name, _csv_text([columns]))
            self._open(LATENCY_FILE)
            self._write(LATENCY_FILE, _hlog_head(self._log_start_s))
            # last: a directory becomes a run when all of its files are there
            write_json(path / RUN_FILE, self.header)
        except OSError as error:
            self._discard()
            raise UnwritableRun(f"The run directory {path} cannot be written: {error.strerror}.") from error

    def append(self, delta: Delta) -> None:
        """Append a delta to the tables.

        Raises:
            UnwritableRun: when the disk refuses, such as when it is full; some of the files may then hold
                their part of the delta, but none holds a piece of a line.
        """
        texts = {
            CONNECTIONS_FILE: _records_text(delta.connections),
            TIMELINE_FILE: _csv_text(
                (second, _cell(name), _cell(delta.worker), *row)
                for (second, name), row in delta.timeline.items()
            ),
            LATENCY_FILE: self._latency_text(delta),
            GAUGES_FILE: _records_text(delta.gauges),
            OBSERVATIONS_FILE: _records_text(delta.observations),
            USER_ERRORS_FILE: _records_text(delta.user_errors),
        }
        try:
            for name, text in texts.items():
                self._write(name, text)
        except OSError as error:
            raise UnwritableRun(f"Writing to {self.path} failed: {error.strerror}.") from error

    def update(self, **fields: Any) -> None:
        """Change fields of ``run.json``, on disk at once.

        Raises:
            UnwritableRun: when the disk refuses; ``run.json`` is then as it was.
        """
        self.header.update(fields)
        try:
            write_json(self.path / RUN_FILE, self.header)
        except OSError as error:
            raise UnwritableRun(f"Writing to {self.path} failed: {error.strerror}.") from error

    def finish(self, **fields: Any) -> None:
        """Say in ``run.json`` how the run ended (``fields``; ``ended_at`` at least), and close the files.

        Raises:
            UnwritableRun: when the disk refuses; the files are closed all the same, and the run reads as cut.
        """
        try:
            self.update(**fields)
        finally:
            # after the update, as this lets go of the lock: at no moment does an ended run look cut
            self._close_files()

    def discard(self) -> None:
        """Take the run back: it never began, so its files go, and its directory where that is then empty."""
        self._close_files()
        for name in (RUN_FILE, LATENCY_FILE, *_TABLES):
            (self.path / name).unlink(missing_ok=True)
        # what else is in it belongs to somebody else
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _latency_text(self, delta: Delta) -> str:
        lines = []
        for (second, kind, name), histogram in sorted(delta.latency.items(), key=lambda item: item[0]):
            # standard readers pass over what lies before the start time: a worker's clock may be behind
            if second < self._log_start_s:
                self._log_start_s = second
                lines.append(_hlog_start(second))
            lines.append(_hlog_line(second, kind, name, histogram))
        return "".join(lines)

    def _open(self, name: str) -> None:
        if name not in self._files:
            # exclusive: of two writers that start at once, one fails
            descriptor = os.open(self.path / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
            # unbuffered: what was written survives a kill of this process
            self._files[name] = os.fdopen(descriptor, "ab", buffering=0)

    def _write(self, name: str, text: str) -> None:
        file = self._files[name]
        size = os.fstat(file.fileno()).st_size
        rest = memoryview(text.encode())
        try:
            while rest:
                # a disk that becomes full takes a part first, and refuses the next
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

    def _discard(self) -> None:
        self._close_files()
        for name in self._files:
            (self.path / name).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all: a reader sees the old text or the new one.

    Raises:
        OSError: when the disk refuses; the old file is still there then.
    """
    # what UTF-8 cannot hold (an option's bytes that were no text) becomes a JSON escape
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; see ``write_json``.

    Raises:
        OSError: when the disk refuses; the old file is still there then.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _csv_text(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """The value as ``csv`` is to write it; numbers and ``None`` as they are."""
    if isinstance(value, str):
        return value if value.isprintable() and not value.startswith('"') else json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _server_cell(text: str) -> str:
    return json.dumps(text) if text else ""


class _Cells(dict[Any, Any]):
    """What a column's values are in the file, each different one converted once."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self._convert = convert

    def __missing__(self, value: Any) -> Any:
        cell = self[value] = self._convert(value)
        return cell


def _records_text(records: Sequence[_Record]) -> str:
    if not records:
        return ""
    columns: list[Iterable[Any]] = list(zip(*(record.as_row() for record in records), strict=True))
    for index, column in enumerate(records[0].COLUMNS):
        # csv itself writes the numbers
        if COLUMN_TYPES.get(column) not in (int, float):
            cells = _Cells(_server_cell if column in SERVER_TEXT_COLUMNS else _cell)
            columns[index] = map(cells.__getitem__, columns[index])
    return _csv_text(zip(*columns, strict=True))


_OUTSIDE: Final = "#[Outside: "


def _hlog_head(start_s: int) -> str:
    return (
        "#[wsoak latencies in nanoseconds, tagged kind:name]\n"
        "#[Histogram log format version 1.3]\n"
        f"{_hlog_start(start_s)}"
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
    )


def _hlog_start(start_s: int) -> str:
    return f"#[StartTime: {start_s}.000 (seconds since epoch)]\n"


def _hlog_line(second: int, kind: str, name: str, histogram: Histogram) -> str:
    # what lies outside the range is in a comment of ours, which standard readers skip
    outside = f"{_OUTSIDE}{histogram.under},{histogram.over}]\n" if histogram.under or histogram.over else ""
    tag = f"{kind}:{quote(name, safe='', errors='surrogatepass')}"
    max_ms = (histogram.max_ns or 0) / NS_PER_MS
    return f"{outside}Tag={tag},{second}.000,1.000,{max_ms:.3f},{histogram.encode().decode()}\n"


_TABLES: Final[dict[str, tuple[str, ...]]] = {
    CONNECTIONS_FILE: ConnectionRecord.COLUMNS,
    TIMELINE_FILE: TIMELINE_COLUMNS,
    GAUGES_FILE: Gauge.COLUMNS,
    OBSERVATIONS_FILE: Observation.COLUMNS,
    USER_ERRORS_FILE: UserError.COLUMNS,
}


# ------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line of ``timeline.csv``: what one worker counted in one second under one name."""

    second: int
    name: str
    worker: str
    counters: CounterRow


@dataclass(frozen=True, slots=True)
class LatencyInterval:
    """One line of ``latency.hlog``: the durations of one second, kind and name."""

    second: int
    kind: str
    name: str
    histogram: Histogram


class Sink(Protocol):
    """Whoever wants to be told all that a run holds, while its books are added up."""

    def take_row(self, second: int, name: str, row: CounterRow, /) -> None:
        """A second's counters of one name and worker."""

    def take_durations(self, second: int, kind: str, name: str, durations: Histogram, /) -> None:
        """A second's durations of one kind and name."""

    def take_connection(self, record: ConnectionRecord, /) -> None:
        """An attempt that has ended."""

    def take_gauge(self, gauge: Gauge, /) -> None:
        """A reading."""

    def take_observation(self, seen: Observation, /) -> None:
        """An observation."""


class RunReader:
    """A run directory being read, whether the run ended, goes on, or was cut at any byte.

    Attributes:
        header: what ``run.json`` says; read anew as long as the run has not ended.
        damaged: lines that could not be read, by file name, when the file was last read; a cut run may have
            one each, and a missing file counts as one.

    Raises:
        UnreadableRun: when the directory holds no run, or one of a newer schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = _read_header(path)
        self.damaged: dict[str, int] = {}

    @property
    def run_id(self) -> str:
        """The run's name: what ``run.json`` says, else the directory's name."""
        return str(self.header.get("run_id") or self.path.resolve().name)

    @property
    def ended(self) -> bool:
        """Whether the run came to its end, and said so."""
        if self.header.get("ended_at") is None:
            self.header = _read_header(self.path)
        return self.header.get("ended_at") is not None

    @property
    def under_way(self) -> bool:
        """Whether a living process on this host is still writing it."""
        return not self.ended and self._locked()

    @property
    def cut(self) -> bool:
        """Whether the run's writer died before the end."""
        # the lock first: whoever let go of it has said before whether the run ended
        return not self._locked() and not self.ended

    def connections(self) -> Iterator[ConnectionRecord]:
        """The records of the attempts that ended, in the order in which they ended."""
        return self._records(CONNECTIONS_FILE, ConnectionRecord)

    def gauges(self) -> Iterator[Gauge]:
        """All gauge readings."""
        return self._records(GAUGES_FILE, Gauge)

    def observations(self) -> Iterator[Observation]:
        """All observations."""
        return self._records(OBSERVATIONS_FILE, Observation)

    def user_errors(self) -> Iterator[UserError]:
        """All exceptions of user code."""
        return self._records(USER_ERRORS_FILE, UserError)

    def timeline(self) -> Iterator[TimelineRow]:
        """The timeline's rows; one second and name can have several, which add up."""
        for second, name, worker, *counters in self._converted(TIMELINE_FILE, _TIMELINE_CONVERTERS):
            yield TimelineRow(second, name, worker, tuple(counters))

    def latency(self) -> Iterator[LatencyInterval]:
        """The latency log's intervals; one second, kind and name can have several, which add up."""
        under = over = 0
        for line in self._lines(LATENCY_FILE):
            try:
                if line.startswith(_OUTSIDE):
                    under, over = map(int, line.removeprefix(_OUTSIDE).removesuffix("]").split(","))
                elif not line.startswith(("#", '"')):
                    yield _interval(line, under, over)
                    under = over = 0
            except ValueError:
                self._damage(LATENCY_FILE)
                under = over = 0

    def table(self, file_name: str) -> bytes:
        """A CSV table's complete lines as they are, for a reader that takes whole columns at once.

        The first line names the columns, and ``COLUMN_TYPES`` and ``SERVER_TEXT_COLUMNS`` say how to read
        their cells; empty where there is no such file.
        """
        try:
            raw = (self.path / file_name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise UnreadableRun(f"{self.path / file_name} cannot be read: {error.strerror}.") from error
        return raw[: raw.rfind(b"\n") + 1]

    def books(self, *sinks: Sink) -> Books:
        """The whole run added up; ``sinks`` are told all of it by the way, so that it is read once."""
        books = Books()
        for row in self.timeline():
            books.add_row(row.second, row.name, row.counters)
            for sink in sinks:
                sink.take_row(row.second, row.name, row.counters)
        for interval in self.latency():
            books.add_histogram(interval.kind, interval.name, interval.histogram)
            for sink in sinks:
                sink.take_durations(interval.second, interval.kind, interval.name, interval.histogram)
        for record in self.connections():
            books.add_connection(record)
            for sink in sinks:
                sink.take_connection(record)
        for gauge in self.gauges():
            books.add_gauge(gauge)
            for sink in sinks:
                sink.take_gauge(gauge)
        for observation in self.observations():
            books.add_observation(observation)
            for sink in sinks:
                sink.take_observation(observation)
        for error in self.user_errors():
            books.add_user_error(error)
        return books

    def _records(self, file_name: str, record_type: type[_Record]) -> Iterator[_Record]:
        converters = {column: _converter(column) for column in record_type.COLUMNS}
        for values in self._converted(file_name, converters):
            yield record_type(*values)

    def _converted(self, file_name: str, converters: dict[str, _Converter]) -> Iterator[list[Any]]:
        """Each row's values of these columns, wherever the file's first line says that they are."""
        lines = self._lines(file_name)
        columns = _split(next(lines, ""))
        lacking = [column for column in converters if column not in columns]
        if not _LATER.keys() >= set(lacking):
            for _ in lines:
                self._damage(file_name)
            return
        unknown = [_LATER[column] for column in lacking]
        known = (*columns, *lacking)
        wanted = [(known.index(column), convert) for column, convert in converters.items()]
        for line in lines:
            cells = _split(line)
            try:
                if len(cells) != len(columns):
                    raise ValueError("another number of cells")
                cells += unknown
                values = [convert(cells[index]) for index, convert in wanted]
            except ValueError:
                self._damage(file_name)
            else:
                yield values

    def _locked(self) -> bool:
        """Whether a writer holds the lock."""
        try:
            with (self.path / CONNECTIONS_FILE).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        return False

    def _lines(self, file_name: str) -> Iterator[str]:
        """The file's complete lines without their ends; an unfinished last line counts as damaged."""
        self.damaged.pop(file_name, None)
        try:
            file = (self.path / file_name).open("rb")
        except FileNotFoundError:
            if file_name not in _LATER_FILES:
                self._damage(file_name)
            return
        except OSError as error:
            raise UnreadableRun(f"{self.path / file_name} cannot be read: {error.strerror}.") from error
        with file:
            for raw in file:
                try:
                    line = raw.decode()
                except UnicodeDecodeError:
                    line = ""
                if line.endswith("\n"):
                    yield line[:-1]
                else:
                    self._damage(file_name)

    def _damage(self, file_name: str) -> None:
        self.damaged[file_name] = self.damaged.get(file_name, 0) + 1


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        wrong = "is not a directory" if path.exists() else "does not exist"
        raise UnreadableRun(f"The run directory {path} {wrong}.")
    try:
        header = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableRun(f"{path} is not a run directory: it has no {RUN_FILE}.") from None
    except OSError as error:
        raise UnreadableRun(f"{path / RUN_FILE} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableRun(f"{path / RUN_FILE} is damaged: it is not JSON ({error}).") from error
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(version, int):
        raise UnreadableRun(f"{path / RUN_FILE} names no schema_version: it is not a run of wsoak's.")
    if version > SCHEMA_VERSION:
        raise UnreadableRun(
            f"{path} has schema version {version}, and this wsoak reads up to {SCHEMA_VERSION}: update wsoak."
        )
    return dict(header)


def _interval(line: str, under: int, over: int) -> LatencyInterval:
    tag, start, _, _, encoded = line.split(",", 4)
    if not tag.startswith("Tag="):
        raise ValueError("an interval without a tag")
    kind, _, name = tag.removeprefix("Tag=").partition(":")
    histogram = Histogram.decode(encoded, under, over)
    return LatencyInterval(int(float(start)), kind, unquote(name, errors="surrogatepass"), histogram)


def _split(line: str) -> list[str]:
    """A CSV line's cells; none where it is not CSV."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _text(cell: str) -> str:
    return _json_text(cell) if cell.startswith('"') else cell


def _server_text(cell: str) -> str:
    return _json_text(cell) if cell else ""


def _json_text(cell: str) -> str:
    text = json.loads(cell)
    if not isinstance(text, str):
        raise ValueError("JSON, but no string")
    return text


def _optional_text(cell: str) -> str | None:
    return _text(cell) if cell else None


def _flag(cell: str) -> bool | None:
    if cell not in ("true", "false", ""):
        raise ValueError(f"neither true nor false: {cell!r}")
    return cell == "true" if cell else None


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None


def _real(cell: str) -> float | None:
    return float(cell) if cell else None


def _number(cell: str) -> float:
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)


def _converter(column: str) -> _Converter:
    kind = COLUMN_TYPES.get(column)
    if kind is not None:
        return {bool: _flag, int: _whole, float: _real}[kind]
    if column in SERVER_TEXT_COLUMNS:
        return _server_text
    return _optional_text if column in _OPTIONAL_TEXT else _text


_TIMELINE_CONVERTERS: Final[dict[str, _Converter]] = {
    "second": int,
    "name": _text,
    "worker": _text,
    **dict.fromkeys(COUNTERS, _number),
}
