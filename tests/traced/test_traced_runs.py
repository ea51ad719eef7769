"""Runs of traced text are merged and cut as `isc._runs` says, which has a property of its own for each."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from isc._runs import cut_at, merge
from isc.traced.origins import DATA, TEMPLATE, Kind, Run, cut, merged, of_message, place_of

ORIGINS = (TEMPLATE, DATA, of_message(Kind.BODY, 0))
PLACES = (None, place_of(0, False), place_of(0, True))
runs = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(ORIGINS), st.sampled_from(PLACES)), max_size=12)


@given(runs)
def test_runs_of_three_are_merged_as_pairs_are(given_runs: list[Run]) -> None:
    pairs = merge((length, (origin, place)) for length, origin, place in given_runs)
    assert merged(given_runs) == [(length, *key) for length, key in pairs]


@given(runs, st.data())
def test_runs_of_three_are_cut_as_pairs_are(given_runs: list[Run], data: st.DataObject) -> None:
    """Spans are every second piece between their edges."""
    whole = tuple(run for run in given_runs if run[0])
    edges = sorted(data.draw(st.lists(st.integers(0, sum(run[0] for run in whole)), max_size=8)))
    spans = list(pairwise(edges))[::2]
    pieces = list(cut_at(((length, (origin, place)) for length, origin, place in whole), chain.from_iterable(spans)))
    assert list(cut(whole, spans)) == [tuple((length, *key) for length, key in piece) for piece in pieces[1::2]]
