"""Turns that their prompt has begun: what is sampled goes on from the given text, white space and all."""

from __future__ import annotations

import os.path

import pytest

import isc
from cases import CASES, Case
from isc.encoding.encoders import embedded
from isc.errors import ConversationError, TemplateError
from isc.testing.streams import streaming
from spelled_ids import ids_of as ids_of_tokens
from traced_references import TEMPLATES, traced_template

USER = {"role": "user", "content": "hi"}
GIVEN = ("Hello wor", "  two\nlines", "one \n")
SAMPLED = ("ld", " and\n\n more ", "\n\nnext", "")


def ids_of_text(renderer: isc.Renderer, text: str) -> tuple[int, ...]:
    """A text that goes on."""
    return tuple(next(iter(renderer.encoder.encode_batch([text]))))


def prompts(renderer: isc.Renderer, given: str) -> list[tuple[str, tuple[int, ...]]]:
    """Prompts that end in this text, by the field that is open; those that the format takes."""
    answers = [
        ("content", {"role": "assistant", "content": given}),
        ("content", {"role": "assistant", "content": given, "reasoning_content": "Hm."}),
        ("reasoning_content", {"role": "assistant", "content": "", "reasoning_content": given}),
    ]
    made: list[tuple[str, tuple[int, ...]]] = []
    for field, answer in answers:
        try:
            made.append((field, renderer.render_ids([USER, answer], continue_final_message=field)))  # type: ignore[arg-type]
        except (ConversationError, TemplateError):
            continue
    return made


def check(renderer: isc.Renderer, *, thinks: bool = True) -> None:
    """What was given and what is read of what was sampled, put together, is the field of the whole turn."""
    is_raw = getattr(renderer.family, "render_assistant_messages_raw", False)  # reasoning is content too
    stops = renderer.get_stop_token_ids()[:1]
    for given in GIVEN:
        made = [(field, prompt) for field, prompt in prompts(renderer, given) if thinks or field == "content"]
        assert made
        for field, prompt in made:
            for text in SAMPLED:
                for ids in ((*ids_of_text(renderer, text), *stops), ids_of_text(renderer, text)):
                    response = renderer.parse_response(ids, prompt_ids=prompt)
                    said = response.content if field == "content" else response.reasoning_content
                    assert said is not None
                    assert said.rstrip() == text.rstrip(), (given, field, text)
                    assert text.startswith(said)
                    assert field != "content" or is_raw or response.reasoning_content is None
                    streaming(renderer, ids, prompt)


def test_a_call_after_a_given_text_stands_where_it_was_sampled() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    (_, prompt), *_ = prompts(renderer, "I look")
    call = ids_of_tokens(renderer, '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>')
    ids = (*ids_of_text(renderer, " up.\n"), *call)
    response = renderer.parse_response(ids, prompt_ids=prompt)
    assert response.content == " up."
    assert response.tool_calls[0].token_span == (len(ids) - len(call), len(ids) - 1)
    streaming(renderer, ids, prompt)


def test_an_opener_of_reasoning_after_a_given_text_is_text() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    (_, prompt), *_ = prompts(renderer, "I look")
    ids = ids_of_tokens(renderer, "<think>x</think>y<|im_end|>")
    assert renderer.parse_response(ids, prompt_ids=prompt) == isc.ParsedResponse("<think>x</think>y")
    streaming(renderer, ids, prompt)


def test_a_prefill_of_reasoning_goes_on() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen35().specials), isc.Qwen35(enable_thinking=True))
    prompt = renderer.render_ids([USER], prefill="Let me")
    ids = (*ids_of_text(renderer, "  see.\n"), *ids_of_tokens(renderer, "</think>\n\nSo.<|im_end|>"))
    assert renderer.parse_response(ids, prompt_ids=prompt) == isc.ParsedResponse("So.", "  see.")
    streaming(renderer, ids, prompt)


GIVEN_IN_PART = [
    (isc.Qwen36(), "<think>\nhm\n</think>\n\n", "so\n\nso", "so\n\nso"),
    (isc.Qwen36(), "<think>\nhm\n</think>\n\n", "\n\nso", "so"),  # white space before content is not of it
    (isc.Nemotron3(), "<think>\nhm\n</think>\n", "\nso", "\nso"),  # all but the line that ends the block is
    (isc.Qwen3(), "<think>\n\n</think>\n\n\nhm\n", "<tool_call>{}</tool_call>so", "so"),
    (isc.Qwen3(), "hm\n", " so", " so"),
]
"""A family, what its prompt says of the turn, what is sampled, and the content that is of it."""


@pytest.mark.parametrize(("family", "given", "sampled", "content"), GIVEN_IN_PART)
def test_white_space_that_was_given_is_no_part_of_what_was_sampled(
    family: isc.Family, given: str, sampled: str, content: str
) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family)
    opened = renderer.render_ids([USER], add_generation_prompt=True)
    head = renderer.render_ids([USER, {"role": "assistant", "content": "x"}])
    prompt = (*os.path.commonprefix((opened, head)), *ids_of_tokens(renderer, given))
    ids = ids_of_tokens(renderer, sampled)
    assert renderer.parse_response(ids, prompt_ids=prompt).content == content
    for sizes in (1,), (7,):
        streaming(renderer, ids, prompt, sizes=sizes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_sampled_goes_on_from_what_is_given(case: Case) -> None:
    check(case.renderer(embedded(case.family.specials)))


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_same_of_traced_templates(name: str) -> None:
    template = traced_template(name)
    if not template.stop_tokens:
        pytest.skip("nothing in a prompt tells where its last turn begins: the markers of turns are text")
    thinks = template.report().reasoning is not None
    check(isc.create_renderer(embedded(template.specials), template), thinks=thinks)
