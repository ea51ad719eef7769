"""Every difference between isc.compat and `renderers` has a name and a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cases import Case
from isc.formats.catalogue import family_name
from peers.differences import of_bridge, of_parse, of_render
from peers.reasons import BRIDGED, PARSED, REASONS, RENDERED
from peers.sides import SHARED, conversations, sides, turns

COUNT = 120


@pytest.fixture(scope="module")
def seen() -> Counter[str]:
    """How often each difference occurred, over all cases."""
    return Counter()


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_every_difference_has_a_reason(case: Case, reference: Path, seen: Counter[str]) -> None:
    both = sides(case, reference)
    asked = family_name(both.ours.renderer.family).removesuffix("-harmony")
    assert asked == family_name(case.family), "the configuration asks for another format"
    rendered = [
        of_render(both, conversation, add_generation_prompt=prompt)
        for _, conversation in conversations(case, COUNT)
        for prompt in (False, True)
    ]
    following = [turn for _, turn in turns(both, COUNT)]
    found = {
        "render": Counter(name for names in rendered for name in names),
        "bridge": Counter(name for turn in following for name in of_bridge(both, turn)),
        "parse": Counter(name for turn in following for name in of_parse(both, turn)),
    }
    assert len(following) > COUNT
    assert {name for names in found.values() for name in names} - REASONS.keys() == set(), found
    seen.update(name for names in found.values() for name in names)


def test_no_reason_is_left_over(seen: Counter[str]) -> None:
    """Runs last: a difference that is gone takes its reason along."""
    assert REASONS.keys() - seen.keys() == set()


def test_a_difference_has_one_reason() -> None:
    assert len(REASONS) == len(RENDERED) + len(BRIDGED) + len(PARSED)
