"""Clock: what a reading can tell, and a server with a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.session import rest, script, session
from tests.wire.harness import Certificates, Peer, listening, until
from wsoak.ledger.names import CLOCK, CLOCK_OFFSET, CLOCK_UNCERTAINTY, CLOCK_UNKNOWN
from wsoak.ledger.recorder import Recorder
from wsoak.load import clock
from wsoak.load.clock import DRIFT, Clocks, Offset, Reading, agrees, best, offset_of, unix_ns_of
from wsoak.load.sequence import Sequence
from wsoak.wire.dial import tls_context
from wsoak.wire.endpoint import Endpoint

NOW_NS = 1_700_000_000_000_000_000
S, MS = 10**9, 10**6
SPANS = st.integers(0, 10 * S)


@given(st.integers(-(10**6) * S, 10**6 * S), SPANS, SPANS)
def test_the_true_offset_is_never_further_than_the_uncertainty(
    offset_ns: int, to_ns: int, fro_ns: int
) -> None:
    reading = Reading(NOW_NS, NOW_NS + to_ns + offset_ns, NOW_NS + to_ns + fro_ns)
    found = offset_of(reading)
    assert abs(found.offset_ns - offset_ns) <= found.uncertainty_ns
    assert found.uncertainty_ns == (to_ns + fro_ns + 1) // 2


@given(st.integers(-S, S), st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=8))
def test_the_shortest_round_trip_is_the_best(offset_ns: int, ways: list[tuple[int, int]]) -> None:
    offsets = [
        offset_of(Reading(NOW_NS, NOW_NS + to_ns + offset_ns, NOW_NS + to_ns + fro_ns))
        for to_ns, fro_ns in ways
    ]
    found = best(offsets, NOW_NS + 20 * S)
    assert found is not None
    assert found.uncertainty_ns <= min(map(sum, ways)) / 2 + 1 + DRIFT * 20 * S
    assert all(agrees(old, new) for old in offsets for new in offsets)


def test_an_estimate_grows_less_certain_until_a_poorer_one_is_better() -> None:
    old = Offset(0, 1 * MS, NOW_NS)
    assert old.uncertainty_at(NOW_NS) == 1 * MS
    assert old.uncertainty_at(NOW_NS + 100 * S) == 1 * MS + 1_500_000
    new = Offset(0, 2 * MS, NOW_NS + 100 * S)
    assert best([old, new], new.at_ns) is new
    assert best([], NOW_NS) is None


def test_a_clock_that_was_set_does_not_agree_with_what_it_was() -> None:
    old = Offset(5 * MS, 1 * MS, NOW_NS)
    assert agrees(old, Offset(7 * MS, 1 * MS, NOW_NS))
    assert not agrees(old, Offset(8 * MS, 1 * MS, NOW_NS))
    assert agrees(old, Offset(8 * MS, 1 * MS, NOW_NS + 100 * S))


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1970-01-01T00:00:00.000000Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1_000),
        ("2030-01-02T03:04:05.000006Z", 1_893_553_445_000_006_000),
        ("2030-01-02T03:04:05.000006+00:00", 1_893_553_445_000_006_000),
        ("2030-01-02T05:04:05.000006+02:00", 1_893_553_445_000_006_000),
        ("2030-01-02T03:04:05.000006", 1_893_553_445_000_006_000),
        ("1969-12-31T23:59:59Z", -1_000_000_000),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000_000_000),
        ("", None),
        ("now", None),
        ("2030-13-02T03:04:05Z", None),
        (1_893_553_445, None),
        (None, None),
        ({}, None),
    ],
)
def test_a_time_stamp_is_read_to_the_microsecond(stamp: object, expected: int | None) -> None:
    assert unix_ns_of(stamp) == expected


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_no_microsecond_is_lost(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert unix_ns_of(aware.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == expected


# A server.

Answer = Callable[[], bytes]


def health(ahead_s: float = 0.0) -> bytes:
    """A health's body, by a clock that is so far ahead."""
    moment = datetime.now(UTC) + timedelta(seconds=ahead_s)
    return b'{"status": "healthy", "time": "%s"}' % moment.isoformat().encode()


