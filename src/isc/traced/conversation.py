"""A whole conversation as owned segments (laws 2 to 4), from one traced render."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence

from isc.traced.format import Dicts, Format, text_of, written_of
from isc.traced.origins import Kind
from isc.traced.ownership import Layout, finder, owned_pieces
from isc.traced.pieces import as_segments
from isc.traced.prompts import expected_prompts
from isc.traced.rendering import Written, compiled
from isc.traced.sampled_turns import Closing, edges_of, mark_sampled_turns
from isc.traced.sampling import Start, sampling_starts
from isc.types import UNOWNED, Json, Segment


def conversation(
    chosen: Format,
    closing: Closing,
    messages: Dicts,
    tools: Dicts | None,
    *,
    add_generation_prompt: bool = False,
    with_sampled: bool = True,
    parts: bool = False,
) -> list[Segment]:
    """Return a conversation as owned segments, the sampled text of assistants as body.

    With `parts`, what messages say has the part of its field; what the template writes around that has none.

    Raises:
        TemplateError: The template raised.
    """
    written = written_of(chosen, messages, tools, add_generation_prompt=add_generation_prompt)
    asked = add_generation_prompt
    prompt_start = _prompt_start(chosen, messages, tools, written) if asked else len(written.text)
    roles = [message.get("role") for message in messages]
    assistants = [index for index, role in enumerate(roles) if with_sampled and role == "assistant"]
    starts = sampling_starts(chosen, messages, tools, written, assistants, finder(chosen.specials))
    layout = _layout(chosen, closing, roles, starts, (prompt_start, len(written.text)))
    pieces = owned_pieces(written, layout, parts=parts)
    if starts:
        mark_sampled_turns(pieces, starts, closing, prompt_start)
    return as_segments(pieces)


def _layout(
    chosen: Format, closing: Closing, roles: Sequence[Json], starts: Mapping[int, Start], ends: tuple[int, int]
) -> Layout:
    """Return what ownership needs to know of a conversation. `ends`: of what the prompt follows, and of the text."""
    speaker = next((index for index, role in enumerate(roles) if role != "system"), len(roles))
    return Layout(
        finder(chosen.specials),
        closing.closers,
        closing.ends,
        chosen.bos_token,
        0 if speaker else UNOWNED,
        len(roles) - 1,
        ends[0],
        speaker,
        starts[speaker].position if speaker in starts else ends[1],
        edges_of(starts, ends[0]),
    )


def prompt_segments(chosen: Format, messages: Dicts, tools: Dicts | None) -> list[Segment]:
    """Return the text that asks the model for the turn after these messages, as segments.

    Raises:
        TemplateError: The template raised.
    """
    written = written_of(chosen, messages, tools, add_generation_prompt=True)
    start = _prompt_start(chosen, messages, tools, written)
    no_ends = frozenset[str]()
    layout = Layout(
        finder(chosen.specials), no_ends, no_ends, chosen.bos_token, UNOWNED, len(messages) - 1, start, 0, 0, (start,)
    )
    prompt: list[Segment] = []
    for segment in as_segments(owned_pieces(written, layout)):
        if start <= 0:
            prompt.append(segment)
        elif len(segment.text) > start:
            prompt.append(Segment(segment.text[start:], segment.kind, segment.body, segment.message))
        start -= len(segment.text)
    return prompt


def lost_pieces(written: Written) -> list[tuple[str, str]]:
    """Return texts of unknown origin, with the operation that lost track of each."""
    pieces: list[tuple[str, str]] = []
    position = 0
    for length, origin, _ in written.runs:
        if origin.kind is Kind.UNKNOWN:
            pieces.append((written.text[position : position + length], origin.operation))
        position += length
    return pieces


def _prompt_start(chosen: Format, messages: Dicts, tools: Dicts | None, written: Written) -> int:
    """Return the character at which the generation prompt begins: the end of the text without a prompt."""
    if compiled(chosen.source).tail.independent:
        return written.tail
    silent = text_of(chosen, messages, tools, add_generation_prompt=False)
    if written.text.startswith(silent):
        return len(silent)
    expected = expected_prompts(chosen, messages, tools, [len(messages)])[0].prompt
    if expected is not None and expected.text and written.text.endswith(expected.text):
        return len(written.text) - len(expected.text) + expected.closing
    return len(os.path.commonprefix((written.text, silent)))
