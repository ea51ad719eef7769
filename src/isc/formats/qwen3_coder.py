"""Qwen3-Coder: ChatML turns without reasoning, tools and calls as XML, a default identity where there are tools.

Follows `Qwen/Qwen3-Coder-30B-A3B-Instruct` (template sha256 672e747c77e99032) and its earlier revision
(7e0648e7a298d820), which prints tools and objects in arguments another way. Values are printed as Python prints them:
`True`, `None`, `[1, 'a']`. Reasoning is left out, as the template does. Deviations: content None is no content, and
arguments given as JSON text are read as the object they say, where the template fails; a tool without parameters has
none, where the newer revision fails; other parts than text are refused. As the template does, isc renders a `developer`
message under its own name, and a tool result that stands first of all without the head of its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec.structs import replace

from isc._json import json_text
from isc.formats import _chatml as chatml
from isc.formats.base import Family
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.grammars import read_turn
from isc.formats.reading.scanners import until
from isc.formats.reading.xml_calls import KEYS, PRINTED_XML_CALLS, TEXTS, TOOLS_TAIL, xml_calls
from isc.formats.segments import body, content_text, scaffold
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Json,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolMessage,
    ToolSpec,
)

Variant: TypeAlias = Literal["current", "earlier"]

_IDENTITY: Final = scaffold("You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks.")
_TOOLS_HEAD: Final = scaffold("\n\nYou have access to the following functions:\n\n<tools>")
_LINE: Final = scaffold("\n")


class Qwen3Coder(Family, frozen=True, tag_field="family", tag="qwen3-coder"):
    """The Qwen3-Coder models.

    Args:
        variant: Which revision of the template.

    Raises:
        ConversationError: From `turn`, for parts that are no text.

    >>> Qwen3Coder().reasoning is None, Qwen3Coder().keeps_history
    (True, True)
    """

    variant: Variant = "current"

    specials: ClassVar[tuple[str, ...]] = chatml.SPECIALS
    turn_close: ClassVar[str] = chatml.IM_END
    one_prompt: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = chatml.XML_CALL_MARKERS
    stop_tokens: ClassVar[tuple[str, ...]] = (chatml.IM_END, chatml.END_OF_TEXT)
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[None] = None
    argument_keys: ClassVar[str] = KEYS
    argument_texts: ClassVar[str] = TEXTS

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, if there is a system message or there are tools."""
        says = isinstance(chat.messages[0], SystemMessage)
        if not (says or chat.tools):
            return
        yield from chatml.im_start("system")
        yield body(content_text(chat, 0)) if says else _IDENTITY
        if chat.tools:
            yield _TOOLS_HEAD
            shown = _tool if self.variant == "current" else _tool_of_earlier
            yield from (scaffold("".join(shown(tool.function))) for tool in chat.tools)
            yield from TOOLS_TAIL
        yield from chatml.CLOSE

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage) and message.tool_calls:
            return self._call_turn(chat, index, message)
        if isinstance(message, ToolMessage):
            return chatml.tool_response_lines(chat, index)
        if isinstance(message, SystemMessage) and not index:
            return ()
        return chatml.im_turn(ROLES[type(message)], body(content_text(chat, index)))

    def _call_turn(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield a turn that calls. Its content is trimmed and set off by an empty line."""
        content = content_text(chat, index).strip()
        yield from chatml.im_start("assistant")
        if content:
            yield from (body(content), _LINE, _LINE)
        spell = str if self.variant == "current" else _printed
        yield from xml_calls(message.tool_calls, spell, apart=scaffold(""))
        yield from chatml.CLOSE

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn."""
        return chatml.im_start("assistant")

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is a JSON value or one of Python's is not text."""
        response = read_turn(until(sampled, self.stop_tokens), None, PRINTED_XML_CALLS, tools=tools)
        return replace(response, content=response.content.strip()) if response.tool_calls else response

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return replace(followed(self.stop_tokens, PRINTED_XML_CALLS), trims_before_calls=True)


def _printed(value: Json) -> str:
    """Print an object as JSON, every other value as Python does."""
    return json_text(value) if isinstance(value, Mapping) else str(value)


def _tag(name: str, text: str) -> str:
    return f"\n<{name}>{text}</{name}>"


def _properties(function: Mapping[str, Json]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Yield the parameters of a function with their schemas. A schema that is no object says nothing."""
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    for name, fields in properties.items() if isinstance(properties, Mapping) else ():
        yield name, fields if isinstance(fields, Mapping) else {}


def _tool(function: Mapping[str, Json]) -> Iterator[str]:
    """Yield the lines of a tool. Lists of names are quoted, and other fields have tags without `-`, ` ` and `$`."""
    yield f"\n<function>\n<name>{function['name']}</name>"
    yield _tag("description", str(function.get("description", "")).strip())
    yield "\n<parameters>"
    for name, fields in _properties(function):
        yield f"\n<parameter>\n<name>{name}</name>"
        yield from _type_and_description(fields)
        yield _names("enum", fields.get("enum"))
        for key, value in fields.items():
            if key not in ("type", "description", "enum", "required"):
                yield _tag(key.replace("-", "_").replace(" ", "_").replace("$", ""), _printed(value))
        yield _names("required", fields.get("required"))
        yield "\n</parameter>"
    parameters = function.get("parameters")
    yield _names("required", parameters.get("required") if isinstance(parameters, Mapping) else None)
    yield "\n</parameters>"
    if "return" in function:
        yield _tag("return", _printed(function["return"]))
    yield "\n</function>"


def _type_and_description(fields: Mapping[str, Json]) -> Iterator[str]:
    if "type" in fields:
        yield _tag("type", str(fields["type"]))
    if "description" in fields:
        yield _tag("description", str(fields["description"]).strip())


def _names(tag: str, items: Json) -> str:
    """Return a list in its tag, texts in backquotes. Return nothing for what holds nothing."""
    if not items or not isinstance(items, (str, list, tuple, Mapping)):
        return ""
    return _tag(tag, f"[{', '.join(f'`{item}`' if isinstance(item, str) else str(item) for item in items)}]")


def _tool_of_earlier(function: Mapping[str, Json]) -> Iterator[str]:
    """Yield the lines of a tool as the earlier revision has them: every other field in a tag of its own name."""
    yield f"\n<function>\n<name>{function['name']}</name>"
    if "description" in function:
        yield _tag("description", str(function["description"]).strip())
    yield "\n<parameters>"
    for name, fields in _properties(function):
        yield f"\n<parameter>\n<name>{name}</name>"
        yield from _type_and_description(fields)
        yield from _others(fields, ("name", "type", "description"))
        yield "\n</parameter>"
    yield from _others(function.get("parameters"), ("type", "properties"))
    yield "\n</parameters>"
    yield from _others(function, ("type", "name", "description", "parameters"))
    yield "\n</function>"


def _others(fields: Json, handled: tuple[str, ...]) -> Iterator[str]:
    for key, value in fields.items() if isinstance(fields, Mapping) else ():
        if key not in handled:
            yield _tag(key, _printed(value))


FAMILY: Final = Qwen3Coder

_SIZES: Final = ("30B-A3B", "480B-A35B")

MODELS: Final = {f"Qwen/Qwen3-Coder-{size}-Instruct{kind}": Qwen3Coder() for size in _SIZES for kind in ("", "-FP8")}

TEMPLATES: Final = {"672e747c77e99032": Qwen3Coder(), "7e0648e7a298d820": Qwen3Coder(variant="earlier")}
