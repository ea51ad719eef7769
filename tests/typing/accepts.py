"""What a strictly typed program may do with isc: `mypy --strict` must accept every line. Never run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, assert_never, assert_type

import msgspec

import isc
import isc.testing
from isc.encoding.base import Prefix
from isc.encoding.encoders import VocabularyEncoder, embedded, from_rank_file, from_tokenizer_json
from isc.types import Reasoning, Sampled

type_of_call: isc.ToolCall = isc.ToolCall("add", {"numbers": [1, 2.5, None, {"deep": True}]}, id="1")
messages: list[isc.Message] = [
    isc.SystemMessage("Be brief."),
    isc.UserMessage((isc.TextPart("2 + 2?"), isc.MediaPart("image", {"type": "image"}))),
    isc.AssistantMessage(None, reasoning_content="Use the tool.", tool_calls=(type_of_call,)),
    isc.ToolMessage("4", tool_call_id="1"),
    isc.DeveloperMessage("Go on.", name="someone"),
]
dicts: list[dict[str, object]] = [{"role": "user", "content": "hi"}]
mixed: Sequence[isc.Message | Mapping[str, object]] = [isc.UserMessage("hi"), {"role": "user", "content": None}]
tools = [isc.ToolSpec({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}})]


def renderers(directory: Path) -> Iterator[isc.Renderer]:
    yield isc.load("Qwen/Qwen3-8B", revision="main")
    yield isc.load(directory, family=isc.Qwen3(enable_thinking=False), thinking_retention="all")
    yield isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3(variant="thinking_2507"))
    yield isc.Renderer(isc.family_for("Qwen/Qwen3-8B"), from_tokenizer_json("{}", engine="tokenizers"))
    yield isc.Renderer(isc.Qwen3(), from_rank_file(directory / "ranks", ".", {"<x>": 1}), body_specials="reject")


def rendered_tokens(renderer: isc.Renderer) -> isc.RenderedTokens:
    rendered = renderer.render(messages, tools, add_generation_prompt=True)
    assert_type(rendered, isc.RenderedTokens)
    assert_type(renderer.render_ids(dicts, [{"name": "add"}]), tuple[int, ...])
    assert_type(renderer.segments(mixed), Iterator[isc.Segment])
    assert_type(renderer.get_stop_token_ids(), tuple[int, ...])
    assert_type(renderer.is_prefix_stable, bool)
    assert_type(renderer.family, isc.Family)
    assert_type(renderer.encoder, isc.Encoder)
    assert_type(rendered.token_ids, tuple[int, ...])
    assert_type(rendered.message_indices, tuple[int, ...])
    assert_type(rendered.is_content, tuple[bool, ...])
    assert_type(rendered.sampled_mask, tuple[bool, ...])
    assert_type(rendered.message_token_spans(), tuple[tuple[tuple[int, int], ...], ...])
    assert_type(rendered.role_token_spans(), dict[str, tuple[tuple[int, int], ...]])
    assert_type(rendered.tokens_by_role(sampled_only=True), dict[str, int])
    assert_type(rendered.content_mask_for_roles({"tool"}), tuple[bool, ...])
    return rendered + renderer.render(messages)


def answers(renderer: isc.Renderer, token_ids: Sequence[int], prompt_ids: list[int]) -> Iterator[str]:
    parsed = renderer.parse_response(token_ids, tools, prompt_ids=prompt_ids)
    assert_type(parsed, isc.ParsedResponse)
    assert_type(parsed.reasoning_content, str | None)
    yield parsed.content
    for call in parsed.tool_calls:
        match call.status:
            case "ok":
                yield f"{call.name}({call.arguments})"
            case "invalid_json" | "unclosed_block" | "missing_name" | "malformed_structure" | "unknown_tool":
                yield call.raw
            case _:
                assert_never(call.status)


def bridges(renderer: isc.Renderer, prompt_ids: list[int], completion_ids: tuple[int, ...]) -> Iterator[Sequence[int]]:
    plan = renderer.plan_bridge(prompt_ids, completion_ids, [isc.ToolMessage("4")])
    if isinstance(plan, isc.Refusal):
        raise ValueError(plan.reason, plan.detail)
    assert_type(plan, isc.Extension)
    bridge = renderer.bridge_to_next_turn(prompt_ids, completion_ids, dicts)
    assert_type(bridge, isc.RenderedTokens | None)
    yield bridge.token_ids if bridge is not None else ()
    extended = renderer.extend(rendered_tokens(renderer), completion_ids)
    yield extended.token_ids if extended else ()


def samples(renderer: isc.Renderer) -> Iterator[isc.TrainingSample]:
    yield isc.build_training_sample(renderer, messages, tools, content_sft_roles={"tool"}, require_trainable=True)
    yield isc.build_training_sample(renderer, dicts, role_to_mask={"assistant": True}, message_loss_mask=[True])
    yield isc.build_training_sample(renderer, dicts, role_to_mask=lambda message: message.name is None)
    step = isc.build_trajectory_step(renderer, messages[:2], messages[2:], tools)
    assert_type(step, isc.TrajectoryStep)
    assert_type(step.completion_mask, tuple[bool, ...])


def role_of(message: isc.Message) -> str:
    match message:
        case isc.SystemMessage() | isc.DeveloperMessage() | isc.UserMessage() | isc.ReminderMessage():
            return "context"
        case isc.AssistantMessage(tool_calls=calls):
            return calls[0].name if calls else "assistant"
        case isc.ToolMessage(tool_call_id=identity):
            return identity or "tool"
        case _:
            assert_never(message)


def encoded(encoder: isc.Encoder) -> tuple[int, ...]:
    ids, is_content = isc.attribute_text_segments(encoder, [("Question: ", False), ("why", True)])
    assert_type(is_content, tuple[bool, ...])
    sampled = isc.unfold(ids, encoder)
    rendered = isc.fold(sampled.segments, embedded(()), ("user",))
    return rendered.token_ids


class Reversed:
    """An encoder of a caller's own: the protocol asks for no base class."""

    specials: Mapping[str, int] = {}
    strips: Mapping[str, tuple[bool, bool]] = {}
    byte_lengths: Sequence[int] | None = None
    prefix: Prefix | None = None

    def normalize(self, text: str) -> str:
        return text

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*reversed(text.encode())] for text in texts]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        return [*text.encode()], [(k, k + 1) for k in range(len(text))]

    def decode_bytes(self, token_ids: Sequence[int]) -> bytes:
        return bytes(token_ids)


