"""Reasoning in turns of formats that have none: callers of `renderers` have it read from its usual markers all the same.

Models are trained to reason in formats whose template knows nothing of it, and then spell the markers as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

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


def markers_of(family: Family) -> Reasoning | None:
    """How reasoning is spelled in a format that has none; None where it has, or where none is looked for.

    >>> markers_of(isc.Qwen3()) is None
    True
    """
    enders = None if family.reasoning else _ENDERS.get(catalogue.family_name(family))
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
    turn = cut_markers(sampled_turn(family, encoder, prompt_ids, ids_of(token_ids)), (markers.opener, markers.closer))
    if _opened(markers, encoder, prompt_ids) and reasoning_start(turn.segments, markers.opener) is None:
        turn = replace(turn, reasoning_open=True)
    position, (thought, complete) = reasoning(until(turn, family.stop_tokens), 0, markers)
    if thought is None:
        return renderer.parse_response(token_ids, tools, prompt_ids)
    if not complete:
        return ParsedResponse("", thought.strip("\n"), (), complete)
    left = turn.segments[position:], turn.starts[position:], turn.ends[position:]
    rest = replace(turn, segments=left[0], starts=left[1], ends=left[2], reasoning_open=False)
    said = family.parse(rest, tool_specs(tools))
    return ParsedResponse(said.content.lstrip("\n"), thought.strip("\n"), said.tool_calls, complete)


def _opened(markers: Reasoning, encoder: Encoder, prompt_ids: Sequence[int]) -> bool:
    """Whether the turn that a prompt ends in begins with reasoning that is not closed there."""
    marks = {encoder.specials.get(text) for text in (markers.opener, markers.closer)}
    others = set(encoder.specials.values()) - marks
    start = next((k for k in range(len(prompt_ids), 0, -1) if prompt_ids[k - 1] in others), 0)
    said = cut_markers(unfold(prompt_ids[start:], encoder), (markers.opener, markers.closer)).segments
    place = reasoning_start(said, markers.opener)
    return place is not None and not any(is_special(segment, markers.closer) for segment in said[place:])
