"""Runs against what they stand for: one item after the other."""

from __future__ import annotations

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from isc._runs import cut_at, merge, shared

Runs = list[tuple[int, str]]
runs = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), max_size=12)


def unrolled(given_runs: Runs) -> str:
    """What each position holds."""
    return "".join(key * length for length, key in given_runs)


@given(runs)
def test_merged_runs_hold_the_same_and_neighbours_differ(given_runs: Runs) -> None:
    text = unrolled(given_runs)
    assert merge(given_runs) == [(len(list(group)), key) for key, group in groupby(text)]


@given(runs, st.data())
def test_runs_are_cut_where_the_text_is(given_runs: Runs, data: st.DataObject) -> None:
    text = unrolled(given_runs)
    positions = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = list(cut_at([run for run in given_runs if run[0]], positions))
    assert [unrolled(piece) for piece in pieces] == [text[a:b] for a, b in pairwise([0, *positions, len(text)])]
    assert all(length for piece in pieces for length, _ in piece)
    edges = [len(piece) for piece in pieces]
    assert sum(edges) <= sum(length > 0 for length, _ in given_runs) + len(set(positions)), "cut elsewhere, too"


@given(st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_shared_is_the_longest_prefix_of_both(first: str, second: str) -> None:
    count = shared(first, second)
    assert first[:count] == second[:count]
    assert first[count : count + 1] != second[count : count + 1] or count == len(first) == len(second)
