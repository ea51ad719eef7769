"""The laws of going on and of reading back (DESIGN 2, 6 and 8): a bridge extends, parsing inverts, nothing raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from isc import convert
from isc.errors import ConversationError
from isc.jsontext import json_text
from isc.laws import Conversation, require
from isc.render import Renderer
from isc.rendered import RenderedTokens
from isc.segments import arguments_object, closing
from isc.types import AssistantMessage, Chat, Json, ParsedResponse, ToolCall


def extension(renderer: Renderer, conversation: Conversation, new: Conversation) -> bool:
    """A bridge begins with every previous id, unchanged; where the format keeps history it equals a fresh render.

    The conversation ends with an assistant turn, which is taken as sampled, its close included; where the completion
    lacks the close, the same ids come of it. Where a bridge raises, so does a render. Returns whether the bridge was
    granted.
    """
    messages, tools = conversation
    if len(messages) == 1:
        return False
    prompt = renderer.render(messages[:-1], tools, True)
    full = renderer.render(messages, tools)
    if full.token_ids[: len(prompt)] != prompt.token_ids:
        return False
    completion = full.token_ids[len(prompt) : _sampled_end(full, len(prompt))]
    media = prompt.multi_modal_data
    close = _close_by_next(renderer, renderer.chat([*messages, *new[0]], tools), len(messages))
    try:
        bridged = renderer.bridge_to_next_turn(prompt.token_ids, completion + close, new[0], tools, media)
    except ConversationError:
        bridged = None
        require(_refused(renderer, [*messages, *new[0]], tools), "a bridge raises where a render does not", new)
    if bridged is None:
        return False
    previous = prompt.token_ids + completion + close
    require(bridged.token_ids[: len(previous)] == previous, "a bridge rewrote ids", conversation, new)
    if close:
        unclosed = renderer.bridge_to_next_turn(prompt.token_ids, completion, new[0], tools, media)
        require(unclosed and unclosed.token_ids == bridged.token_ids, "the close is given twice, or not", new)
    extended = renderer.extend(prompt, completion + close, new[0], tools)
    assert extended is not None
    same = extended.token_ids == bridged.token_ids and extended.multi_modal_data == bridged.multi_modal_data
    require(same, "extend and bridge differ", conversation, new)
    if renderer.family.keeps_history:
        _check_fresh(extended, renderer.render([*messages, *new[0]], tools, True), conversation, new)
    return True


def _check_fresh(extended: RenderedTokens, fresh: RenderedTokens, *facts: object) -> None:
    """An extension is a fresh render but for owners: what belonged to the generation prompt is nobody's."""
    require(extended.token_ids == fresh.token_ids, "a bridge is no fresh render", *facts)
    require(extended.multi_modal_data == fresh.multi_modal_data, "a bridge has other media", *facts)
    require(extended.sampled_mask == fresh.sampled_mask, "extend samples unlike a fresh render", *facts)


def _refused(renderer: Renderer, messages: convert.Messages, tools: convert.Tools) -> bool:
    """Whether a conversation cannot be rendered."""
    try:
        renderer.render(messages, tools)
    except ConversationError:
        return True
    return False


def _sampled_end(rendered: RenderedTokens, start: int) -> int:
    """Where sampling of the last message stopped, nothing having been sampled before `start`."""
    last = len(rendered.message_roles) - 1
    return max((stop for run, (_, stop) in rendered.spans() if run.body and run.message == last), default=start)


def _close_by_next(renderer: Renderer, chat: Chat, index: int) -> tuple[int, ...]:
    """Ids by which message `index` closes the turn before it, in formats that close so."""
    if renderer.family.turn_close is not None:
        return ()
    return tuple(renderer.encoder.specials[segment.text] for segment in closing(renderer.family, chat, index))


