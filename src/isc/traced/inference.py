"""Infer a template's format from its renders of a few short conversations.

Turn close and stop tokens from what follows an assistant's text, and whether history is kept. What is not recognized is
not claimed. `readers` finds how turns are read back.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from isc.errors import TemplateError
from isc.traced.conversation import conversation
from isc.traced.format import Dicts, Format, text_of
from isc.traced.limits import one_limit
from isc.traced.prompts import USER
from isc.traced.sampled_turns import Closing
from isc.types import Segment

_PROBE: Final = "isc probe"
_THOUGHT: Final = "isc thought"
_ID: Final = "probe0001"
_SYSTEM: Final[Mapping[str, Any]] = {"role": "system", "content": "s"}
ASSISTANT: Final[Mapping[str, Any]] = {"role": "assistant", "content": _PROBE}
_TOOL: Final[Mapping[str, Any]] = {"role": "tool", "content": "y", "tool_call_id": _ID, "name": "f"}
_PARAMETERS: Final = {"type": "object", "properties": {}}
_TOOLS: Final = ({"type": "function", "function": {"name": "f", "description": "d", "parameters": _PARAMETERS}},)
_ARGUMENTS: Final[tuple[object, ...]] = ({}, "{}")


def calling(arguments: object) -> dict[str, Any]:
    """Return an assistant turn that calls a tool."""
    call = {"id": _ID, "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _segments(chosen: Format, messages: Dicts, tools: Dicts | None = None) -> list[Segment]:
    try:
        return conversation(chosen, Closing(), messages, tools, with_sampled=False)
    except TemplateError:
        return []


@lru_cache(maxsize=128)
@one_limit()
def closing_of(chosen: Format, turn_close: str | None, stop_tokens: tuple[str, ...]) -> Closing:
    """Infer how turns end. Given values are taken as they are. Keeps the last 128 formats."""
    own, next_marker = _trial(chosen)
    close = turn_close or (own[0] if own else None)
    markers = [] if close else list(_next_markers(chosen, next_marker))
    end = [chosen.eos_token] if chosen.eos_token in chosen.specials else []
    stops = stop_tokens or tuple(dict.fromkeys([close, *end] if close else [*end, *markers]))
    closers = frozenset((*own, *([close] if close else []), *(() if markers else stops)))
    return Closing(close, closers, stops, by_next=bool(markers), ends=closers.union(_ends_of_users(chosen)))


def _ends_of_users(chosen: Format) -> list[str]:
    """Return the special that ends a user's message, if one does."""
    segments = [piece for piece in _segments(chosen, [USER, ASSISTANT]) if piece.message == 0]
    said = [place for place, piece in enumerate(segments) if piece.body]
    behind = [piece.text for piece in segments[said[-1] + 1 :] if piece.kind == "special"] if said else []
    return behind[-1:]


def _trial(chosen: Format) -> tuple[list[str], str | None]:
    """Try how turns end, with a system message or without, else only with tools."""
    for tools in (None, _TOOLS):
        trials = [_ends(chosen, start, tools) for start in ([], [_SYSTEM])]
        ending = next((trial for trial in trials if trial[0]), None)
        ending = ending or next((trial for trial in trials if trial[1] is not None), None)
        if ending is not None:
            return ending
    return [], None


def _ends(chosen: Format, start: Dicts, tools: Dicts | None) -> tuple[list[str], str | None]:
    """Return the specials that close an assistant's turn, the last turn's first, and the special that follows the text.

    The close is the last special of the turn that stands there in history and at the end alike: what a template adds at
    the end of a text only, or between the blocks of a turn, closes no turn.
    """
    assistant = len(start) + 1
    last = _behind(_segments(chosen, [*start, USER, ASSISTANT], tools))
    in_history = _behind(_segments(chosen, [*start, USER, ASSISTANT, USER], tools))
    ours = [[piece.text for piece in behind if piece.message == assistant] for behind in (last, in_history)]
    following = in_history[0].text if in_history else None
    shared = os.path.commonprefix(ours)
    if shared and all(ours):
        return [shared[-1]], following
    return [texts[0] for texts in ours if texts], following


def _behind(segments: Sequence[Segment]) -> list[Segment]:
    """Return the specials after an assistant's content."""
    said = [place for place, segment in enumerate(segments) if segment.body and _PROBE in segment.text]
    return [segment for segment in segments[said[-1] + 1 :] if segment.kind == "special"] if said else []


def _next_markers(chosen: Format, marker: str | None) -> Iterator[str]:
    """Yield the specials that begin the turns after an assistant's, if one does after its text."""
    if marker is None:
        return
    yield marker
    for arguments in _ARGUMENTS:
        segments = _segments(chosen, [USER, calling(arguments), _TOOL], _TOOLS)
        begins = next((s.text for s in segments if s.message == 2 and s.kind == "special"), None)
        if begins is not None:
            yield begins
            return


@lru_cache(maxsize=128)
@one_limit()
def keeps_history(chosen: Format) -> bool:
    """Return whether every shorter render of a handful of conversations is the start of each longer one."""
    thinking = {**ASSISTANT, "reasoning_content": _THOUGHT, "thinking": _THOUGHT}
    called = [{**calling(arguments), "reasoning_content": _THOUGHT, "thinking": _THOUGHT} for arguments in _ARGUMENTS]
    trials: list[list[Mapping[str, Any]]] = [
        [USER, ASSISTANT, USER, ASSISTANT],
        [USER, thinking, USER, thinking, USER],
        *([USER, call, _TOOL, ASSISTANT, USER] for call in called),
    ]
    results = [_grows(chosen, messages) for messages in trials]
    return any(result is not None for result in results) and False not in results


def _grows(chosen: Format, messages: Sequence[Mapping[str, Any]]) -> bool | None:
    """Return whether the texts of these messages only grow, one message more at a time.

    None: they cannot be rendered.
    """
    tools = _TOOLS if any("tool_calls" in message for message in messages) else None
    try:
        texts = [
            text_of(chosen, messages[:count], tools, add_generation_prompt=False)
            for count in range(1, len(messages) + 1)
        ]
    except TemplateError:
        return None
    return all(longer.startswith(shorter) for shorter, longer in pairwise(texts))
