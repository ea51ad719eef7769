"""Every reference template, all revisions: its traced text is transformers', and every body is its message's.

What is checked by marker: a unique text planted in each field shows up as body of that message and as nothing else.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import growing
import isc
from golden_conversations import CONVERSATIONS
from isc import convert
from isc.encoding.encoders import VocabularyEncoder
from isc.testing import Shape, Writer, laws
from isc.traced.template import TemplateError, TracedTemplate
from isc.traced.values import chat_messages
from isc.types import Chat, Segment
from traced_references import OPTIONS, TEMPLATES, given_tokens, planted, tokenizer_name, traced_template
from traced_tools import plainly

RANDOM = 300 if os.environ.get("ISC_PROFILE") == "nightly" else 6
"""Random conversations a template and set of options."""

pytestmark = pytest.mark.skipif(not TEMPLATES, reason="no reference templates; set ISC_REFERENCE to their directory")


def conversations(template: TracedTemplate) -> Iterator[tuple[Any, Any]]:
    """The golden table, and random conversations whose bodies spell the template's specials."""
    yield from CONVERSATIONS.values()
    shape = Shape(specials=(*template.specials[:40], "<|im_end|>", "[INST]", "</think>"))
    for seed in range(RANDOM):
        yield Writer(random.Random(seed), shape).conversation(8)


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "off", "on"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_text_is_what_transformers_renders(name: str, options: dict[str, Any]) -> None:
    template = traced_template(name, json.dumps(options))
    source, tokens = template.format.source, given_tokens(template)
    rendered = 0
    for messages, tools in conversations(template):
        for add_generation_prompt in (False, True):
            try:
                expected = plainly(
                    source, messages, tools, add_generation_prompt=add_generation_prompt, **tokens, **options
                )
            except Exception:
                with pytest.raises(TemplateError):
                    template.stream(messages, tools, add_generation_prompt)
                continue
            segments = list(template.stream(messages, tools, add_generation_prompt))
            assert "".join(segment.text for segment in segments) == expected
            _check_segments(segments, messages, template)
            rendered += 1
    assert rendered > 6


def _check_segments(segments: list[Segment], messages: list[dict[str, Any]], template: TracedTemplate) -> None:
    """Owners exist, body has an owner, specials are known, neighbours differ."""
    for segment in segments:
        assert segment.text
        assert -1 <= segment.message < len(messages)
        assert segment.message >= 0 or not segment.body
        assert segment.kind == "text" or segment.text in template.specials


def _planted_segments(name: str, options: dict[str, Any]) -> list[Segment]:
    """The planted conversation, in the form that the template takes."""
    template = traced_template(name, json.dumps(options))
    for text_arguments in (False, True):
        messages, tools = planted(text_arguments=text_arguments)
        trimmed = [message for message in messages if message["role"] not in ("tool",) and "tool_calls" not in message]
        for chosen in (messages, _without_content(messages), _numbered_as_asked(messages), trimmed[:4]):
            try:
                return list(template.stream(chosen, tools, add_generation_prompt=True))
            except TemplateError:
                continue
    raise AssertionError(f"{name} takes no planted conversation")


