"""Seed-OSS: a thinking budget in a turn of its own, tools as Python functions, calls as XML, all reasoning kept.

Follows `ByteDance-Seed/Seed-OSS-36B-Instruct` (template sha256 3f9e0dc4adeb8032). Values are printed as Python prints
them: `True`, `None`, `[1, 'a']`. An answer that says nothing has no close, as in the template. With `use_json_tooldef`
the list of tools is shown where there are none too, as the template does. Deviations: content None is no content where
the template fails; arguments given as JSON text are read as the object they say, where the template fails; a tool
without parameters has none, where the template fails; other parts than text are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Final

from msgspec import Meta
from msgspec.structs import replace

from isc._json import json_text
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar, read_turn
from isc.formats.reading.scanners import until
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.segments import arguments_object, body, content_text, is_special, scaffold, special, spelled
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Ended,
    Json,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolSpec,
)

_SPECIALS: Final = (
    "<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>", "<seed:tool_call>", "</seed:tool_call>",
    "<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>",
)  # fmt: skip
_BOS, _EOS, _THINK, _END_THINK, _CALL, _END_CALL, _REFLECT, _END_REFLECT = map(special, _SPECIALS)
_LINE: Final = scaffold("\n")
_NO_THOUGHT: Final = (
    _THINK,
    _LINE,
    _REFLECT,
    scaffold("The current thinking budget is 0, so I will directly start answering the question."),
    _END_REFLECT,
    _LINE,
    _END_THINK,
)
_IDENTITY: Final = (
    "You are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user query."
)
_TOOL_LIST: Final = (
    "\nTool List:\nYou are authorized to use the following tools (described in JSON Schema format). Before performing "
    "any task, you must decide how to call them based on the descriptions and parameters of these tools.\n"
)
_HOW_TO_CALL: Final = spelled(
    "\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n"
    "<parameter=example_parameter_1>value_1</parameter>\n<parameter=example_parameter_2>This is the value for the "
    "second parameter\nthat can span\nmultiple lines</parameter>\n</function>\n</seed:tool_call>\n",
    _SPECIALS,
)
_NO_BUDGET: Final = (
    "You are an intelligent assistant that can answer questions in one step without the need for reasoning and "
    "thinking, that is, your thinking budget is 0. Next, please skip the thinking process and directly start answering "
    "the user's questions."
)
_BUDGET: Final = (
    "You are an intelligent assistant with reflective ability. In the process of thinking and reasoning, you need to "
    "strictly follow the thinking budget, which is {budget}. That is, you need to complete your thinking within "
    "{budget} tokens and start answering the user's questions. You will reflect on your thinking process every "
    "{interval} tokens, stating how many tokens have been used and how many are left."
)
_INTERVALS: Final = ((512, 128), (1024, 256), (4096, 512))
"""Budgets, and after how many tokens a model with no more than that is to reflect."""
_LONGEST_INTERVAL: Final = 1024
_PYTHON_TYPES: Final = {"string": "str", "number": "int", "integer": "int", "boolean": "bool", "array": "list"}
_CALLS: Final = TaggedCalls(
    f"{_CALL.text}\n<function=",
    f"</function>\n{_END_CALL.text}",
    ">\n",
    "<parameter=",
    ">",
    "</parameter>\n",
    (_CALL.text, _END_CALL.text),
    python=True,
    marked=True,
)


class SeedOss(Family, frozen=True, tag_field="family", tag="seed-oss"):
    """The Seed-OSS instruction-tuned models.

    Args:
        thinking_budget: How many tokens the model may think, told in a turn of its own; 0 is none and prefills a
            thought that says so, -1 sets no bound and tells nothing.
        use_json_tooldef: Show tools as JSON schemas, not as Python functions.

    Raises:
        OptionError: A budget below -1.

    >>> SeedOss(thinking_budget=0).reasoning.opener
    '<seed:think>'
    """

    thinking_budget: Annotated[int, Meta(ge=-1)] = -1
    use_json_tooldef: bool = False

    specials: ClassVar[tuple[str, ...]] = _SPECIALS
    turn_close: ClassVar[str] = _EOS.text
    grammar: ClassVar[Grammar] = _CALLS
    one_prompt: ClassVar[bool] = True
    tells_ending: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = ("<function=", "</function>", "<parameter=", "</parameter>")
    stop_tokens: ClassVar[tuple[str, ...]] = (_EOS.text,)
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[Reasoning] = Reasoning(_THINK.text, _END_THINK.text, (_END_THINK,), (_CALL.text,))
    argument_keys: ClassVar[str] = r"(?!\u0338)[^<>{}\n]*"  # NFC composes a tag's `=` and `>` with U+0338
    argument_texts: ClassVar[str] = (
        r"(?s:(?!\u0338)(?!.*</parameter>\s*<(?:parameter=|/function>))(?!(?:.*\n)?<parameter=[^<>\n]+>).*)"
    )

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, if there is a system message or there are tools."""
        says = isinstance(chat.messages[0], SystemMessage)
        if says:
            yield from (*_head("system"), body(content_text(chat, 0)))
        elif chat.tools:
            yield from (*_head("system"), scaffold(_IDENTITY))
        if self.use_json_tooldef:
            yield scaffold(_TOOL_LIST + json_text([tool.schema for tool in chat.tools]))
        else:
            functions = [tool.function for tool in chat.tools if tool.schema.get("type") == "function"]
            yield scaffold("".join(map(_function, functions)))
        if chat.tools:
            yield from _HOW_TO_CALL
        if says or chat.tools:
            yield _EOS

    def preamble(self, chat: Chat) -> Segments:
        """Yield the thinking budget in a turn of its own, where one is set."""
        budget = self.thinking_budget
        if budget < 0:
            return ()
        interval = next((tokens for most, tokens in _INTERVALS if budget <= most), _LONGEST_INTERVAL)
        told = _BUDGET.format(budget=budget, interval=interval) if budget else _NO_BUDGET
        return (*_head("system"), scaffold(f"{told}\n"), _EOS)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. A leading system message belongs to the opening."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return _answer(chat, index, message)
        if not index and isinstance(message, SystemMessage):
            return ()
        return (*_head(ROLES[type(message)]), body(content_text(chat, index)), _EOS)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn, with a thought that says that there is none where the budget is 0."""
        return (*_head("assistant"), *(() if self.thinking_budget else _NO_THOUGHT))

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended. One that says nothing has no close, like such a turn in history."""
        parsed = self.parse(sampled, ())
        closing = () if parsed.reasoning_complete else self.reasoning.closing
        closed = bool(sampled.segments) and is_special(sampled.segments[-1], _EOS.text)
        if not closed and (parsed.content or parsed.tool_calls):
            closing = (*closing, _EOS)
        return Ended(closing, reasoning_open=not parsed.reasoning_complete)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is a JSON value or one of Python's is not text."""
        response = read_turn(until(sampled, self.stop_tokens), self.reasoning, self.grammar, tools=tools)
        thought = response.reasoning_content
        return replace(response, content=response.content.strip(), reasoning_content=thought and thought.strip())


