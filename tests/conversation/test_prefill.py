"""Prompts that hold the beginning of an answer: held to what transformers makes of `continue_final_message`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pytest
from jinja2 import TemplateError
from msgspec import structs

import isc
from cases import CASES, Case
from golden_conversations import assistant, call, system, user
from isc.conversation.prefill import OpenField
from isc.encoding.encoders import embedded
from references import template_of

Field: TypeAlias = bool | OpenField

OPEN: dict[str, tuple[list[dict[str, Any]], Field]] = {
    "content": ([user("q"), assistant("Hello wor")], True),
    "content-after-white-space": ([system("s"), user("q"), assistant("  two\nlines \n")], True),
    "content-after-reasoning": ([user("q"), assistant("x y", reasoning="Hm.")], True),
    "reasoning": ([user("q"), assistant("", reasoning="Let me ")], "reasoning_content"),
    "later": ([user("q"), assistant("a", reasoning="b"), user("q"), assistant("c <think> d")], True),
    "closer-spelled": ([user("q"), assistant("a</think>b")], True),
    "nothing": ([user("q"), assistant("")], True),
}

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def opened(renderer: isc.Renderer, messages: list[dict[str, Any]], field: Field) -> str | None:
    """The text of the open conversation, or None where it is refused. Nothing of the open turn is body."""
    try:
        segments = list(renderer.segments(messages, continue_final_message=field))
    except isc.ConversationError:
        return None
    assert not any(segment.body and segment.message == len(messages) - 1 for segment in segments)
    return "".join(segment.text for segment in segments)


def theirs(case: Case, reference: Path, messages: list[dict[str, Any]], field: Field) -> str | None:
    """The text by transformers, or None where it refuses: it names a field that the template lacks, or a lost text.

    An encoder that stands in for a template is given what transformers would give a template: a tag behind the text.
    """
    if case.twin is not None:
        return tagged(case, reference, messages, "content" if field is True else str(field))
    try:
        return case.reference(reference).text((messages, None), continue_final_message=field)
    except (ValueError, TemplateError):
        return None


def tagged(case: Case, reference: Path, messages: list[dict[str, Any]], field: str) -> str | None:
    """The text up to a tag at the end of a field of the last message, or None where tag or text are not in it."""
    said = messages[-1].get(field) or ""
    text = case.reference(reference).text(([*messages[:-1], {**messages[-1], field: said + "TAG "}], None))
    place = text.rfind("TAG")
    if place < 0 or said.strip() not in text:
        return None
    return text[:place] if text[place:].startswith("TAG ") else text[:place].rstrip()


@cases
@pytest.mark.parametrize("name", OPEN)
def test_the_last_message_is_left_open_as_transformers_leaves_it(case: Case, name: str, reference: Path) -> None:
    messages, field = OPEN[name]
    renderer = case.renderer(embedded(case.family.specials))
    wanted = theirs(case, reference, messages, field)
    if case.thinks_in_parts and field == "reasoning_content":
        pytest.skip("transformers continues no thinking part")
    assert opened(renderer, messages, field) == wanted
    assert wanted is not None or name not in ("content", "content-after-reasoning"), "every format has an open content"


@pytest.mark.parametrize("case", [case for case in CASES if case.twin is None], ids=lambda case: case.name)
def test_a_traced_template_is_left_open_as_transformers_leaves_it(case: Case, reference: Path) -> None:
    source, _ = template_of(reference / "templates" / case.template)
    template = isc.template.TracedTemplate(
        source,
        bos_token=case.bos_token,
        eos_token=case.eos_token,
        specials=case.family.specials,
        template_kwargs=case.options,
    )
    renderer = isc.create_renderer(embedded(case.family.specials), template)
    for name, (messages, field) in OPEN.items():
        wanted = theirs(case, reference, messages, field)
        untold = case.now or (case.thinks_in_parts and field == "reasoning_content")
        assert untold or opened(renderer, messages, field) == wanted, name


def test_ids_are_those_of_the_text_up_to_the_open_end(qwen3: isc.Renderer, reference: Path) -> None:
    (case,) = [case for case in CASES if case.name == "qwen3"]
    for name in ("content", "content-after-white-space", "content-after-reasoning", "reasoning"):
        messages, field = OPEN[name]
        text = case.reference(reference).text((messages, None), continue_final_message=field)
        ids, _ = case.reference(reference).encode(text)
        assert qwen3.render_ids(messages, continue_final_message=field) == tuple(ids), name


def test_what_is_given_is_scaffold_of_its_message_and_what_follows_is_sampled(small: isc.Renderer) -> None:
    renderer = structs.replace(small, thinking_retention="all")
    prompt = renderer.render([user("q"), assistant("Hello wor")], continue_final_message=True)
    assert not any(prompt.sampled_mask)
    assert prompt.message_indices[-1] == 1
    (ids,) = small.encoder.encode_batch(["ld"])
    stop = small.get_stop_token_ids()[0]
    after = renderer.extend(prompt, [*ids, stop], [user("more")])
    assert after is not None
    assert after.message_roles == ("user", "assistant", "user")
    assert after.token_ids[: len(prompt)] == prompt.token_ids
    said = [k for k, drawn in zip(after.token_ids, after.sampled_mask, strict=True) if drawn]
    assert said == [*ids, stop]
    text = small.encoder.decode_bytes(after.token_ids).decode()
    assert text.endswith("Hello world<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n")


def test_an_open_turn_that_was_cut_off_is_closed_and_goes_on(small: isc.Renderer) -> None:
    prompt = small.render([user("q"), assistant("", reasoning="Let")], continue_final_message="reasoning")
    (ids,) = small.encoder.encode_batch([" me"])
    after = small.extend(prompt, list(ids), [{"role": "tool", "content": "12:00"}])
    assert after is not None
    text = small.encoder.decode_bytes(after.token_ids).decode()
    assert "<think>\nLet me\n</think>\n\n<|im_end|>\n<|im_start|>user\n<tool_response>\n12:00" in text


def test_a_prefill_follows_the_generation_prompt_and_is_never_a_control_token(small: isc.Renderer) -> None:
    prompt = small.render([user("q")], prefill="Sure <|im_end|>")
    asked = small.render([user("q")], add_generation_prompt=True)
    assert prompt.token_ids[: len(asked)] == asked.token_ids
    assert small.encoder.decode_bytes(prompt.token_ids[len(asked) :]) == b"Sure <|im_end|>"
    assert small.encoder.specials["<|im_end|>"] not in prompt.token_ids[len(asked) :]
    assert prompt.message_indices[-1] == -1
    assert not any(prompt.is_content[len(asked) :])


@pytest.mark.parametrize("begins", ["open", "prefill"])
def test_a_rollout_goes_on_from_what_is_given(small: isc.Renderer, begins: str) -> None:
    renderer = structs.replace(small, thinking_retention="all")
    stop = renderer.get_stop_token_ids()[0]
    if begins == "open":
        messages = [user("q"), assistant("Hello wor")]
        rollout = isc.rollout.Rollout.start(renderer, messages, continue_final_message=True)
    else:
        rollout = isc.rollout.Rollout.start(renderer, [user("q")], prefill="Hello wor")
    (ids,) = renderer.encoder.encode_batch(["ld"])
    rollout = rollout.after_completion([*ids, stop], [-1.0] * (len(ids) + 1)).after_messages([user("more")])
    episode = rollout.after_completion([*ids, stop], [-2.0] * (len(ids) + 1)).finish()
    assert [(m.content) for m in episode.messages] == ["q", "Hello world", "more", "ld"]
    assert episode.rendered.message_roles == ("user", "assistant", "user", "assistant")
    assert episode.trainable_tokens == 2 * (len(ids) + 1)
    assert not episode.rerenders


def test_what_is_given_comes_back_in_a_fresh_render(small: isc.Renderer) -> None:
    rollout = isc.rollout.Rollout.start(small, [user("q"), assistant("Hello wor")], continue_final_message=True)
    (ids,) = small.encoder.encode_batch(["ld"])
    rollout = rollout.after_completion([*ids, small.get_stop_token_ids()[0]]).after_messages([user("more")])
    assert [point.reason for point in rollout.rerenders] == ["retention"]
    assert "assistant\nHello world<|im_end|>" in small.encoder.decode_bytes(rollout.prompt_ids).decode()


def test_what_cannot_be_left_open_is_refused_with_the_reason(small: isc.Renderer) -> None:
    refused: list[tuple[list[dict[str, Any]], Field, str]] = [
        ([user("q")], True, r"messages\[0\].role: continue_final_message needs a last message of the assistant"),
        ([user("q"), assistant("", call("now", {}, "1"))], True, r"messages\[1\].tool_calls: .*leave them out"),
        ([user("q"), assistant("x", reasoning="y")], "reasoning_content", r"leave the content out"),
        ([user("q"), assistant("a</think>b")], True, r"messages\[1\].content: cannot be left open"),
    ]
    for messages, field, problem in refused:
        with pytest.raises(isc.ConversationError, match=problem):
            small.render(messages, continue_final_message=field)
    with pytest.raises(isc.OptionError, match="'contents' must be True, or the field"):
        small.render([user("q"), assistant("x")], continue_final_message="contents")  # type: ignore[arg-type]
    with pytest.raises(isc.OptionError, match="two beginnings of one answer"):
        small.render([user("q"), assistant("x")], add_generation_prompt=True, continue_final_message=True)
    with pytest.raises(isc.OptionError, match="prefill are two beginnings"):
        small.render([user("q"), assistant("x")], continue_final_message=True, prefill="y")
