"""Helpers that `renderers` offers to renderers of a caller's own: tool names, turn closes, when to bridge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import isc
from isc.compat.tokenizer import encoder_of

ThinkingRetention: TypeAlias = Literal["tool_cycle", "all"]
ResolvedThinkingRetention: TypeAlias = Literal["template", "tool_cycle", "all"]


def extract_message_tool_names(messages: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Return for each message the tool whose result it is, by its `name` or the call before it; None for others.

    >>> call = {"id": "c1", "function": {"name": "add", "arguments": {}}}
    >>> result = {"role": "tool", "content": "4", "tool_call_id": "c1"}
    >>> extract_message_tool_names([{"role": "assistant", "tool_calls": [call]}, result])
    [None, 'add']
    """
    names: dict[str, str] = {}
    tools: list[str | None] = []
    for message in messages:
        if message.get("role") == "tool":
            tools.append(message.get("name") or names.get(str(message.get("tool_call_id"))))
        else:
            tools.append(None)
        names |= dict(_named_calls(message)) if message.get("role") == "assistant" else {}
    return tools


def _named_calls(message: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Return ids and names of a message's calls, where a call has both."""
    for call in message.get("tool_calls") or ():
        function = call.get("function") or call
        if call.get("id") and function.get("name"):
            yield str(call["id"]), str(function["name"])


def reject_assistant_in_extension(new_messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a turn among these was said by the assistant, which no bridge may encode anew.

    >>> reject_assistant_in_extension([{"role": "tool", "content": "4"}])
    False
    """
    return any(message.get("role") == "assistant" for message in new_messages)


def trim_to_turn_close(
    previous_prompt_ids: Sequence[int],
    previous_completion_ids: Sequence[int],
    close_token_ids: set[int],
    *,
    synthesize_close: int | None = None,
) -> list[int] | None:
    """Return prompt and completion up to the last turn close of the completion.

    Args:
        previous_prompt_ids: The prompt; a close in it ends no turn of this completion.
        previous_completion_ids: What was sampled.
        close_token_ids: The ids that close a turn.
        synthesize_close: The close to add where the completion has none; without it there is None then.

    >>> trim_to_turn_close([1, 9], [2, 9, 3], {9}), trim_to_turn_close([1], [2], {9}, synthesize_close=9)
    ([1, 9, 2, 9], [1, 2, 9])
    """
    closes = [place for place, token_id in enumerate(previous_completion_ids) if token_id in close_token_ids]
    if closes:
        return [*previous_prompt_ids, *previous_completion_ids[: closes[-1] + 1]]
    return None if synthesize_close is None else [*previous_prompt_ids, *previous_completion_ids, synthesize_close]


def _is_user_message(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "user"


def introduces_user_query(
    new_messages: Sequence[Mapping[str, Any]],
    *,
    is_user_query: Callable[[Mapping[str, Any]], bool] = _is_user_message,
) -> bool:
    """Return whether one of these messages is a new query; of what is one the caller may have another notion."""
    return any(is_user_query(message) for message in new_messages)


def resolve_thinking_retention(
    config: Any,  # noqa: ANN401 - one of many models
    implied: ResolvedThinkingRetention,
) -> ResolvedThinkingRetention:
    """Return when a bridge may keep earlier reasoning: as the configuration says, else as the template implies."""
    stated: ThinkingRetention | None = config.thinking_retention
    return implied if stated is None else stated


def should_rerender_for_thinking_retention(
    thinking_retention: ResolvedThinkingRetention,
    new_messages: Sequence[Mapping[str, Any]],
    *,
    is_user_query: Callable[[Mapping[str, Any]], bool] = _is_user_message,
) -> bool:
    """Return whether these messages ask for a fresh render: always by `template`, at a new query by `tool_cycle`."""
    if thinking_retention == "tool_cycle":
        return introduces_user_query(new_messages, is_user_query=is_user_query)
    return thinking_retention == "template"


class AttributedTextSegments(list[tuple[int, bool]]):
    """Ids, each with whether it is content; `has_content_attribution` is True, isc always knows."""

    def __init__(self, values: Iterable[tuple[int, bool]] = (), *, has_content_attribution: bool = True) -> None:
        super().__init__(values)
        self.has_content_attribution = has_content_attribution


def attribute_text_segments(
    tokenizer: object, segments: Sequence[tuple[str, bool]], *, overlap_is_content: bool = False
) -> AttributedTextSegments:
    """Encode texts that stand next to each other in one piece, and tell for each id whether it is content.

    Args:
        tokenizer: As for `create_renderer`.
        segments: Texts, each with whether it is content.
        overlap_is_content: Without effect: in isc a token that holds a content byte is content (law 3).
    """
    ids, content = isc.attribute_text_segments(encoder_of(tokenizer), list(segments))
    return AttributedTextSegments(zip(ids, content, strict=True))