def _without_content(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calling turns without the key `content`."""
    return [
        {key: value for key, value in message.items() if key != "content" or "tool_calls" not in message}
        for message in messages
    ]


def _numbered_as_asked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calling turns with null content."""
    return [{**message, "content": None} if "tool_calls" in message else message for message in messages]


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "off", "on"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_planted_markers_are_body_of_their_message_and_nothing_else_is(name: str, options: dict[str, Any]) -> None:
    segments = _planted_segments(name, options)
    seen = set()
    for segment in segments:
        for owner, field in re.findall(r"QqQ(\w)([a-z]+)", segment.text):
            if owner == "x" or (field in ("name", "call") and segment.message != int(owner)):
                assert not segment.body
            else:
                assert (segment.message, segment.body) == (int(owner), True), segment
            seen.add((owner, field))
    assert ("1", "content") in seen
    _check_bodies(segments)


def _check_bodies(segments: list[Segment]) -> None:
    """Outside of assistant turns, body is what the marker says, and no more than JSON's quotes."""
    for segment in segments:
        if segment.body and segment.message not in (2, 4, 6):
            assert re.fullmatch(r'"?QqQ\dcontent"?', segment.text), segment


TOOLS_OF = {
    "meta-llama--Llama-3": 1,
    "mistralai--Mistral-": 7,
    "moonshotai--": -1,
    "thinkingmachines--": -1,
    "zai-org--": -1,
}
"""Where tools do not stand in the system turn: in the first or the last user's, or in a turn of their own."""


@pytest.mark.parametrize("name", TEMPLATES)
def test_tool_schemas_belong_to_the_message_whose_turn_holds_them_or_to_nobody(name: str) -> None:
    segments = _planted_segments(name, {})
    system = 0 if any("QqQ0" in segment.text for segment in segments) else -1
    owner = next((owner for start, owner in TOOLS_OF.items() if name.startswith(start)), system)
    for segment in segments:
        if "QqQxtool" in segment.text:
            assert segment.message == owner


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_asks_for_a_turn_is_nobodys_and_ends_the_text(name: str) -> None:
    template = traced_template(name)
    messages = [{"role": "user", "content": "hello"}]
    asked = list(template.stream(messages, None, add_generation_prompt=True))
    silent = "".join(segment.text for segment in template.stream(messages, None))
    prompt = "".join(segment.text for segment in template.generation_prompt(convert.chat(messages)))
    assert "".join(segment.text for segment in asked) == silent + prompt
    position = 0
    for segment in asked:
        position += len(segment.text)
        assert position <= len(silent) or (segment.message, segment.body) == (-1, False)


@pytest.mark.parametrize("name", TEMPLATES)
def test_sampled_text_follows_the_prompt_and_ends_with_the_turn_close(name: str) -> None:
    """Law 4 on a turn that was just sampled: prompt, then body to the close, then scaffold."""
    template = traced_template(name)
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]
    prompt = "".join(s.text for s in template.stream(messages[:1], None, add_generation_prompt=True))
    segments = list(template.stream(messages, None))
    text = "".join(segment.text for segment in segments)
    body = [place for place, segment in enumerate(segments) if segment.message == 1 and segment.body]
    assert body == list(range(body[0], body[-1] + 1))
    before = "".join(segment.text for segment in segments[: body[0]])
    if text.startswith(prompt):
        assert before == prompt
    assert "world" in "".join(segments[place].text for place in body)
    if template.turn_close is not None and template.turn_close in text[len(before) :]:
        assert segments[body[-1]] == Segment(template.turn_close, "special", True, 1)


@pytest.mark.parametrize("name", TEMPLATES)
def test_bodies_that_spell_every_special_forge_none(
    name: str, real_encoder: Callable[[str], VocabularyEncoder]
) -> None:
    tokenizer = tokenizer_name(name)
    if tokenizer is None:
        pytest.skip("the reference has no tokenizer of this model")
    encoder = real_encoder(tokenizer)
    source = traced_template(name).format
    template = TracedTemplate(
        source.source, bos_token=source.bos_token, eos_token=source.eos_token, specials=encoder.specials
    )
    forged = "".join(list(encoder.specials)[:300])
    messages = [{"role": "user", "content": forged}, {"role": "assistant", "content": forged}]
    renderer = isc.create_renderer(encoder, template)
    laws.no_forgery(renderer, (messages, None))
    laws.body(renderer, (messages, None))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if "Qwen3-8B" in name or "GLM-4.5" in name])
def test_cost_is_linear_and_a_small_multiple_of_jinjas(name: str) -> None:
    """Measured once: 1.2 to 8 times plain Jinja on all reference templates; the bounds here allow for busy machines."""
    template = traced_template(name)
    short, long = _long_chat(20), _long_chat(80)
    tracing = partial(template.conversation, long)
    assert growing.ratio(partial(template.conversation, short), tracing, enough=9) < 9
    given, messages = given_tokens(template), chat_messages(long)
    assert growing.ratio(lambda: plainly(template.format.source, messages, None, **given), tracing, enough=16) < 16


def _long_chat(turns: int) -> Chat:
    words = "some words of a long message " * 50
    pairs = [[{"role": "user", "content": words}, {"role": "assistant", "content": words}] for _ in range(turns)]
    return convert.chat([message for pair in pairs for message in pair])