def _head(role: str) -> tuple[Segment, ...]:
    return _BOS, scaffold(f"{role}\n")


def _answer(chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
    """Yield an assistant's turn: its thought, its content and its calls, each on a line of its own."""
    thought, content = (message.reasoning_content or "").strip(), content_text(chat, index).strip()
    if not (thought or content or message.tool_calls):
        yield from (_BOS, scaffold("assistant"))
        return
    yield from _head("assistant")
    if thought:
        yield from (_THINK, body(thought, "reasoning"), _END_THINK)
    if content:
        yield from (*((_LINE,) if thought else ()), body(content), *((_LINE,) if message.tool_calls else ()))
    for position, call in enumerate(message.tool_calls):
        yield scaffold("\n" if position or thought or content else "")
        yield from _call(call)
    if content or message.tool_calls:
        yield _EOS


def _call(call: ToolCall) -> Iterator[Segment]:
    """Yield a call, a line each for its arguments."""
    yield from (_CALL, scaffold("\n<function="), body(call.name, "tool_name"), scaffold(">\n"))
    for key, argument in arguments_object(call).items():
        yield from (scaffold("<parameter="), body(key, "tool_arguments"), scaffold(">"))
        yield from (body(str(argument), "tool_arguments"), scaffold("</parameter>\n"))
    yield from (scaffold("</function>\n"), _END_CALL)


def _function(function: Mapping[str, Json]) -> str:
    """Return a tool as a Python function without a body, its arguments and results in its docstring."""
    parameters = _mapping(function.get("parameters"))
    properties, required = _mapping(parameters.get("properties")), parameters.get("required")
    returns = _mapping(_mapping(function.get("returns")).get("properties"))
    given = ",".join(f"{name}: {_python_type(schema)}" for name, schema in properties.items())
    needed = required if isinstance(required, (list, tuple)) else ()
    arguments = "".join(
        f"\n    - {name} ({_python_type(schema)}) [{'必填' if name in needed else '选填'}]: {_described(schema)}"
        for name, schema in properties.items()
    )
    results = "".join(
        f"\n    - {name} ({_python_type(schema)}): {_described(schema)}" for name, schema in returns.items()
    )
    return (
        f"\n\nFunction:\ndef {function['name']}({given}):\n"
        f'    """\n    {str(function.get("description", "")).strip()}\n\n'
        f"{'    Args:' if properties else ''}{arguments}\n{'    Returns:' if returns else ''}{results}\n"
        '    """'
    )


def _python_type(schema: Json) -> str:
    named = _mapping(schema).get("type")
    return _PYTHON_TYPES.get(named, "Any") if isinstance(named, str) else "Any"


def _described(schema: Json) -> str:
    return str(_mapping(schema).get("description") or "")


def _mapping(told: Json) -> Mapping[str, Json]:
    return told if isinstance(told, Mapping) else {}


FAMILY: Final = SeedOss

MODELS: Final = {"ByteDance-Seed/Seed-OSS-36B-Instruct": SeedOss()}

TEMPLATES: Final = {"3f9e0dc4adeb8032": SeedOss()}
