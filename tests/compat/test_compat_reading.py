"""Turns as callers of `renderers` have them read, where isc reads otherwise; tokenizers and arguments of theirs."""

from __future__ import annotations

import math
from typing import Any

import pytest

import isc
from isc import compat
from isc.compat import FamilyRenderer, ToolCallParseStatus, configs, create_renderer, parsers
from isc.encoding.encoders import embedded
from isc.errors import OptionError
from isc.formats.deepseek_r1 import DeepSeekR1
from isc.formats.deepseek_v3 import DeepSeekV3
from isc.formats.glm4_5 import Glm45
from isc.formats.kimi_k2 import KimiK2
from isc.formats.laguna_xs_2 import LagunaXS2
from isc.formats.qwen3 import Qwen3
from spelled_ids import ids_of

USER: dict[str, Any] = {"role": "user", "content": "What time is it?"}
KIMI_CALL = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}"
    "<|tool_call_end|><|tool_calls_section_end|>"
)
DEEPSEEK_CALL = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
)
LAGUNA_CALL = "<tool_call>now</tool_call>"


def renderer(family: isc.Family) -> FamilyRenderer:
    return FamilyRenderer.of(isc.create_renderer(embedded(family.specials), family))


def read(family: isc.Family, text: str, prompt: str | None = None) -> compat.base.ParsedResponse:
    ours = renderer(family)
    before = None if prompt is None else ids_of(ours.renderer, prompt)
    return ours.parse_response(ids_of(ours.renderer, text), prompt_ids=before)


@pytest.mark.parametrize("family", [KimiK2(), DeepSeekV3()], ids=["kimi-k2", "deepseek-v3"])
@pytest.mark.parametrize(
    ("prompt", "text", "reasoning", "content", "complete"),
    [
        (None, "<think>so</think>4", "so", "4", True),
        ("", "<think>so", "so", "", False),
        ("<think>well ", "so</think>4", "so", "4", True),
        ("<think>", "<think>so</think>4", "so", "4", True),
        ("<think>so</think>", "4", None, "4", True),
        (None, "4<think>so</think>", None, "4<think>so</think>", True),
        ("4<think>", "so", None, "so", True),
    ],
)
def test_reasoning_is_read_in_formats_that_have_none(
    family: isc.Family, prompt: str | None, text: str, reasoning: str | None, content: str, complete: bool
) -> None:
    found = read(family, text, prompt)
    assert (found.reasoning_content, found.content, found.reasoning_complete) == (reasoning, content, complete)


def test_spans_of_calls_after_spelled_reasoning_count_the_completion() -> None:
    ours = renderer(KimiK2())
    before, call = (ids_of(ours.renderer, text) for text in ("<think>so</think>", KIMI_CALL))
    found = ours.parse_response([*before, *call])
    span = found.tool_calls[0].token_span
    assert span is not None
    assert len(before) <= span[0] < span[1] <= len(before) + len(call)
    assert (found.reasoning_content, found.tool_calls[0].name) == ("so", "now")


@pytest.mark.parametrize(
    ("family", "call"),
    [(DeepSeekV3(), DEEPSEEK_CALL), (DeepSeekR1(), DEEPSEEK_CALL), (LagunaXS2(enable_thinking=True), LAGUNA_CALL)],
    ids=["deepseek-v3", "deepseek-r1", "laguna"],
)
def test_a_call_in_open_reasoning_is_reasoning_where_renderers_says_so(family: isc.Family, call: str) -> None:
    found = read(family, f"<think>so{call}")
    assert (found.content, found.tool_calls, found.reasoning_complete) == ("", [], False)
    assert found.reasoning_content == f"so{call}"
    closed = read(family, f"<think>so{call}</think>{call}")
    assert [attempt.name for attempt in closed.tool_calls] == ["now"]


def test_a_call_ends_open_reasoning_elsewhere() -> None:
    found = read(KimiK2(), f"<think>so{KIMI_CALL}")
    assert (found.reasoning_content, [call.name for call in found.tool_calls]) == ("so", ["now"])


class Wrapped:
    """A tokenizer of a caller's own: it hands on what another has, and gives no offsets."""

    def __init__(self, encoder: object) -> None:
        self.encoder = encoder
        self.name_or_path = "Qwen/Qwen3-8B"

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: list[int]) -> str:
        raise NotImplementedError

    def convert_tokens_to_ids(self, token: str) -> int:
        raise NotImplementedError