def serving(body: Answer, status: str = "200 OK") -> Callable[[Peer], None]:
    """A script that answers each request on a connection with this body."""

    def serve(peer: Peer) -> None:
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                data = peer.sock.recv(65536)
                if not data:
                    return
                head += data
            assert head.startswith(b"GET /api/health HTTP/1.1\r\n")
            answer = body()
            length = str(len(answer)).encode()
            peer.send(
                b"HTTP/1.1 " + status.encode() + b"\r\nContent-Length: " + length + b"\r\n\r\n" + answer
            )

    return serve


def looked(url: str, tls: Any = None) -> tuple[Offset | None, dict[str, float], Clocks]:
    """The offset of a server, and the gauges that tell of it."""
    recorder = Recorder("0")
    clocks = Clocks(recorder, tls)
    found = clocks.offset(Endpoint.of(url + "/api"), "/health")
    gauges = recorder.take().gauges
    assert {gauge.source for gauge in gauges} == {CLOCK}
    return found, {gauge.name: gauge.value for gauge in gauges}, clocks


@pytest.mark.parametrize("ahead_s", [0.0, 7200.0, -3.5])
def test_a_server_s_clock_is_found_with_a_bound(ahead_s: float) -> None:
    began_ns = time.perf_counter_ns()
    with listening(serving(lambda: health(ahead_s))) as listener:
        found, gauges, _ = looked(listener.url)
    took_ns = time.perf_counter_ns() - began_ns
    assert found is not None
    # our recorder's Unix time is not read at the same moment as the server's: a few microseconds
    assert abs(found.offset_ns - round(ahead_s * S)) <= found.uncertainty_ns + 5 * MS
    assert found.uncertainty_ns < 5 * S
    assert gauges.keys() == {CLOCK_OFFSET, CLOCK_UNCERTAINTY}
    assert gauges[CLOCK_OFFSET] == pytest.approx(found.offset_ns / MS)
    # it grows from the reading on until it is written down
    least_ns, most_ns = found.uncertainty_ns, found.uncertainty_ns + DRIFT * took_ns
    assert least_ns - 1 <= gauges[CLOCK_UNCERTAINTY] * MS <= most_ns + 1
    assert listener.accepted == 1


def test_a_clock_is_read_over_tls(certificates: Certificates) -> None:
    with listening(serving(health), certificates.of_server()) as listener:
        found, _, _ = looked(listener.url, tls_context(str(certificates.authority), None))
    assert found is not None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"status": "healthy"}', "200 OK"),
        (b'{"time": "soon"}', "200 OK"),
        (b'{"time": 5}', "200 OK"),
        (b"[]", "200 OK"),
        (b"not JSON", "200 OK"),
        (b"[" * 60_000, "200 OK"),
        (b" " * (clock.MAX_BODY_BYTES + 1) + b"{}", "200 OK"),
        (health(), "503 Service Unavailable"),
        (health(), "302 Found"),
    ],
)
def test_a_server_that_does_not_tell_the_time_is_said_to(
    body: bytes, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(serving(lambda: body, status), may_fail=True) as listener:
        found, gauges, _ = looked(listener.url)
    assert found is None
    assert gauges == {CLOCK_UNKNOWN: 1.0}
    assert "does not say what time it has" in caplog.text


def test_nobody_waits_for_ever_for_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "READ_TIMEOUT_S", 0.1)
    with listening(lambda peer: peer.wait_for_end()) as silent:
        found, gauges, _ = looked(silent.url)
    assert (found, gauges) == (None, {CLOCK_UNKNOWN: 1.0})


def test_all_who_need_a_clock_share_one_look_at_it() -> None:
    with listening(serving(health)) as listener:
        clocks = Clocks(Recorder("0"), tls_context(None, None))
        endpoint = Endpoint.of(listener.url + "/api")
        asked = [gevent.spawn(clocks.offset, endpoint, "/health") for _ in range(50)]
        gevent.joinall(asked, raise_error=True)
        assert len({each.value for each in asked}) == 1
        assert listener.accepted == 1
        clocks.stop()


