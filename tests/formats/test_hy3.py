"""Hy3's options that take an answer up again: renders equal the template's, a retried turn is read past its mark."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hy3_cases import TAKEN_UP

import isc
from cases import Case
from isc import testing
from isc.encoding.encoders import embedded
from isc.formats.hy3 import Hy3
from small_renders import renderer_of
from spelled_ids import ids_of

RETRY = Hy3(fallback_strategy="reasoning_toolcall_retry")
CALL = (
    "<tool_calls:opensource>\n<tool_call:opensource>f<tool_sep:opensource>\n</tool_call:opensource>\n"
    "</tool_calls:opensource>"
)


@pytest.mark.parametrize("case", TAKEN_UP, ids=lambda case: case.name)
def test_random_conversations_equal_the_template(case: Case, reference: Path) -> None:
    renderer, independent = case.renderer(embedded(case.family.specials)), case.reference(reference)
    for seed in range(300):
        source = random.Random(seed)
        conversation = testing.Writer(source, case.shape()).conversation()
        testing.parity(renderer, conversation, independent, add_generation_prompt=source.random() < 0.5)


def test_a_retried_turn_begins_with_a_mark_that_the_model_writes() -> None:
    renderer = renderer_of(RETRY)
    prompt = renderer.render([{"role": "user", "content": "a"}], add_generation_prompt=True)
    said = ids_of(renderer, f"<｜hy_Assistant:opensource｜><think:opensource>Hm.</think:opensource>Yes.{CALL}")
    parsed = renderer.parse_response(said, prompt_ids=prompt.token_ids)
    assert (parsed.reasoning_content, parsed.content) == ("Hm.", "Yes.")
    assert [(call.name, call.status) for call in parsed.tool_calls] == [("f", "ok")]
    reader = renderer.reader(prompt_ids=prompt.token_ids)
    for token_id in said:
        reader, _ = reader.feed((token_id,))
    assert reader.finish() == parsed


def test_an_option_that_is_none_of_the_template_s_is_refused() -> None:
    with pytest.raises(isc.OptionError, match="reasoning_toolcall_retry"):
        Hy3(fallback_strategy="retry")  # type: ignore[arg-type]
