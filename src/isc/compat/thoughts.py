"""Reasoning as callers of `renderers` have it read: also in formats that have none, by its usual markers.

Models are trained to reason in formats whose template knows nothing of it, and then spell the markers as text. In a few
formats that have reasoning, no call ends it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

import isc
from isc.conversation.bridge import sampled_turn
from isc.convert import Tools, tool_specs
from isc.encoding.base import Encoder
from isc.encoding.fold import unfold
from isc.formats import catalogue
from isc.formats.base import Family
from isc.formats.reading.scanners import reasoning, reasoning_start, until
from isc.formats.reading.text_markers import cut_markers
from isc.formats.segments import is_special, special
from isc.rendered import ids_of
from isc.types import ParsedResponse, Reasoning

_OPENER: Final = "<think>"
_CLOSER: Final = "</think>"
_ENDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "kimi-k2": ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
    "deepseek-v3": (),
}
"""The families that have no reasoning, though `renderers` reads it, with the specials that end it."""
_KEPT_OPEN: Final = ("deepseek-r1", "laguna-xs.2", "laguna-xs-2.1", "laguna-m.1", "laguna-s-2.1", "hy3")
"""The configurations and families in whose turns `renderers` takes a call for reasoning while reasoning is open."""


def keeps_calls_in_thoughts(config: Any) -> bool:  # noqa: ANN401 - a configuration
    """Return whether a call in open reasoning is reasoning: in these formats, and if a reasoning parser was named."""
    return config is not None and (config.name in _KEPT_OPEN or getattr(config, "reasoning_parser", None) is not None)


def markers_of(family: Family, *, kept_open: bool = False) -> Reasoning | None:
    """Return what brackets reasoning where it is read otherwise than by the format itself. None: it is not.

    Args:
        family: The format.
        kept_open: Whether a call in open reasoning is reasoning.

    >>> markers_of(isc.Qwen3()) is None
    True
    """
    name = catalogue.family_name(family)
    if family.reasoning is not None:
        return replace(family.reasoning, enders=()) if kept_open or name in _KEPT_OPEN else None
    enders = _ENDERS.get(name)
    return None if enders is None else Reasoning(_OPENER, _CLOSER, (special(_CLOSER),), enders)


def parsed(
    renderer: isc.Renderer,
    markers: Reasoning,
    token_ids: Sequence[int],
    tools: Tools,
    prompt_ids: Sequence[int],
) -> ParsedResponse:
    """Read a sampled turn, reasoning by these markers and the rest by its format. Never raises on ids."""
    family, encoder = renderer.family, renderer.encoder
    turn = sampled_turn(family, encoder, prompt_ids, ids_of(token_ids))
    if family.reasoning is not None:
        _, (thought, complete) = reasoning(until(turn, family.stop_tokens), 0, markers)
        return renderer.parse_response(token_ids, tools, prompt_ids) if complete else _cut_off(thought)
    turn = cut_markers(turn, (markers.opener, markers.closer))
    if _opened(markers, encoder, prompt_ids) and reasoning_start(turn.segments, markers.opener) is None:
        turn = replace(turn, reasoning_open=True)
    position, (thought, complete) = reasoning(until(turn, family.stop_tokens), 0, markers)
    if thought is None:
        return renderer.parse_response(token_ids, tools, prompt_ids)
    if not complete:
        return _cut_off(thought)
    left = turn.segments[position:], turn.starts[position:], turn.ends[position:]
    rest = replace(turn, segments=left[0], starts=left[1], ends=left[2], reasoning_open=False)
    said = family.parse(rest, tool_specs(tools))
    return ParsedResponse(said.content.lstrip("\n"), thought.strip("\n"), said.tool_calls, complete)


def _cut_off(thought: str | None) -> ParsedResponse:
    """Return a turn that is reasoning to its end."""
    return ParsedResponse("", None if thought is None else thought.strip("\n"), (), reasoning_complete=False)


def _opened(markers: Reasoning, encoder: Encoder, prompt_ids: Sequence[int]) -> bool:
    """Return whether the turn that a prompt ends in begins with reasoning that is not closed there."""
    marks = {encoder.specials.get(text) for text in (markers.opener, markers.closer)}
    others = set(encoder.specials.values()) - marks
    start = next((k for k in range(len(prompt_ids), 0, -1) if prompt_ids[k - 1] in others), 0)
    said = cut_markers(unfold(prompt_ids[start:], encoder), (markers.opener, markers.closer)).segments
    place = reasoning_start(said, markers.opener)
    return place is not None and not any(is_special(segment, markers.closer) for segment in said[place:])
