"""What callers of `renderers` may rely on where isc itself is strict: things left out, assumed prompts, whole ids."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import isc
from isc import compat
from isc.compat import FamilyRenderer, configs, create_renderer
from isc.compat.lenient import LeftOutWarning
from isc.encoding.encoders import embedded
from isc.encoding.fold import fold
from isc.errors import ConversationError
from isc.formats.deepseek_v3 import DeepSeekV3
from isc.formats.glm4_5 import Glm45
from isc.formats.glm5 import Glm5
from isc.formats.laguna_xs_2 import LagunaXS2
from isc.formats.llama_3 import Llama3
from isc.formats.nemotron_3 import Nemotron3
from isc.formats.qwen3_5 import Qwen35
from isc.formats.qwen3_vl import Qwen3VL
from isc.formats.segments import spelled

TOOLS = [{"type": "function", "function": {"name": "now", "description": "", "parameters": {}}}]
USER: dict[str, Any] = {"role": "user", "content": "What time is it?"}
CALL: dict[str, Any] = {"id": "abcdefghi", "type": "function", "function": {"name": "now", "arguments": {}}}


def calling(content: str | None) -> list[dict[str, Any]]:
    return [USER, {"role": "assistant", "content": content, "tool_calls": [CALL]}]


def renderer(family: isc.Family) -> FamilyRenderer:
    return FamilyRenderer.of(isc.create_renderer(embedded(family.specials), family))


LEFT_OUT: dict[str, tuple[isc.Family, list[dict[str, Any]], Any, list[dict[str, Any]], Any]] = {
    "content beside a call": (Llama3(), calling("I look."), None, calling(None), None),
    "DeepSeek's": (DeepSeekV3(), calling("I look."), None, calling(None), None),
    "tools that are not shown": (DeepSeekV3(), [USER], TOOLS, [USER], None),
    "calls beside raw content": (
        LagunaXS2(render_assistant_messages_raw=True),
        calling("I look."),
        None,
        [USER, {"role": "assistant", "content": "I look."}],
        None,
    ),
}
"""Family, messages, tools; and what is left of messages and tools."""


@pytest.mark.parametrize(("family", "messages", "tools", "left", "left_tools"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_a_template_leaves_out_is_left_out_with_a_warning(
    family: isc.Family,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    left: list[dict[str, Any]],
    left_tools: list[dict[str, Any]] | None,
) -> None:
    ours = renderer(family)
    with pytest.warns(LeftOutWarning) as warned:
        rendered = ours.render(messages, tools=tools)
    assert len(warned) == 1
    assert tuple(rendered.token_ids) == ours.renderer.render_ids(left, left_tools)
    with pytest.raises(ConversationError):
        ours.renderer.render(messages, tools)
    with pytest.warns(LeftOutWarning):
        sample = compat.build_training_sample(ours, messages, tools=tools)
    assert sample.token_ids == rendered.token_ids


def test_nothing_else_is_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConversationError):
            renderer(Llama3()).render([{"role": "narrator", "content": "x"}])
        with pytest.raises(ConversationError):
            renderer(Llama3()).render([USER, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}])


def test_an_option_that_only_a_sibling_has_is_left_out_with_a_warning() -> None:
    family = Nemotron3()

    encoder = embedded(family.specials)
    config = configs.Nemotron3RendererConfig(low_effort=True)
    with pytest.warns(LeftOutWarning, match="nano has no low_effort"):
        found = create_renderer(encoder, config)
    assert found.renderer.family == family
    assert found.config == config


@pytest.mark.parametrize("family", [Glm45(), Glm5()], ids=["glm-4.5", "glm-5"])
def test_glm_without_a_prompt_is_in_reasoning(family: isc.Family) -> None:
    ours = renderer(family)

    def ids(text: str) -> list[int]:
        asked = ours.renderer.render([{"role": "user", "content": text}], body_specials="parse")
        return [token for token, body in zip(asked.token_ids, asked.is_content, strict=True) if body]

    parsed = ours.parse_response(ids("plan</think>hello"))
    assert (parsed.reasoning_content, parsed.content, parsed.reasoning_complete) == ("plan", "hello", True)
    opened = ours.renderer.encoder.specials["<think>"]
    for prompt in (None, [opened]):
        assert ours.parse_response(ids("<think>plan</think>hello"), prompt_ids=prompt).reasoning_content == "plan"
    parsed = ours.parse_response(ids("plan"))
    assert (parsed.reasoning_content, parsed.content, parsed.reasoning_complete) == ("plan", "", False)
    off = renderer(type(family)(enable_thinking=False))
    assert off.parse_response(ids("plan")).content == "plan"


def test_a_model_that_does_not_think_is_read_as_one_that_does() -> None:
    ours, thinking = renderer(Qwen3VL()), renderer(Qwen3VL(variant="thinking"))
    asked = ours.renderer.render([{"role": "user", "content": "<think>hm</think>a"}], body_specials="parse")
    ids = [token for token, body in zip(asked.token_ids, asked.is_content, strict=True) if body]
    parsed = ours.parse_response(ids)
    assert (parsed.reasoning_content, parsed.content) == ("hm", "a")
    assert parsed == thinking.parse_response(ids)


def test_ids_are_those_of_the_text_encoded_at_once() -> None:
    """Three line breaks before an answer without reasoning are one token of the template's text, cut in isc's."""
    ours = create_renderer(embedded(Qwen35.specials), configs.Qwen35RendererConfig(enable_thinking=True))
    messages = [USER, {"role": "assistant", "content": "Noon."}]
    text = "".join(segment.text for segment in ours.renderer.segments(messages))
    whole = spelled(text, Qwen35.specials)
    assert tuple(ours.render_ids(messages)) == fold(whole, ours.renderer.encoder).token_ids


def test_arguments_that_are_no_json_stay_what_the_model_wrote() -> None:
    ours = create_renderer(embedded(Qwen35.specials), configs.Qwen3RendererConfig())
    call = {"id": "a", "function": {"name": "now", "arguments": "{zone: "}}
    ids = ours.render_ids([USER, {"role": "assistant", "content": "", "tool_calls": [call]}])
    assert b"{zone: " in ours.renderer.encoder.decode_bytes(ids)