def inverse(renderer: Renderer, conversation: Conversation) -> None:
    """Parsing a rendered assistant turn returns that turn: its calls in order, and what renders to the same ids.

    Tools declare the types of arguments, which formats that quote nothing need; no reasoning and empty reasoning are
    the same thing said, so is a blank where a format strips it, and so is reasoning spelled in the content, after which
    some formats trim less.
    """
    messages, tools = conversation
    chat = renderer.chat(messages, tools)
    last = chat.messages[-1]
    require(isinstance(last, AssistantMessage), "the conversation must end with an assistant turn")
    assert isinstance(last, AssistantMessage)
    ids, prompt = _sampled_turn(renderer, chat)
    types = _argument_types(renderer, last.tool_calls)
    parsed = renderer.parse_response(ids, _declared(types), prompt_ids=prompt)
    require(all(call.status == "ok" for call in parsed.tool_calls), "a rendered call was not read", parsed)
    calls = [(call.name, _compared(renderer, types[call.name or ""], call.arguments)) for call in parsed.tool_calls]
    wanted = [(call.name, _compared(renderer, types[call.name], arguments_object(call))) for call in last.tool_calls]
    require(calls == wanted, "calls differ", calls, wanted)
    answers = _answers(renderer, parsed, last.tool_calls)
    again = (_sampled_turn(renderer, Chat((*chat.messages[:-1], answer), chat.tools))[0] for answer in answers)
    require(ids in again, "what was parsed renders differently", parsed, last)


def _answers(renderer: Renderer, parsed: ParsedResponse, calls: tuple[ToolCall, ...]) -> Iterator[AssistantMessage]:
    """The messages that say what was read back; calls as they were given, since their JSON text may vary."""
    thought, markers = parsed.reasoning_content or "", renderer.family.reasoning
    for reasoning in (thought, parsed.reasoning_content, " " if parsed.reasoning_content == "" else thought):
        yield AssistantMessage(parsed.content, reasoning_content=reasoning, tool_calls=calls)
    if markers is not None:
        yield AssistantMessage(f"{markers.opener}{thought}{markers.closer}{parsed.content}", tool_calls=calls)


Types = dict[str, dict[str, set[str]]]
"""By name and argument, the JSON types that the calls of a turn give it."""


def _argument_types(renderer: Renderer, calls: Sequence[ToolCall]) -> Types:
    types: Types = {}
    for call in calls:
        arguments = types.setdefault(call.name, {})
        for key, value in arguments_object(call).items():
            arguments.setdefault(renderer.encoder.normalize(key), set()).add(_json_type(value))
    return types


def _json_type(value: Json) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", list: "array"}
    return names.get(type(value), "object")


def _declared(types: Types) -> list[dict[str, Json]]:
    """Tools that declare these types."""
    return [
        {"name": name, "parameters": {"properties": {key: {"type": sorted(found)} for key, found in arguments.items()}}}
        for name, arguments in types.items()
    ]


def _compared(renderer: Renderer, types: Mapping[str, set[str]], arguments: Mapping[str, Json] | None) -> str:
    """Arguments as text; one that is a string here and something else there is compared by its spelling."""
    normalize = renderer.encoder.normalize
    found = {normalize(key): value for key, value in (arguments or {}).items()}
    unsure = {key for key, names in types.items() if len(names) > 1 and "string" in names}
    told = {key: _spelled(value) if key in unsure else value for key, value in found.items()}
    return normalize(json_text(told))


def _spelled(value: Json) -> str:
    return value if isinstance(value, str) else json_text(value)


def _sampled_turn(renderer: Renderer, chat: Chat) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids sampled for the last message of a chat, and the ids before them."""
    rendered = renderer.render_chat(chat)
    index = len(chat.messages) - 1
    spans = [span for run, span in rendered.spans() if run.body and run.message == index]
    start = spans[0][0] if spans else len(rendered)
    return rendered.token_ids[start : _sampled_end(rendered, start)], rendered.token_ids[:start]


def parsing(renderer: Renderer, token_ids: Sequence[int], tools: convert.Tools = None) -> None:
    """Parsing any ids never raises, keeps every attempted call inside the ids it was given, and invents no text."""
    parsed = renderer.parse_response(token_ids, tools)
    for call in parsed.tool_calls:
        start, end = call.token_span
        require(0 <= start < end <= len(token_ids), "a call's span is outside the ids", call)
        require(call.status != "ok" or (call.name and isinstance(call.arguments, dict)), "an ok call lacks parts", call)
