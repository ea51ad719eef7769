"""The oddities of Qwen3.5 and 3.6, literally, each with its line of `Qwen--Qwen3.5-9B/chat_template.jinja`."""

from __future__ import annotations

from pathlib import Path

import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.formats.qwen3_5 import Qwen35
from isc.formats.qwen3_6 import Qwen36
from references import TemplateReference
from small_renders import renderer_of, text_of

HEAD = "<|im_start|>assistant\n"
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
FAMILIES: tuple[isc.Family, ...] = (Qwen35(), Qwen36())
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)


ODDITIES: dict[str, tuple[list[Message], list[Message] | None, str]] = {
    "line 57: the system text comes after the tools, trimmed": (
        [system(" s\n"), user("a")],
        [NOW],
        "\n</IMPORTANT>\n\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n",
    ),
    "line 56: after tools an empty system text is nothing": (
        [system(" \n"), user("a")],
        [NOW],
        "\n</IMPORTANT><|im_end|>\n<|im_start|>user\na<|im_end|>\n",
    ),
    "line 64: without tools an empty system text is a turn": (
        [system(" \n"), user("a")],
        None,
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\na<|im_end|>\n",
    ),
    "line 82: every text is trimmed": (
        [user("\n a\u3000"), tool("\tb\n")],
        None,
        "<|im_start|>user\na<|im_end|>\n<|im_start|>user\n<tool_response>\nb\n</tool_response><|im_end|>\n",
    ),
    "line 72: a user message that spells a tool response is no query, white space around it or not": (
        [user("a"), assistant("b", reasoning="r"), user(" <tool_response>x</tool_response>\n")],
        None,
        HEAD + "<think>\nr\n</think>\n\nb<|im_end|>\n"
        "<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n",
    ),
    "line 91: given reasoning leaves a spelled think block in the content": (
        [user("a"), assistant("x</think>y", reasoning="")],
        None,
        HEAD + "<think>\n\n</think>\n\nx</think>y<|im_end|>\n",
    ),
    "line 96: inline reasoning is taken out of the content, of which only newlines are stripped then": (
        [user("a"), assistant("<think>\n r \n</think>\n\n  b")],
        None,
        HEAD + "<think>\nr\n</think>\n\n  b<|im_end|>\n",
    ),
    "line 101: every turn after the last query has a think block, reasoning or not": (
        [user("a"), assistant("b"), assistant("c", reasoning=" r ")],
        None,
        HEAD + "<think>\n\n</think>\n\nb<|im_end|>\n" + HEAD + "<think>\nr\n</think>\n\nc<|im_end|>\n",
    ),
    "line 103: before the last query reasoning is dropped, inline or not": (
        [user("a"), assistant("b", reasoning="r"), assistant("<think>s</think>c"), user("d")],
        None,
        HEAD + "b<|im_end|>\n" + HEAD + "c<|im_end|>\n<|im_start|>user\nd<|im_end|>\n",
    ),
    "line 112: an empty line before the first call after content, a line break before every later one": (
        [user("a"), assistant("b", call("f", {}), call("g", {"k": "v"}), reasoning="r")],
        None,
        HEAD + "<think>\nr\n</think>\n\nb\n\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=g>\n<parameter=k>\nv\n</parameter>\n</function>\n</tool_call><|im_end|>\n",
    ),
    "line 114: nothing before the first call without content": (
        [user("a"), assistant(" \n", call("f", {"k": ""}))],
        None,
        HEAD + "<think>\n\n</think>\n\n<tool_call>\n<function=f>\n<parameter=k>\n\n</parameter>\n</function>\n"
        "</tool_call><|im_end|>\n",
    ),
    "line 132: a result that stands first of all has no head": (
        [tool("1"), tool("2"), user("a")],
        None,
        "\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>user\na<|im_end|>\n",
    ),
    "line 24: parts are joined before they are trimmed": (
        [user([{"type": "text", "text": " a "}, {"type": "text", "text": " b "}])],
        None,
        "<|im_start|>user\na  b<|im_end|>\n",
    ),
}  # fmt: skip


@families
@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(family: isc.Family, oddity: str) -> None:
    messages, tools, expected = ODDITIES[oddity]
    assert text_of(family, messages, tools).endswith(expected)


@families
@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_the_templates(family: isc.Family, oddity: str, reference: Path) -> None:
    messages, tools, _ = ODDITIES[oddity]
    model = "Qwen3.5-9B" if isinstance(family, Qwen35) else "Qwen3.6-35B-A3B"
    path = reference / "templates" / f"Qwen--{model}" / "chat_template.jinja"
    theirs = TemplateReference(path, None, ()).text((messages, tools), add_generation_prompt=True)
    assert text_of(family, messages, tools, prompt=True) == theirs


