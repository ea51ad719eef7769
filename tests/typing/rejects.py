"""Misuses of isc that `mypy --strict` must reject, each on its marked line and nowhere else. Never run."""

# ruff: noqa: B015, B018, F841, RUF005 - misuse has no use

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import isc
from isc.encoding.encoders import embedded, from_tokenizer_json


def loading() -> None:
    isc.load(3)  # error: arg-type
    isc.load("Qwen/Qwen3-8B", None, None, "all")  # error: call-arg
    isc.load("Qwen/Qwen3-8B", thinking_retention="always")  # error: arg-type
    isc.Qwen3(variant="instruct")  # error: arg-type
    isc.Qwen3(thinking=False)  # error: call-arg
    isc.Qwen3(enable_thinking="false")  # error: arg-type
    isc.GptOss(builtin_tools=["browser"])  # error: arg-type
    isc.Qwen3().enable_thinking = False  # error: misc
    isc.Renderer(isc.Qwen3())  # error: call-arg
    isc.Renderer(isc.Qwen3(), "Qwen/Qwen3-8B")  # error: arg-type
    isc.Renderer("qwen3", embedded(()))  # error: arg-type
    isc.Renderer(isc.Qwen3(), embedded(()), body_specials="drop")  # error: arg-type
    from_tokenizer_json("{}", engine="tiktoken")  # error: arg-type


def rendering(renderer: isc.Renderer) -> None:
    renderer.render("hi")  # error: arg-type
    renderer.render(isc.UserMessage("hi"))  # error: arg-type
    renderer.render([isc.Segment("hi")])  # error: list-item
    renderer.render([isc.UserMessage("hi")], ["add"])  # error: list-item
    renderer.render([isc.UserMessage("hi")], body_specials="keep")  # error: arg-type
    renderer.render([isc.UserMessage("hi")], tokenize=True)  # error: call-arg
    renderer.parse_response("<think>")  # error: arg-type
    renderer.bridge_to_next_turn([1], [2])  # error: call-arg
    renderer.bridge_to_next_turn([1], [2], [isc.ToolMessage("x")]).token_ids  # error: union-attr
    renderer.plan_bridge([1], [2], [isc.ToolMessage("x")]).reason  # error: union-attr
    renderer.body_specials = "text"  # error: misc


def results(rendered: isc.RenderedTokens, parsed: isc.ParsedResponse) -> None:
    rendered.token_ids[0] = 1  # error: index
    rendered.runs = ()  # error: misc
    rendered.is_content.append(True)  # error: attr-defined
    rendered.loss_mask  # error: attr-defined
    rendered + [1, 2]  # error: operator
    ids: list[int] = rendered.token_ids  # error: assignment
    isc.RenderedTokens((1,), [isc.Run(1, -1, False)])  # error: arg-type
    isc.RenderedTokens(("1",), ())  # error: arg-type

    parsed.reasoning_content.strip()  # error: union-attr
    parsed.tool_calls[0].arguments["x"]  # error: index
    parsed.tool_calls[0].status == "failed"  # error: comparison-overlap


def values(renderer: isc.Renderer) -> None:
    isc.UserMessage(3)  # error: arg-type
    isc.UserMessage(["hi"])  # error: arg-type
    isc.UserMessage("hi", tool_calls=())  # error: call-arg
    isc.AssistantMessage("hi", tool_calls=[isc.ToolCall("f", {})])  # error: arg-type
    isc.ToolCall("f")  # error: call-arg
    isc.ToolCall("f", {"when": object()})  # error: dict-item
    isc.Segment("hi", "token")  # error: arg-type
    isc.build_training_sample(renderer, [], role_to_mask="assistant")  # error: arg-type
    isc.build_training_sample(renderer, [], message_loss_mask=["yes"])  # error: list-item
    isc.attribute_text_segments(embedded(()), ["text"])  # error: list-item
    isc.nothing  # error: attr-defined


class Half(isc.Family, frozen=True, tag_field="family", tag="half"):
    """No family: it lacks most of one."""

    turn_close: ClassVar[str] = "</s>"


half = Half()  # error: abstract


class Short:
    """No encoder: it cannot decode."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return []


encoder: isc.Encoder = Short()  # error: assignment
