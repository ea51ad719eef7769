"""A call that has to be made: what engines hold sampling to, as a structural tag of xgrammar's.

The tag is made of the format's own rendering of a call. Every control token is its id, so none can be spelled as text;
the arguments are JSON of the tool's schema; the turn ends with a stop token, which engines allow where a tag has ended.
Before the call there may be reasoning, since some engines begin to constrain only after it. A format is taken only
where the reading of such turns is the call, whichever stop ends them: where arguments are JSON text, that is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, product
from typing import Final, TypeAlias

from msgspec import Struct

from isc._json import json_text
from isc.conversation.prefill import PromptEnd, stream_to
from isc.conversation.renderer import Renderer
from isc.errors import ConversationError
from isc.formats.reading.json_calls import JsonCalls
from isc.types import AssistantMessage, Chat, Json, ToolCall, ToolSpec, UserMessage

_THOUGHT: Final = "isc:reasoning"
_ARGUMENTS: Final[dict[str, Json]] = {"isc:arguments": ""}
_JSON: Final = re.compile(r'\{\s*"isc:arguments"\s*:\s*""\s*\}')

_Item: TypeAlias = int | str
"""A control token by its id, or text."""


class _Turn(Struct, frozen=True):
    """How a format says a call of a tool, from where sampling begins to before the stop.

    `thought`: what stands around reasoning, None where none can be sampled. `between`: white space after it. `before`
    and `after`: what stands around the JSON of the arguments.
    """

    thought: tuple[tuple[_Item, ...], int] | None
    between: str
    before: tuple[_Item, ...]
    after: tuple[_Item, ...]


def forced_call(renderer: Renderer, tools: Sequence[ToolSpec], names: Sequence[str], number: int = 0) -> str | None:
    """Return the structural tag by which one call of these tools is made; None where the format has no exact one.

    Args:
        renderer: Format and vocabulary.
        tools: The tools that are offered.
        names: The tools one of which has to be called.
        number: How many calls the conversation has so far.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen25().specials), isc.Qwen25())
    >>> now = ToolSpec({"type": "function", "function": {"name": "now"}})
    >>> forced_call(renderer, [now], ["now"]).startswith('{"type": "structural_tag", "format": ')
    True
    """
    chosen = [tool for tool in tools if tool.name in names]
    turns = [_turn(renderer, tool, tools, number) for tool in chosen]
    made = [turn for turn in turns if turn is not None]
    if not made or len(made) < len(turns) or len({(turn.thought, turn.between) for turn in made}) > 1:
        return None
    pairs = list(zip(chosen, made, strict=True))
    if not all(_is_read(renderer, tool, tools, turn, thinks=turn is made[0]) for tool, turn in pairs):
        return None
    calls = [_sequence([*_elements(turn.before), _arguments(tool), *_elements(turn.after)]) for tool, turn in pairs]
    one = calls[0] if len(calls) == 1 else {"type": "or", "elements": calls}
    return json_text({"type": "structural_tag", "format": _sequence([*_thinking(renderer, made[0]), one])})


def _turn(renderer: Renderer, tool: ToolSpec, tools: Sequence[ToolSpec], number: int) -> _Turn | None:
    """Return how a format says a call; None where its arguments are no JSON text or it has no stop."""
    items = _sampled(renderer, tool, tools, number)
    stops = renderer.get_stop_token_ids()
    if not items or items[-1] not in stops:
        return None
    thought, between, said = _split_thought(items[:-1])
    place = next((k for k, item in enumerate(said) if isinstance(item, str) and _JSON.search(item)), None)
    if place is None:
        return None
    text = said[place]
    assert isinstance(text, str), "found in a text"
    before, *after = _JSON.split(text)
    rest = "".join(after)
    return _Turn(
        thought,
        between,
        (*said[:place], *([before] if before else ())),
        (*([rest] if rest else ()), *said[place + 1 :]),
    )


def _sampled(renderer: Renderer, tool: ToolSpec, tools: Sequence[ToolSpec], number: int) -> tuple[_Item, ...]:
    """Return what is sampled of a turn that thinks and calls the tool; nothing where the format has no such turn."""
    grammar = renderer.family.grammar
    is_native = isinstance(grammar, JsonCalls) and grammar.native
    call = ToolCall(tool.name, _ARGUMENTS, f"functions.{tool.name}:{number}" if is_native else f"call{number:05}")
    said = AssistantMessage("", reasoning_content=_THOUGHT, tool_calls=(call,))
    for message in (said, AssistantMessage("", tool_calls=(call,))):
        chat = Chat((UserMessage("hi"), message), tuple(tools))
        try:
            segments = [one for one in stream_to(renderer.family, chat, PromptEnd()) if one.message == 1 and one.body]
        except ConversationError:
            continue
        return tuple(_items(renderer, [(one.kind == "special", one.text) for one in segments]))
    return ()


def _items(renderer: Renderer, pieces: Sequence[tuple[bool, str]]) -> list[_Item]:
    """Return control tokens by their ids, and the texts between them."""
    items: list[_Item] = []
    for is_special, text in pieces:
        if is_special:
            items.append(renderer.encoder.specials[text])
        elif items and isinstance(items[-1], str):
            items[-1] += text
        elif text:
            items.append(text)
    return items


def _split_thought(
    items: tuple[_Item, ...],
) -> tuple[tuple[tuple[_Item, ...], int] | None, str, tuple[_Item, ...]]:
    """Return what stands around reasoning that a control token ends, the white space after that, and the rest."""
    place = next((k for k, item in enumerate(items) if isinstance(item, str) and _THOUGHT in item), None)
    if place is None or place + 1 >= len(items):
        return None, "", items
    closer = items[place + 1]
    if not isinstance(closer, int):
        return None, "", items
    rest = items[place + 2 :]
    first = rest[0] if rest else ""
    between = first[: len(first) - len(first.lstrip())] if isinstance(first, str) else ""
    if isinstance(first, str) and between:
        left = first[len(between) :]
        rest = (*([left] if left else ()), *rest[1:])
    return (items[:place], closer), between, rest


def _thinking(renderer: Renderer, turn: _Turn) -> list[Json]:
    """Return the elements of reasoning, which may be sampled or not: any token but control tokens, then its closer."""
    elements: list[Json] = []
    if turn.thought is not None:
        opener, closer = turn.thought
        others: list[Json] = sorted(renderer.encoder.specials.values())  # type: ignore[assignment]  # ids are JSON
        thought: Json = {"type": "any_tokens", "exclude_tokens": others}
        elements.append({"type": "optional", "content": _sequence([*_elements(opener), thought, *_elements([closer])])})
    if turn.between:
        elements.append({"type": "optional", "content": {"type": "const_string", "value": turn.between}})
    return elements


def _elements(items: Sequence[_Item]) -> list[Json]:
    return [
        {"type": "token", "token": item} if isinstance(item, int) else {"type": "const_string", "value": item}
        for item in items
    ]


def _sequence(elements: Sequence[Json]) -> Json:
    return elements[0] if len(elements) == 1 else {"type": "sequence", "elements": list(elements)}


def _arguments(tool: ToolSpec) -> Json:
    schema = dict(tool.parameters)
    return {"type": "json_schema", "json_schema": schema if schema.get("type") == "object" else {"type": "object"}}


def _is_read(renderer: Renderer, tool: ToolSpec, tools: Sequence[ToolSpec], turn: _Turn, *, thinks: bool) -> bool:
    """Return whether turns of this form are read as the call, whichever stop ends them, with reasoning and without."""
    chat = Chat((UserMessage("hi"),), tuple(tools))
    prompt = renderer.render_chat(chat, add_generation_prompt=True).token_ids
    thoughts: list[tuple[_Item, ...]] = [()]
    if thinks and turn.thought is not None:
        opener, closer = turn.thought
        thoughts.append((*opener, "Hm.", closer))
    call = (*turn.before, json_text(_ARGUMENTS), *turn.after)
    for thought, space, stop in product(thoughts, dict.fromkeys(("", turn.between)), renderer.get_stop_token_ids()):
        ids = tuple(chain.from_iterable(_ids(renderer, item) for item in (*thought, space, *call, stop)))
        read = renderer.parse_response(ids, tools, prompt_ids=prompt)
        if [(one.status, one.name, one.arguments) for one in read.tool_calls] != [("ok", tool.name, _ARGUMENTS)]:
            return False
    return True


def _ids(renderer: Renderer, item: _Item) -> Sequence[int]:
    return (item,) if isinstance(item, int) else next(iter(renderer.encoder.encode_batch([item])))
