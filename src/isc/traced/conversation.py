"""A whole conversation as owned segments (laws 2 to 4), from one traced render."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from msgspec import Struct

from isc.formats.segments import joined, owned, sampled
from isc.traced.format import Dicts, Format, text_of, written_of
from isc.traced.origins import Kind
from isc.traced.ownership import Find, Layout, cut_at_specials, finder, owned_segments
from isc.traced.prompts import Prompt, prompts_before
from isc.traced.rendering import Written, compiled
from isc.types import UNOWNED, Segment

_MOST_CLOSING = 16  # segments in which what closed the turn before is looked for


class Closing(Struct, frozen=True):
    """How turns end: by a special of their own, or by one of the specials that begin the next turn.

    `turn_close` is None in the second case, which `by_next` says is known; `closers` are all specials that end turns,
    `stop_tokens` those at which sampling stops.
    """

    turn_close: str | None = None
    closers: frozenset[str] = frozenset()
    stop_tokens: tuple[str, ...] = ()
    by_next: bool = False


def conversation(
    chosen: Format,
    closing: Closing,
    messages: Dicts,
    tools: Dicts | None,
    *,
    add_generation_prompt: bool = False,
    with_sampled: bool = True,
) -> list[Segment]:
    """A conversation as owned segments, what assistants sample as body.

    Raises:
        TemplateError: The template raised.
    """
    written = written_of(chosen, messages, tools, add_generation_prompt=add_generation_prompt)
    prompt_start = len(written.text)
    if add_generation_prompt:
        prompt_start = _prompt_start(chosen, messages, tools, written)
    find = finder(chosen.specials)
    layout = Layout(
        find,
        closing.closers,
        chosen.bos_token,
        0 if messages and messages[0].get("role") == "system" else UNOWNED,
        len(messages) - 1,
        prompt_start,
    )
    segments = owned_segments(written, layout)
    if not with_sampled:
        return segments
    assistants = [index for index, message in enumerate(messages) if message.get("role") == "assistant"]
    prompts = prompts_before(chosen, messages, tools, assistants)
    return _as_sampled(segments, prompts, closing, find, frozenset(assistants))


def _as_sampled(
    segments: Sequence[Segment],
    prompts: Mapping[int, Prompt],
    closing: Closing,
    find: Find,
    assistants: frozenset[int],
) -> list[Segment]:
    """The segments under law 4, given the prompt before each assistant turn."""
    texts = {text for prompt in prompts.values() for text in (prompt.text, prompt.text[prompt.closing :])}
    given = {text: cut_at_specials(text, find) for text in texts}
    found = list(_with_sampled(segments, prompts, given, closing.closers))
    if closing.by_next:
        found = _closed_by_next(found, assistants)
    return joined(found) if any(prompt.closing for prompt in prompts.values()) else found


def prompt_segments(chosen: Format, messages: Dicts, tools: Dicts | None) -> list[Segment]:
    """What asks the model for the turn after these messages.

    Raises:
        TemplateError: The template raised.
    """
    written = written_of(chosen, messages, tools, add_generation_prompt=True)
    start = _prompt_start(chosen, messages, tools, written)
    layout = Layout(finder(chosen.specials), frozenset(), chosen.bos_token, UNOWNED, len(messages) - 1, start)
    found: list[Segment] = []
    for segment in owned_segments(written, layout):
        if start <= 0:
            found.append(segment)
        elif len(segment.text) > start:
            found.append(Segment(segment.text[start:], segment.kind, segment.body, segment.message))
        start -= len(segment.text)
    return found


def lost_pieces(written: Written) -> list[tuple[str, str]]:
    """Texts of unknown origin, with the operation that lost track of each."""
    found: list[tuple[str, str]] = []
    position = 0
    for length, origin, _ in written.runs:
        if origin.kind is Kind.UNKNOWN:
            found.append((written.text[position : position + length], origin.operation))
        position += length
    return found


def _prompt_start(chosen: Format, messages: Dicts, tools: Dicts | None, written: Written) -> int:
    """The character at which the generation prompt begins: where the text without it ends."""
    if compiled(chosen.source).tail.independent:
        return written.tail
    prompt = prompts_before(chosen, messages, tools, [len(messages)])[len(messages)]
    if written.text.endswith(prompt.text):
        return len(written.text) - len(prompt.text) + prompt.closing
    silent = text_of(chosen, messages, tools, add_generation_prompt=False)
    return len(os.path.commonprefix((written.text, silent)))


def _closed_by_next(segments: Sequence[Segment], assistants: frozenset[int]) -> list[Segment]:
    """The special that begins what comes next, and closes an assistant's turn, as that assistant's body."""
    found = list(segments)
    for position, (before, marker) in enumerate(pairwise(segments), 1):
        if before.message in assistants and marker.kind == "special" and marker.message != before.message:
            found[position] = Segment(marker.text, "special", True, before.message)
    return found


def _with_sampled(
    segments: Sequence[Segment],
    prompts: Mapping[int, Prompt],
    given: Mapping[str, Sequence[Segment]],
    closers: frozenset[str],
) -> Iterator[Segment]:
    """The segments with what each assistant turn samples as body."""
    begun: set[int] = set()
    before = UNOWNED
    for owner, group in groupby(segments, lambda segment: segment.message):
        prompt = prompts.get(owner)
        if prompt is None:
            yield from group
        elif owner in begun:
            yield from _sampled_chunk(list(group), owner, (), closers)
        else:
            begun.add(owner)
            yield from _begun_turn(list(group), owner, before, prompt, given, closers)
        before = owner


def _begun_turn(
    turn: Sequence[Segment],
    owner: int,
    before: int,
    prompt: Prompt,
    given: Mapping[str, Sequence[Segment]],
    closers: frozenset[str],
) -> Iterable[Segment]:
    """A turn from its start; what closes the turn of `before`, and stands there in any case, is that turn's."""
    closing = prompt.text[: prompt.closing]
    if not closing or not "".join(segment.text for segment in turn[:_MOST_CLOSING]).startswith(closing):
        return _sampled_chunk(turn, owner, given[prompt.text[prompt.closing :]], closers)
    return _given_back(_sampled_chunk(turn, owner, given[prompt.text], closers), before, len(closing))


def _sampled_chunk(
    chunk: Sequence[Segment], owner: int, given: Sequence[Segment], closers: frozenset[str]
) -> list[Segment]:
    closed = next((s.text for s in reversed(chunk) if s.kind == "special" and s.text in closers), None)
    return owned(owner, sampled(chunk, given, closed))


def _given_back(turn: Sequence[Segment], before: int, remaining: int) -> Iterator[Segment]:
    """A turn whose first characters, as far as they are scaffold, are those of the turn of message `before`."""
    for segment in turn:
        if remaining and not segment.body and len(segment.text) <= remaining:
            remaining -= len(segment.text)
            yield Segment(segment.text, segment.kind, False, before)
        else:
            remaining = 0
            yield segment
