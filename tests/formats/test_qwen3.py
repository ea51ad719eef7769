"""Qwen3's oddities, literally, each with the line of `Qwen--Qwen3-8B/chat_template.jinja` it comes from."""

from __future__ import annotations

import pytest

import isc
from golden_conversations import assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.qwen3 import Qwen3

Message = dict[str, object]
HEAD = "<|im_start|>assistant\n"


def text_of(family: Qwen3, messages: list[Message], *, prompt: bool = False) -> str:
    renderer = isc.create_renderer(embedded(family.specials), family)
    return "".join(segment.text for segment in renderer.segments(messages, None, prompt))


ODDITIES: dict[str, tuple[list[Message], str]] = {
    "line 44: the last turn has a think block even without reasoning": (
        [user("a"), assistant("b")],
        HEAD + "<think>\n\n</think>\n\nb<|im_end|>\n",
    ),
    "line 44: an earlier turn after the last query has one only with reasoning": (
        [user("a"), assistant("b"), assistant("c", reasoning="r")],
        HEAD + "b<|im_end|>\n" + HEAD + "<think>\nr\n</think>\n\nc<|im_end|>\n",
    ),
    "line 43: before the last query reasoning is dropped": (
        [user("a"), assistant("b", reasoning="r"), user("c")],
        HEAD + "b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
    ),
    "line 39: inline reasoning is taken out of the content": (
        [user("a"), assistant("<think>\nr\n</think>\n\nb")],
        HEAD + "<think>\nr\n</think>\n\nb<|im_end|>\n",
    ),
    "line 35: given reasoning leaves a spelled think block in the content": (
        [user("a"), assistant("x</think>y", reasoning="r")],
        HEAD + "<think>\nr\n</think>\n\nx</think>y<|im_end|>\n",
    ),
    "line 45: newlines around reasoning and before content are stripped, others are not": (
        [user("a"), assistant("\n\n b ", reasoning="\n r \n")],
        HEAD + "<think>\n r \n</think>\n\n b <|im_end|>\n",
    ),
    "line 54: the first call after content, and every later one, starts a line": (
        [user("a"), assistant("b", call("f", {}), call("g", {}), reasoning="r")],
        HEAD + "<think>\nr\n</think>\n\nb\n<tool_call>\n"
        '{"name": "f", "arguments": {}}\n</tool_call>\n<tool_call>\n'
        '{"name": "g", "arguments": {}}\n</tool_call><|im_end|>\n',
    ),
    "line 63: arguments given as text are rendered as they stand": (
        [user("a"), assistant("", call("f", '{"x":1,  "y":"\\u00e9"}'), reasoning="r")],
        HEAD + "<think>\nr\n</think>\n\n<tool_call>\n"
        '{"name": "f", "arguments": {"x":1,  "y":"\\u00e9"}}\n</tool_call><|im_end|>\n',
    ),
    "line 73: results in a row share one user turn": (
        [user("a"), tool("1"), tool("2"), user("b")],
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nb<|im_end|>\n",
    ),
    "line 20: a message that is wrapped at one end only is a query": (
        [user("a"), assistant("b", reasoning="r"), user("<tool_response>x"), assistant("c")],
        HEAD + "b<|im_end|>\n<|im_start|>user\n<tool_response>x<|im_end|>\n"
        + HEAD + "<think>\n\n</think>\n\nc<|im_end|>\n",
    ),
    "line 20: a user message that spells a tool response is no query": (
        [user("a"), assistant("b", reasoning="r"), user("<tool_response>x</tool_response>"), assistant("c")],
        HEAD + "<think>\nr\n</think>\n\nb<|im_end|>\n<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n"
        + HEAD + "<think>\n\n</think>\n\nc<|im_end|>\n",
    ),
    "line 31: a later system message is a turn of its own": (
        [user("a"), system("s")],
        "<|im_start|>system\ns<|im_end|>\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    messages, expected = ODDITIES[oddity]
    assert text_of(Qwen3(), messages).endswith(expected)


@pytest.mark.parametrize(
    ("family", "prefilled"),
    [
        (Qwen3(), ""),
        (Qwen3(enable_thinking=False), "<think>\n\n</think>\n\n"),
        (Qwen3(variant="instruct_2507"), ""),
        (Qwen3(variant="thinking_2507"), "<think>\n"),
    ],
)
def test_generation_prompt_prefills_and_what_it_prefills_is_scaffold(family: Qwen3, prefilled: str) -> None:
    assert text_of(family, [user("a")], prompt=True).endswith(HEAD + prefilled)
    renderer = isc.create_renderer(embedded(family.specials), family)
    rendered = renderer.render([user("a"), assistant("b")])
    turn = [k for k, message in zip(rendered.token_ids, rendered.message_indices, strict=True) if message == 1]
    mask = [content for content, m in zip(rendered.is_content, rendered.message_indices, strict=True) if m == 1]
    first = mask.index(True)
    assert renderer.encoder.decode_bytes(turn[:first]).decode() == HEAD + prefilled
    assert renderer.encoder.decode_bytes(turn).decode().endswith("b<|im_end|>\n")
    assert mask[-1] is False


def test_instruct_models_drop_reasoning() -> None:
    family = Qwen3(variant="instruct_2507")
    assert text_of(family, [user("a"), assistant("b", reasoning="r")]).endswith(HEAD + "b<|im_end|>\n")


def test_thinking_models_cannot_be_told_not_to_think() -> None:
    with pytest.raises(isc.OptionError, match="thinking_2507"):
        Qwen3(enable_thinking=False, variant="thinking_2507")


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-235B-A22B-FP8"])
def test_hybrid_models_are_known_by_name(model: str) -> None:
    assert isc.family_for(model) == Qwen3()


@pytest.mark.parametrize(
    ("model", "variant"),
    [("Qwen/Qwen3-4B-Instruct-2507", "instruct_2507"), ("Qwen/Qwen3-30B-A3B-Thinking-2507", "thinking_2507")],
)
def test_refreshed_models_have_their_own_template(model: str, variant: str) -> None:
    assert isc.family_for(model) == Qwen3(variant=variant)  # type: ignore[arg-type]  # a parameter of the test


def test_developer_message_is_refused_with_the_way_out() -> None:
    with pytest.raises(isc.ConversationError, match=r"messages\[1\]\.role: qwen3 has no such turn; use role 'system'"):
        text_of(Qwen3(), [user("a"), {"role": "developer", "content": "b"}])


def test_image_part_is_refused_by_its_path() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(isc.ConversationError, match=r"messages\[0\]\.content\[1\]: this format takes text only"):
        text_of(Qwen3(), [user(parts)])