def test_an_estimate_is_made_anew_when_it_is_old_or_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "FIRST_REFRESH_S", 0.01)
    ahead, told = [0.0], [0]

    def tell() -> bytes:
        told[0] += 1
        return health(ahead[0])

    with listening(serving(tell), may_fail=True) as listener:
        recorder = Recorder("0")
        clocks = Clocks(recorder, tls_context(None, None))
        endpoint = Endpoint.of(listener.url + "/api")

        def offset() -> Offset:
            found = clocks.offset(endpoint, "/health")
            assert found is not None
            return found

        assert abs(offset().offset_ns) < 30 * S
        # somebody sets the server's clock
        ahead[0] = 3600.0
        clocks.doubt(endpoint, "/health")
        until(lambda: offset().offset_ns > 3000 * S)
        assert listener.accepted >= 2
        clocks.stop()
        # all that was asked before is answered when one that asks last is
        with gevent.socket.create_connection(("127.0.0.1", listener.port)) as last:
            last.sendall(b"GET /api/health HTTP/1.1\r\n\r\n")
            assert last.recv(1)
        before = told[0]
        gevent.sleep(0.05)
        offset()
        assert told[0] == before
    assert len([gauge for gauge in recorder.take().gauges if gauge.name == CLOCK_OFFSET]) >= 2


# A user.


def stamped(ago_s: float) -> str:
    """A time in the past."""
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()


def test_a_user_times_pushes_by_the_server_s_clock_and_watches_their_numbers(tmp_path: Path) -> None:
    said: list[float | None] = []

    def body(user: Any) -> None:
        def push(ago_s: float) -> None:
            # as a server would whose clock is two hours ahead
            said.append(user.delivered("feed", stamped(ago_s - 7200), time.perf_counter_ns()))

        push(2.0)
        push(-60.0)
        said.append(user.delivered("feed", "yesterday", time.perf_counter_ns()))
        user.delivery("relay", 0.25)
        user.delivery("relay", 1e9)
        sequence = Sequence(1)
        now_ns = time.perf_counter_ns()
        for seq in (1, 2, 2, 5, 4, 8):
            sequence.feed(seq, now_ns - (9 - seq) * 1_000_000_000)
        user.observe_sequence("feed", sequence)
        user.observe_sequence("feed", sequence)
        rest()

    users = script(body, health_path="/health")
    with listening(serving(lambda: health(7200.0)), may_fail=True) as listener:
        host = listener.url.replace("ws", "http") + "/api"
        with session(users, host=host, run_dir=tmp_path / "r") as made:
            made.start()
            until(lambda: ("messages-reordered", "feed") in made.books().observations)
            books = made.stop().books()
    late, early, none = said
    assert none is None
    assert late is not None
    assert early is not None
    assert 1.5 < late < 30
    assert -60.5 < early < -30
    feed = books.histogram("delivery", "feed")
    assert (feed.total, feed.under, feed.over) == (2, 1, 0)
    relay = books.histogram("delivery", "relay")
    assert (relay.total, relay.over) == (2, 1)
    seen = {key[0]: (summary.count, summary.of) for key, summary in books.observations.items()}
    assert seen == {
        "sequence-gap": (3, 8),
        "messages-repeated": (1, 6),
        "messages-reordered": (1, 6),
    }
    # dated by the pushes that showed the gaps, and not by when somebody looked
    gaps = books.observations["sequence-gap", "feed"]
    assert gaps.last_s - gaps.first_s == pytest.approx(3.0, abs=1e-3)
    assert books.observations["sequence-gap", "feed"].texts.texts == ["number 3 never came"]
    names = {name for _, source, name in books.gauges if source == CLOCK}
    assert names == {CLOCK_OFFSET, CLOCK_UNCERTAINTY}