def test_a_tokenizer_without_offsets_has_renders_without_content() -> None:
    encoder = embedded(Qwen3().specials)
    config = configs.Qwen3RendererConfig()
    plain, wrapped = create_renderer(encoder, config), create_renderer(Wrapped(encoder), config)
    expected, found = plain.render([USER]), wrapped.render([USER])
    assert any(expected.is_content)
    assert found.is_content == []
    for column in ("token_ids", "message_indices", "sampled_mask", "message_roles"):
        assert getattr(found, column) == getattr(expected, column)
    bridged = wrapped.bridge_to_next_turn(found.token_ids, [5], [{"role": "tool", "content": "4"}])
    assert bridged.is_content == []


ITEMS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}"
    "{% for key, value in call.function.arguments.items() %}[{{ key }}={{ value }}]{% endfor %}{% endfor %}"
    "<|im_end|>\n{% endfor %}"
)


@pytest.mark.parametrize("arguments", ['{"zone": "UTC"}', {"zone": "UTC"}], ids=["text", "object"])
def test_arguments_given_as_text_are_objects_for_a_template_that_takes_no_text(arguments: object) -> None:
    family = isc.template.TracedTemplate(ITEMS, specials=Qwen3().specials)
    ours = renderer(family)
    call = {"id": "a", "type": "function", "function": {"name": "now", "arguments": arguments}}
    messages = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert b"[zone=UTC]" in ours.renderer.encoder.decode_bytes(ours.render_ids(messages))


@pytest.mark.parametrize("mask", [[1, 2], [1, -1], [1, "0"], [1, 1.0], [1, None], [1], []], ids=repr)
def test_a_mask_is_refused_before_anything_is_rendered(mask: list[Any]) -> None:
    nothing: Any = None
    with pytest.raises(OptionError, match="message_loss_mask"):
        compat.build_training_sample(nothing, [USER, USER], message_loss_mask=mask)


def test_an_unknown_log_probability_is_no_number() -> None:
    answer = {"role": "assistant", "content": "Noon."}
    step = compat.build_trajectory_step(renderer(Qwen3()), [USER], [answer])
    assert len(step["completion_logprobs"]) == len(step["completion_ids"]) > 0
    assert all(map(math.isnan, step["completion_logprobs"]))


def test_glm_takes_a_block_without_a_key_for_a_name() -> None:
    ours = renderer(Glm45())
    ids = ids_of(ours.renderer, "<think></think><tool_call>now\n<arg_value>x</arg_value>\n</tool_call>")
    tools = [{"type": "function", "function": {"name": "now", "description": "", "parameters": {}}}]
    (call,) = ours.parse_response(ids, tools=tools).tool_calls
    assert (call.status, call.name) == (ToolCallParseStatus.UNKNOWN_TOOL, "now\n<arg_value>x</arg_value>")


@pytest.mark.parametrize("effort", ["bogus", 1.5, -0.1, math.nan])
def test_an_effort_that_is_none_is_refused(effort: object) -> None:
    with pytest.raises(ValueError, match="effort"):
        configs.InklingRendererConfig.model_validate({"reasoning_effort": effort})


PARSED = {
    "qwen3": '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    "qwen3.5": "<tool_call>\n<function=now>\n</function>\n</tool_call>",
    "glm": "<tool_call>now</tool_call>",
    "deepseek-v3": DEEPSEEK_CALL,
}


@pytest.mark.parametrize("name", parsers.TOOL_PARSERS)
def test_a_parser_gives_calls_and_the_ids_before_them(name: str) -> None:
    family = isc.list_families()[parsers.TOOL_PARSERS[name].family]()
    bound = isc.create_renderer(embedded(family.specials), family)
    before, call = ids_of(bound, "I look."), ids_of(bound, PARSED[name])
    left, calls = parsers.get_tool_parser(name, bound.encoder).extract([*before, *call])
    assert left == list(before)
    assert [(found.name, found.status) for found in calls] == [("now", "ok")]
    assert parsers.get_tool_parser(name, bound.encoder).extract(list(before)) == (list(before), [])


def test_a_parser_that_does_not_exist_is_refused() -> None:
    for get in (parsers.get_tool_parser, parsers.get_reasoning_parser):
        with pytest.raises(OptionError, match="'mine'"):
            get("mine", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>so</think>4", ("so", "4")),
        ("<think>so", (None, "<think>so")),
        ("4<think>so</think>", (None, "4<think>so</think>")),
    ],
)
def test_a_parser_of_reasoning_wants_it_first(text: str, expected: tuple[str | None, str]) -> None:
    assert parsers.get_reasoning_parser("think", None).extract(text) == expected
