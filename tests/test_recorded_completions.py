"""The whole record of `canitoolcall`, by families and by traced templates: docs/parses.md lists each disagreement."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import isc
from isc.encoding.encoders import embedded
from recorded_completions import Recorded, differs, family_of, has_record, read, recorded, traced_of

pytestmark = pytest.mark.skipif(not has_record(), reason="canitoolcall is not installed (dependency group test)")
RECORD = list(recorded()) if has_record() else []
MODELS = sorted({one.model for one in RECORD})
WAYS: dict[str, Callable[[Recorded], isc.Family | None]] = {"family": family_of, "traced": traced_of}


def listed(root: Path, way: str) -> set[str]:
    """The completions that docs/parses.md says are read otherwise, by families or by traced templates."""
    text = (root / "docs" / "parses.md").read_text(encoding="utf-8")
    return set(re.findall(rf"^\| `([^`]+)` \| [^|]*\b{way}\b", text, re.MULTILINE))


def differences(model: str, way: str) -> dict[str, str]:
    differences: dict[str, str] = {}
    for one in RECORD:
        family = WAYS[way](one) if one.model == model else None
        difference = differs(one, read(one, family)) if family is not None else None
        if difference is not None:
            differences[one.name] = difference
    return differences


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_a_recorded_completion_is_read_as_the_record_says(root: Path, model: str, way: str) -> None:
    """What is cut off or malformed is never a call that is ok; every other disagreement is listed."""
    found = differences(model, way)
    names = {one.name for one in RECORD if one.model == model and WAYS[way](one) is not None}
    assert {name: found[name] for name in found.keys() - listed(root, way)} == {}
    assert (listed(root, way) & names) - found.keys() == set()
    assert not {one.name for one in RECORD if not one.is_parse} & found.keys()


@pytest.mark.parametrize("way", ["family", "traced"])
def test_most_of_the_record_is_compared(way: str) -> None:
    compared = sum(WAYS[way](one) is not None for one in RECORD)
    assert compared >= 300


def test_a_last_answer_of_kimi_k2_6_keeps_its_reasoning_where_all_is_preserved() -> None:
    """The record's own render of `kimi/k26-no-call` has it: by default the template drops it."""
    (one,) = (one for one in RECORD if one.name == "kimi/k26-no-call")
    answer = {
        "role": "assistant",
        "content": one.row["expected"]["content"],
        "reasoning_content": one.row["expected"]["reasoning_content"],
    }
    for preserved, expected in ((True, f"<think>{one.row['raw_output']}"), (False, "<think></think>Paris")):
        family = isc.KimiK25(variant="k2.6", preserve_thinking=preserved)
        segments = isc.create_renderer(embedded(family.specials), family).segments(
            [{"role": "user", "content": "x"}, answer]
        )
        assert expected in "".join(segment.text for segment in segments)