def test_preserved_thinking_is_in_every_turn() -> None:
    messages = [user("a"), assistant("b", reasoning="r"), assistant("c"), user("d")]
    assert text_of(Qwen36(preserve_thinking=True), messages).endswith(
        HEAD + "<think>\nr\n</think>\n\nb<|im_end|>\n" + HEAD + "<think>\n\n</think>\n\nc<|im_end|>\n"
        "<|im_start|>user\nd<|im_end|>\n"
    )


def test_arguments_given_as_text_are_rendered_as_what_the_text_says() -> None:
    text = text_of(Qwen35(), [user("a"), assistant("", call("f", '{"x": 1.50, "y":"\\u00e9"}'))])
    assert "<parameter=x>\n1.5\n</parameter>\n<parameter=y>\n\u00e9\n</parameter>\n" in text


@pytest.mark.parametrize(
    ("family", "prefilled"),
    [
        (Qwen35(), "<think>\n"),
        (Qwen35(enable_thinking=False), "<think>\n\n</think>\n\n"),
        (Qwen36(), "<think>\n"),
        (Qwen36(enable_thinking=False, preserve_thinking=True), "<think>\n\n</think>\n\n"),
    ],
)
@pytest.mark.parametrize("reasoning", [None, "r"])
def test_what_the_prompt_prefills_is_scaffold_and_the_rest_is_sampled(
    family: isc.Family, prefilled: str, reasoning: str | None
) -> None:
    assert text_of(family, [user("a")], prompt=True).endswith(HEAD + prefilled)
    segments = list(renderer_of(family).segments([user("a"), assistant("b", reasoning=reasoning)]))
    turn = [segment for segment in segments if segment.message == 1]
    scaffold = "".join(segment.text for segment in turn[:-1] if not segment.body)
    shared = prefilled if reasoning is None or prefilled == "<think>\n" else "<think>\n"
    assert scaffold == HEAD + shared
    assert "".join(s.text for s in turn) == f"{HEAD}<think>\n{reasoning or ''}\n</think>\n\nb<|im_end|>\n"
    assert (turn[-1].text, turn[-1].body) == ("\n", False)


IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
REFUSED: dict[str, tuple[list[Message], str, str]] = {
    "line 79: no user query": ([system("s"), assistant("a")], "messages", "no user query"),
    "line 79: nothing but tool results in disguise": (
        [user("<tool_response>x</tool_response>")],
        "messages",
        "no user query",
    ),
    "line 85: a later system message": ([user("a"), system("s")], "messages[1].role", "must be the first"),
    "line 144: a developer": ([user("a"), {"role": "developer", "content": "d"}], "messages[1].role", "no such turn"),
    "an image": ([user([{"type": "text", "text": "see"}, IMAGE])], "messages[0].content[1]", "no image processor"),
    "an image from a tool": ([user("a"), tool([IMAGE])], "messages[1].content[0]", "no image processor"),
}


@families
@pytest.mark.parametrize("input_", REFUSED)
def test_refused_with_the_place(family: isc.Family, input_: str) -> None:
    messages, path, problem = REFUSED[input_]
    with pytest.raises(isc.ConversationError, match=problem) as error:
        renderer_of(family).render(messages)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen3.5-0.8B", Qwen35(enable_thinking=False)),
        ("Qwen/Qwen3.5-2B", Qwen35(enable_thinking=False)),
        ("Qwen/Qwen3.5-4B", Qwen35()),
        ("Qwen/Qwen3.5-397B-A17B-FP8", Qwen35()),
        ("Qwen/Qwen3.6-27B", Qwen36()),
        ("Qwen/Qwen3.6-35B-A3B-FP8", Qwen36()),
    ],
)
def test_models_are_known_by_name(model: str, family: isc.Family) -> None:
    assert isc.family_for(model) == family


def test_a_tool_result_extends_a_turn_and_a_new_query_does_not() -> None:
    renderer = renderer_of(Qwen35())
    prompt = renderer.render([user("a")], None, True)
    full = renderer.render([user("a"), assistant("", call("now", {}), reasoning="r")])
    completion = full.token_ids[len(prompt) : -1]
    bridged = renderer.bridge_to_next_turn(prompt.token_ids, completion, [tool("noon")])
    assert bridged == renderer.bridge_to_next_turn(prompt.token_ids, completion[:-1], [tool("noon")])
    assert bridged is not None
    tail = renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(completion) :]).decode()
    result = "<|im_start|>user\n<tool_response>\nnoon\n</tool_response><|im_end|>\n"
    assert tail == f"\n{result}{HEAD}<think>\n"
    assert renderer.bridge_to_next_turn(prompt.token_ids, completion, [user("b")]) is None
