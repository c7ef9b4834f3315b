"""Ids: no two messages of a run have the same."""

from __future__ import annotations

from itertools import islice

from wsoak.load.ids import LENGTH, Ids, leading_id


def test_ids_differ_within_a_process_and_between_processes() -> None:
    processes = [Ids() for _ in range(50)]
    made = [ids.new() for ids in processes for _ in islice(processes, 20)]

    assert len(set(made)) == len(made)
    assert {len(key) for key in made} == {LENGTH}
    assert all(leading_id(key) == key for key in made)


def test_only_what_begins_with_an_id_has_one() -> None:
    key = Ids().new()
    assert leading_id(key + "and more") == key
    assert leading_id(f" {key}") is None
    assert leading_id(key[:-1]) is None
