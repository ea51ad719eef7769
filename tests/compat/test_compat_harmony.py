"""gpt-oss in `isc.compat` against `openai-harmony`: the same ids, tools declared in the same words, turns read back."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_harmony import (
    Author,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    Role,
    SystemContent,
    ToolDescription,
    load_harmony_encoding,
)

from golden_conversations import assistant, call, system, tool, user
from isc.compat import create_renderer
from isc.compat.configs import GptOssRendererConfig
from isc.compat.typescript import namespace
from isc.encoding.encoders import VocabularyEncoder
from isc.types import ToolSpec
from references import write_harmony_ranks

_DAY = "2025-08-05"
_NOW: dict[str, Any] = {"name": "now", "description": "The time.\nIn UTC.", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
def harmony(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarmonyEncoding]:
    place = tmp_path_factory.mktemp("ranks")
    write_harmony_ranks(reference, place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TIKTOKEN_ENCODINGS_BASE", str(place))
        yield load_harmony_encoding("HarmonyGptOss")


@pytest.fixture
def renderer(real_encoder: Callable[[str], VocabularyEncoder]) -> Any:  # noqa: ANN401 - a renderer of compat
    return create_renderer(real_encoder("gpt-oss"), GptOssRendererConfig(conversation_start_date=_DAY))


def _said(role: Role, text: str, channel: str = "", to: str = "") -> Message:
    message = Message.from_role_and_content(role, text)
    message = message.with_channel(channel) if channel else message
    return message.with_recipient(to) if to else message


def _result(name: str, text: str) -> Message:
    message = Message.from_author_and_content(Author.new(Role.TOOL, name), text)
    return message.with_recipient("assistant").with_channel("commentary")


def _head(instructions: str | None = None, *tools: dict[str, Any]) -> list[Message]:
    preamble = SystemContent.new().with_conversation_start_date(_DAY)
    head = [Message.from_role_and_content(Role.SYSTEM, preamble)]
    developer = DeveloperContent.new()
    if instructions:
        developer = developer.with_instructions(instructions)
    if tools:
        developer = developer.with_function_tools([_described(tool) for tool in tools])
    return head if instructions is None and not tools else [*head, _developed(developer)]


def _developed(content: DeveloperContent) -> Message:
    return Message.from_role_and_content(Role.DEVELOPER, content)


def _described(tool: dict[str, Any]) -> ToolDescription:
    return ToolDescription.new(
        name=tool["name"], description=tool["description"], parameters=tool.get("parameters") or {}
    )


_LATER = _developed(DeveloperContent.new().with_instructions("Later."))
CASES: dict[str, tuple[list[dict[str, Any]], tuple[dict[str, Any], ...], list[Message]]] = {
    "an answer, its reasoning dropped": (
        [user("Hi"), assistant("Hello", reasoning="greet")],
        (),
        [*_head(), _said(Role.USER, "Hi"), _said(Role.ASSISTANT, "Hello", "final")],
    ),
    "instructions and tools": (
        [system("Be brief."), user("Hi")],
        (_NOW,),
        [*_head("Be brief.", _NOW), _said(Role.USER, "Hi")],
    ),
    "empty instructions": ([system(""), user("Hi")], (), [*_head(""), _said(Role.USER, "Hi")]),
    "a later system message": (
        [system("First."), user("Hi"), system("Later.")],
        (),
        [*_head("First."), _said(Role.USER, "Hi"), _LATER],
    ),
    "a system message after a user": ([user("Hi"), system("S")], (), [*_head("S"), _said(Role.USER, "Hi")]),
    "two calls, their reasoning, one result without a name": (
        [
            user("Hi"),
            assistant("", call("now", {}), call("now", {"zone": "ü"}), reasoning="hm"),
            tool("12", name="now"),
            tool("13"),
        ],
        (_NOW,),
        [
            *_head(None, _NOW),
            _said(Role.USER, "Hi"),
            _said(Role.ASSISTANT, "hm", "analysis"),
            _said(Role.ASSISTANT, "{}", "commentary", "functions.now"),
            _said(Role.ASSISTANT, '{"zone": "ü"}', "commentary", "functions.now"),
            _result("functions.now", "12"),
            _result("functions.unknown", "13"),
        ],
    ),
    "an answered call": (
        [
            user("Hi"),
            assistant("I look.", call("now", {}), reasoning="hm"),
            tool("12", name="now"),
            assistant("Noon."),
        ],
        (),
        [
            *_head(),
            _said(Role.USER, "Hi"),
            _said(Role.ASSISTANT, "I look.", "final"),
            _said(Role.ASSISTANT, "{}", "commentary", "functions.now"),
            _result("functions.now", "12"),
            _said(Role.ASSISTANT, "Noon.", "final"),
        ],
    ),
}


@pytest.mark.parametrize(("messages", "tools", "expected"), CASES.values(), ids=CASES)
def test_conversations_have_the_ids_of_harmony(
    renderer: Any,  # noqa: ANN401
    harmony: HarmonyEncoding,
    messages: list[dict[str, Any]],
    tools: tuple[dict[str, Any], ...],
    expected: list[Message],
) -> None:
    given = [{"type": "function", "function": spec} for spec in tools]
    conversation = Conversation.from_messages(expected)
    assert renderer.render_ids(messages, tools=given) == harmony.render_conversation_for_training(conversation)
    prompt = harmony.render_conversation_for_completion(conversation, next_turn_role=Role.ASSISTANT)
    opened = harmony.encode("<|channel|>analysis<|message|>", allowed_special="all")
    assert renderer.render_ids(messages, tools=given, add_generation_prompt=True) == [*prompt, *opened]


def test_options_of_the_configuration(
    real_encoder: Callable[[str], VocabularyEncoder], harmony: HarmonyEncoding
) -> None:
    facts = (
        SystemContent.new().with_conversation_start_date(_DAY).with_knowledge_cutoff("2030").with_model_identity("I")
    )
    said = [_said(Role.USER, "Hi"), _said(Role.ASSISTANT, "why", "analysis"), _said(Role.ASSISTANT, "Hello", "final")]
    messages = [user("Hi"), assistant("Hello", reasoning="why")]
    options: dict[str, Any] = {"conversation_start_date": _DAY, "auto_drop_analysis": False}
    told = GptOssRendererConfig(knowledge_cutoff="2030", model_identity="I", **options)
    system_turn = [Message.from_role_and_content(Role.SYSTEM, facts)]
    for config, head in ((told, system_turn), (GptOssRendererConfig(use_system_prompt=False, **options), [])):
        made = create_renderer(real_encoder("gpt-oss"), config)
        ids = [token for message in [*head, *said] for token in harmony.render(message)]
        assert made.render_ids(messages)[:-1] == ids[:-1]
        assert made.effective_thinking_retention == "all"


def _schema(source: random.Random, depth: int) -> dict[str, Any]:
    """A random schema, sensible or not."""
    kinds = ["string", "integer", "object", "array", "null", ["string", "null"], "weird"]
    fields: dict[str, list[Any]] = {
        "type": kinds,
        "enum": [["a", "b"], [1, 2], []],
        "default": ["a", 1.5, None, ["k", {"z": "ü"}], 'x"y'],
        "description": ["d", "two\nlines", ""],
        "title": ["T"],
        "examples": [["e", 1], []],
        "nullable": [True, False],
        "required": [["z"], []],
    }
    schema = {name: source.choice(values) for name, values in fields.items() if source.random() < 0.4}
    if depth:
        if source.random() < 0.2:
            schema["oneOf"] = [_schema(source, depth - 1) for _ in range(source.randint(0, 3))]
        if source.random() < 0.7:
            schema["properties"] = {name: _schema(source, depth - 1) for name in source.sample("zam", 2)}
        if source.random() < 0.5:
            schema["items"] = _schema(source, depth - 1)
    return schema


@pytest.mark.parametrize("seed", range(4))
def test_tools_are_declared_in_the_words_of_harmony(harmony: HarmonyEncoding, seed: int) -> None:
    source = random.Random(seed)
    for _ in range(60):
        parameters = {**_schema(source, 3), "type": "object"}
        spec = {"name": "f", "description": source.choice(("D", "a\r\nb\n", "", "\n")), "parameters": parameters}
        written = harmony.decode(harmony.render_conversation(Conversation.from_messages(_head(None, spec)[1:])))
        declared = namespace([ToolSpec({"type": "function", "function": spec})])
        assert declared == written[written.index("## functions") : written.rindex("<|end|>")], json.dumps(spec)


@pytest.mark.parametrize("own_head", [False, True], ids=["as prompted", "a header of its own"])
def test_a_turn_is_read_from_within_the_channel_that_the_prompt_opened(
    renderer: Any,  # noqa: ANN401
    harmony: HarmonyEncoding,
    own_head: bool,
) -> None:
    prompt = renderer.render_ids([user("Hi")], add_generation_prompt=True)
    head = "<|start|>assistant<|channel|>analysis<|message|>" if own_head else ""
    said = f"{head}why<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>"
    read = renderer.parse_response(harmony.encode(said, allowed_special="all"), prompt_ids=prompt)
    assert (read.reasoning_content, read.content, read.reasoning_complete) == ("why", "Hello", True)
    cut = renderer.parse_response(harmony.encode(f"{head}why", allowed_special="all"), prompt_ids=prompt)
    assert (cut.reasoning_content, cut.content, cut.reasoning_complete) == ("why", "", False)


def test_a_header_of_its_own_after_a_prompt_that_closed_its_analysis(
    renderer: Any,  # noqa: ANN401
    harmony: HarmonyEncoding,
) -> None:
    head = "<|start|>assistant<|channel|>analysis<|message|>"
    prompt = harmony.encode(f"{head}a<|end|><|start|>assistant<|channel|>final<|message|>", allowed_special="all")
    sampled = harmony.encode(f"{head}b", allowed_special="all")
    read = renderer.parse_response(sampled, prompt_ids=prompt)
    assert (read.reasoning_content, read.content, read.reasoning_complete) == ("b", "", False)


def test_a_bridge_closes_analysis_and_opens_the_next(renderer: Any, harmony: HarmonyEncoding) -> None:  # noqa: ANN401
    prompt = renderer.render_ids([user("Hi")], add_generation_prompt=True)
    thought = harmony.encode("why")
    bridge = renderer.bridge_to_next_turn(prompt, thought, [tool("12", name="now")])
    next_turn = [harmony.render(_result("functions.now", "12"))]
    opened = harmony.encode("<|start|>assistant<|channel|>analysis<|message|>", allowed_special="all")
    closed = harmony.encode("<|end|>", allowed_special="all")
    assert bridge.token_ids == [*prompt, *thought, *closed, *next_turn[0], *opened]
    stopped = {stop: renderer.bridge_to_next_turn(prompt, [*thought, stop], [tool("12")]) for stop in (200002, 200012)}
    assert stopped[200002] is None
    assert stopped[200012].token_ids[: len(prompt) + 2] == [*prompt, *thought, 200012]