def with_own_encoder() -> isc.Renderer:
    own: isc.Encoder = Reversed()
    small: VocabularyEncoder = embedded(("<|im_end|>",))
    return isc.Renderer(isc.Qwen3(), own if len(small) else small)


class Own(isc.Family, frozen=True, tag_field="family", tag="own"):
    """A family of a caller's own: class attributes or properties, as it likes."""

    shouting: bool = False

    specials: ClassVar[tuple[str, ...]] = ("<s>", "</s>")
    turn_close: ClassVar[str] = "</s>"
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[Reasoning | None] = None

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        return ("</s>",)

    def check_options(self) -> None:
        if self.shouting:
            raise isc.OptionError("own: it does not shout")

    def opening(self, chat: isc.Chat) -> Iterator[isc.Segment]:
        yield isc.Segment("<s>", "special")

    def turn(self, chat: isc.Chat, index: int) -> Iterator[isc.Segment]:
        yield isc.Segment(str(chat.messages[index].content), body=True)
        yield isc.Segment("</s>", "special")

    def generation_prompt(self, chat: isc.Chat) -> tuple[isc.Segment, ...]:
        return ()

    def parse(self, sampled: Sampled, tools: tuple[isc.ToolSpec, ...]) -> isc.ParsedResponse:
        return isc.ParsedResponse("".join(segment.text for segment in sampled.segments))


def families(directory: Path) -> Iterator[isc.Family]:
    yield Own(shouting=False)
    yield isc.Gemma3()
    yield isc.template.TracedTemplate("{{ messages }}", enable_thinking=False)
    yield from (kind() for kind in isc.list_families().values())
    found = isc.load(directory, enable_thinking=False, thinking_retention="all").family
    assert_type(found.with_options({"enable_thinking": True}), isc.Family)
    assert_type(found.shape.alternates, bool)
    assert_type(isc.template.TracedTemplate("").with_options({}), isc.template.TracedTemplate)
    shape: isc.testing.Shape = found.shape
    yield msgspec.structs.replace(isc.Qwen3(), variant="instruct_2507" if shape.tools else "hybrid")


async def in_a_thread(renderer: isc.Renderer) -> isc.RenderedTokens:
    return await asyncio.to_thread(renderer.render, messages)


def explained(renderer: isc.Renderer) -> str:
    try:
        renderer.render(messages, body_specials="text")
    except isc.ConversationError as error:
        return error.path
    except (isc.LoadError, isc.Error) as error:
        return str(error)
    return ""
