"""What templates do oddly, literally, and turns read back: `ODDITIES` and `READINGS` of each `*_cases.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cases import ODDITIES, READINGS, Oddity, Reading
from small_renders import parsed, text_of

oddities = pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: f"{oddity.case.name}, {oddity.line}")


@oddities
def test_it_is_rendered_so(oddity: Oddity) -> None:
    text = text_of(oddity.case.family, oddity.messages, oddity.tools, prompt=oddity.prompt)
    assert text.endswith(oddity.ends)


@oddities
def test_the_template_renders_it_so(oddity: Oddity, reference: Path) -> None:
    theirs = oddity.case.reference(reference)
    for prompt in (False, True):
        text = theirs.text((oddity.messages, oddity.tools), add_generation_prompt=prompt)
        assert text == text_of(oddity.case.family, oddity.messages, oddity.tools, prompt=prompt)
        assert prompt != oddity.prompt or text.endswith(oddity.ends)


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: f"{type(reading.family).__name__}, {reading.what}")
def test_it_is_read_so(reading: Reading) -> None:
    found = parsed(reading.family, reading.text, reading.tools, reading.prompt)
    calls = tuple((call.status, call.name, call.arguments) for call in found.tool_calls)
    said = (found.content, found.reasoning_content, found.reasoning_complete)
    assert (said, calls) == ((reading.content, reading.reasoning, reading.complete), reading.calls)
