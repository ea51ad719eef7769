"""Qwen3-VL's oddities, literally, each with the line of its template (`Qwen--Qwen3-VL-8B-*`) it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.formats.qwen3_vl import Qwen3VL
from references import TemplateReference
from small_renders import renderer_of, text_of

HEAD = "<|im_start|>assistant\n"
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
INSTRUCT, THINKING = Qwen3VL(), Qwen3VL(variant="thinking")


ODDITIES: dict[str, tuple[Qwen3VL, list[Message], list[Message] | None, str]] = {
    "Instruct, line 14: an empty system text before tools still takes its lines": (
        INSTRUCT,
        [system(""), user("a")],
        [NOW],
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\na<|im_end|>\n",
    ),
    "Instruct, line 44: text parts are joined as they are": (
        INSTRUCT,
        [user([{"type": "text", "text": " a"}, {"type": "text", "text": "b\n"}])],
        None,
        "<|im_start|>user\n ab\n<|im_end|>\n",
    ),
    "Instruct, line 62: a spelled think block is content": (
        INSTRUCT,
        [user("a"), assistant("<think>\nr\n</think>\n\nb", reasoning="dropped")],
        None,
        HEAD + "<think>\nr\n</think>\n\nb<|im_end|>\n",
    ),
    "Instruct, line 72: calls are set off from content": (
        INSTRUCT,
        [user("a"), assistant(" ", call("now", {}), call("now", {}))],
        None,
        HEAD + f" \n{CALL}\n{CALL}<|im_end|>\n",
    ),
    "Instruct, line 72: not from no content": (
        INSTRUCT,
        [user("a"), assistant("", call("now", {}))],
        None,
        HEAD + f"{CALL}<|im_end|>\n",
    ),
    "Instruct, line 72: but from a list of empty texts": (
        INSTRUCT,
        [user("a"), {**assistant("", call("now", {})), "content": [{"type": "text", "text": ""}]}],
        None,
        HEAD + f"\n{CALL}<|im_end|>\n",
    ),
    "Instruct, line 91: a result that stands first of all opens its turn": (
        INSTRUCT,
        [tool("1"), tool("2"), user("a")],
        None,
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>user\na<|im_end|>\n",
    ),
    "Thinking, line 55: a later system message is a turn of its own": (
        THINKING,
        [user("a"), system("s")],
        None,
        "<|im_start|>user\na<|im_end|>\n<|im_start|>system\ns<|im_end|>\n",
    ),
    "Thinking, line 62: inline reasoning is taken out of the content": (
        THINKING,
        [user("a"), assistant("<think>\nr\n</think>\n\nb")],
        None,
        HEAD + "<think>\nr\n</think>\n\nb<|im_end|>\n",
    ),
    "Thinking, line 68: an earlier turn after the last query has a think block only with reasoning": (
        THINKING,
        [user("a"), assistant("\nb"), assistant("\nc", reasoning="\nr")],
        None,
        HEAD + "\nb<|im_end|>\n" + HEAD + "<think>\nr\n</think>\n\nc<|im_end|>\n",
    ),
    "Thinking, line 74: before the last query reasoning is dropped": (
        THINKING,
        [user("a"), assistant("b", reasoning="r"), user("c")],
        None,
        HEAD + "b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
    ),
    "Thinking, line 78: a list of empty texts is no content": (
        THINKING,
        [user("a"), {**assistant("", call("now", {})), "content": [{"type": "text", "text": ""}]}],
        None,
        HEAD + f"<think>\n\n</think>\n\n{CALL}<|im_end|>\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    family, messages, tools, expected = ODDITIES[oddity]
    assert text_of(family, messages, tools).endswith(expected)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_the_templates(oddity: str, reference: Path) -> None:
    family, messages, tools, _ = ODDITIES[oddity]
    path = reference / "templates" / f"Qwen--Qwen3-VL-8B-{family.variant.title()}" / "chat_template.jinja"
    theirs = TemplateReference(path, None, ()).text((messages, tools), add_generation_prompt=True)
    assert text_of(family, messages, tools, prompt=True) == theirs


@pytest.mark.parametrize("family", [INSTRUCT, THINKING])
def test_no_content_is_empty_content_where_the_template_raises(family: Qwen3VL) -> None:
    messages = [user("a"), assistant(None, call("now", {}))]
    assert text_of(family, messages) == text_of(family, [user("a"), assistant("", call("now", {}))])


@pytest.mark.parametrize(
    ("family", "content", "sampled"),
    [(INSTRUCT, "b", "b<|im_end|>"), (THINKING, "b", "r\n</think>\n\nb<|im_end|>")],
)
def test_what_the_prompt_prefills_is_scaffold_and_the_rest_is_sampled(
    family: Qwen3VL, content: str, sampled: str
) -> None:
    prefilled = "<think>\n" if family.variant == "thinking" else ""
    assert text_of(family, [user("a")], prompt=True).endswith(HEAD + prefilled)
    segments = list(renderer_of(family).segments([user("a"), assistant(content, reasoning="r")]))
    turn = [segment for segment in segments if segment.message == 1]
    assert "".join(segment.text for segment in turn if segment.body) == sampled
    assert "".join(segment.text for segment in turn[:-1] if not segment.body) == HEAD + prefilled


@pytest.mark.parametrize(
    ("family", "message", "path", "problem"),
    [
        (INSTRUCT, system("s"), "messages[1].role", "must be the first"),
        (INSTRUCT, {"role": "developer", "content": "d"}, "messages[1].role", "no such turn"),
        (THINKING, {"role": "developer", "content": "d"}, "messages[1].role", "no such turn"),
        (INSTRUCT, user([{"type": "image", "image": "x"}]), "messages[1].content[0]", "no image processor"),
        (THINKING, user([{"type": "video", "video": "x"}]), "messages[1].content[0]", "video parts are not supported"),
    ],
)
def test_refused_with_the_place(family: Qwen3VL, message: Message, path: str, problem: str) -> None:
    with pytest.raises(isc.ConversationError, match=problem) as error:
        renderer_of(family).render([user("a"), message])
    assert error.value.path == path


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", INSTRUCT),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct-FP8", INSTRUCT),
        ("Qwen/Qwen3-VL-30B-A3B-Thinking", THINKING),
    ],
)
def test_models_are_known_by_name(model: str, family: Qwen3VL) -> None:
    assert isc.family_for(model) == family


def test_instruct_keeps_history_so_a_new_query_extends_it() -> None:
    renderer = renderer_of(INSTRUCT)
    messages = [user("a"), assistant("b", call("now", {}))]
    prompt, full = renderer.render(messages[:1], None, True), renderer.render(messages)
    bridged = renderer.bridge_to_next_turn(prompt.token_ids, full.token_ids[len(prompt) : -1], [tool("c"), user("d")])
    assert bridged is not None
    assert bridged.token_ids == renderer.render([*messages, tool("c"), user("d")], None, True).token_ids
