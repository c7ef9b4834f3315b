"""Measurements become a table with paired ratios, and the doubts under it."""

import pytest

from bench.contenders import Kind
from bench.measure import Measurement
from bench.processes import ServerSample
from bench.summary import Spread, doubts, rows, table

TOTALS = ServerSample(0, 0, 0, 0, 0, 0, 0.0)


def measured(
    name: str, kind: Kind, number: int, value: float, *remarks: str, foreign: float = 0.0
) -> Measurement:
    return Measurement(name, kind, number, value, 1, 1.0, 1.0, 0.3, foreign, TOTALS, remarks)


def test_ratios_pair_the_runs_of_one_round() -> None:
    # Ratios of medians would give 2.5: the pairs give 2, 3 and 4.
    values = {"plain": (10.0, 20.0, 30.0), "wsoak": (40.0, 60.0, 60.0)}
    runs = [
        measured(name, "echo", n, value) for name in values for n, value in enumerate(values[name], start=1)
    ]
    (row,) = rows(runs)
    assert row.values == {"plain": Spread(10.0, 20.0, 30.0), "wsoak": Spread(40.0, 60.0, 60.0)}
    assert row.ratios == {"wsoak": Spread(2.0, 3.0, 4.0)}


def test_the_table_reads_as_text_and_as_markdown() -> None:
    runs = [
        measured("plain", "memory", 1, 13.25),
        measured("wsoak", "memory", 1, 4.0),
        measured("plain", "echo", 1, 33_012.4),
        measured("wsoak", "echo", 1, 99_037.2),
    ]
    assert table(rows(runs), {"echo": 100, "memory": 2000}, rounds=1).splitlines() == [
        "| median (least–most) of 1                    | plain                  | wsoak                  | wsoak ÷ plain    |",  # noqa: E501
        "| ------------------------------------------- | ---------------------- | ---------------------- | ---------------- |",  # noqa: E501
        "| echo: echoes/s, 100 connections             | 33,012 (33,012–33,012) | 99,037 (99,037–99,037) | 3.00 (3.00–3.00) |",  # noqa: E501
        "| memory: KiB a connection, 2,000 connections | 13.2 (13.2–13.2)       | 4.00 (4.00–4.00)       | 0.30 (0.30–0.30) |",  # noqa: E501
    ]


def test_one_contender_alone_has_no_ratio() -> None:
    (row,) = rows([measured("plain", "echo", 1, 5.0)])
    assert row.ratios == {}


@pytest.mark.parametrize(
    ("name", "values", "remark", "expected"),
    [
        ("calm", (100.0, 105.0), None, []),
        ("far apart", (100.0, 120.0), None, ["echo, plain: the rounds lie 18% apart"]),
        ("remarked", (100.0, 100.0), "odd", ["echo, plain, round 2: odd"]),
    ],
)
def test_doubts_name_the_run(
    name: str, values: tuple[float, float], remark: str | None, expected: list[str]
) -> None:
    remarks = [remark] if remark else []
    runs = [measured("plain", "echo", 1, values[0]), measured("plain", "echo", 2, values[1], *remarks)]
    assert doubts(runs, rows(runs)) == expected, name


def test_noise_is_one_line_with_its_extent_and_does_not_concern_memory() -> None:
    runs = [
        measured("plain", "echo", 1, 100.0, foreign=0.75),
        measured("plain", "echo", 2, 100.0, foreign=0.25),
        measured("plain", "echo", 3, 100.0, foreign=0.01),
        measured("plain", "memory", 1, 100.0, foreign=0.90),
    ]
    (line,) = doubts(runs, rows(runs))
    assert line.startswith("noisy machine: in 2 of 3 runs other processes took up to 75% of a core")
