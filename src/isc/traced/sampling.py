"""Find the characters of a text that the model samples (law 4), by position in the whole text.

Where the prompt for message `i` is a prefix of the text, sampling starts at its end, whoever owns the characters there.
A prompt that is expected, because short placeholder conversations have it, is held to the real thing for every
conversation anew: the last turn of each kind is compared with a render of everything before it.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from isc.traced.format import Dicts, Format
from isc.traced.origins import BODY, NAME, TEMPLATE
from isc.traced.ownership import Find
from isc.traced.prompts import Expected, Prompt, exact_prompt, expected_prompts, text_before
from isc.traced.rendering import Written

_SPACE = re.compile(r"\s*")
_LONGEST_SPECIAL = 64
_MOST_MISSES = 2  # prompts of one kind that are no prefix of the text, after which no more are rendered


class Start(Struct, frozen=True):
    """The start of a turn's sampling. The `closing` first characters from `turn` on close the turn before."""

    position: int
    turn: int
    closing: int = 0


class _Rule(Struct, frozen=True):
    """A rule for prompts: the turn begins with the prompt, or follows `early`, which is sampled already."""

    prompt: Prompt
    early: str = ""


class _Text(Struct, frozen=True):
    """A rendered conversation, where the turn of each message begins in it, and where each begins to say something."""

    chosen: Format
    messages: Dicts
    tools: Dicts | None
    written: Written
    turns: Mapping[int, int]
    spoken: Mapping[int, int]
    find: Find


def sampling_starts(
    chosen: Format, messages: Dicts, tools: Dicts | None, written: Written, indices: Sequence[int], find: Find
) -> dict[int, Start]:
    """Find where sampling of each of these assistant messages starts; one that the text does not show has no start.

    Args:
        chosen: The format.
        messages: The conversation.
        tools: Its tools.
        written: The conversation's text.
        indices: The assistant messages, in ascending order.
        find: Cuts wording at specials.
    """
    if not indices:
        return {}
    text = _Text(chosen, messages, tools, written, *_turns(written), find)
    starts: dict[int, Start] = {}
    for group in expected_prompts(chosen, messages, tools, indices):
        starts |= _starts_of(text, group)
    return starts


def _turns(written: Written) -> tuple[dict[int, int], dict[int, int]]:
    """Return the character at which each message's turn begins, and the one at which its content does."""
    turns: dict[int, int] = {}
    spoken: dict[int, int] = {}
    position = 0
    last, heard = None, TEMPLATE
    for length, origin, place in written.runs:
        if place is not last and place is not None:
            turns.setdefault(place.message, position)
            last = place
        if origin is not heard and (origin.kind is BODY or origin.kind is NAME):
            spoken.setdefault(origin.message, position)
            heard = origin
        position += length
    return turns, spoken


def _starts_of(text: _Text, group: Expected) -> dict[int, Start]:
    """Return the sampling starts of a group of messages. The last message is checked against its real prompt."""
    rules = [] if group.prompt is None else [_Rule(group.prompt)]
    if group.proven and rules:
        starts = {index: _by_rules(text, rules, index) for index in group.indices}
        if None not in starts.values():
            return {index: _told_by_generation(text, index, start) for index, start in starts.items() if start}
    starts, misses = {}, 0
    for index in reversed(group.indices):
        start = _by_rules(text, rules, index) if starts else None
        if start is None and misses < _MOST_MISSES:
            known = len(rules)
            start = None if group.proven and not _shows(text, rules, index) else _exact(text, rules, index)
            shown = len(rules) > known or _shows(text, rules, None)
            misses = 0 if start is not None else misses + 1 if shown else _MOST_MISSES
        if start is None:
            start = _by_rules(text, rules, index) or _shared(text, rules, index)
        if start is None and index in text.spoken:
            start = Start(text.spoken[index], text.spoken[index])
        starts[index] = start
    return {index: _told_by_generation(text, index, start) for index, start in starts.items() if start}


def _shows(text: _Text, rules: Sequence[_Rule], index: int | None) -> bool:
    """Return whether the text shows a known prompt before a message is heard, or anywhere.

    One that it does not show ends no prefix of it, so that nothing need be rendered to know.
    """
    whole = text.written.text
    end = len(whole) if index is None else text.spoken.get(index, len(whole))
    return not rules or any(whole.find(rule.prompt.text, 0, end) >= 0 for rule in rules)


def _by_rules(text: _Text, rules: Sequence[_Rule], index: int) -> Start | None:
    """Return the sampling start of a turn that begins with a known prompt."""
    turn = text.turns.get(index)
    if turn is None:
        return None
    whole = text.written.text
    for rule in rules:
        prompt, before = rule.prompt, turn - len(rule.early)
        if whole.startswith(rule.early + prompt.text, before):
            return Start(before + len(prompt.text), turn, prompt.closing)
        if prompt.closing and whole.startswith(prompt.text[prompt.closing :], turn):
            return Start(turn + len(prompt.text) - prompt.closing, turn)
    return None


def _exact(text: _Text, rules: list[_Rule], index: int) -> Start | None:
    """Return the end of a message's prompt if that is a prefix of the text.

    A prompt that was not known becomes a rule.
    """
    before = text_before(text.chosen, text.messages, text.tools, index)
    whole, turn = text.written.text, text.turns.get(index)
    if before is not None and whole.startswith(before):
        known = _by_rules(text, rules, index)
        if known is not None and known.position == len(before):
            return known
        if turn is None:
            return Start(len(before), len(before)) if index in text.spoken else None
        end = len(before)
        if _role(text, index - 1) == "assistant":
            end = max(end, turn)  # the close of an answer is that answer's, also where one that is last has none
        rules.insert(0, _Rule(Prompt(whole[turn:end])) if end >= turn else _Rule(Prompt(""), whole[end:turn]))
        return Start(end, turn)
    if not any(before is not None and rule.prompt.text and before.endswith(rule.prompt.text) for rule in rules):
        rules.insert(0, _Rule(exact_prompt(text.chosen, text.messages, text.tools, index)))
    return None


def _shared(text: _Text, rules: Sequence[_Rule], index: int) -> Start | None:
    """Return where a turn parts from its prompt, in whole lines: no prompt ends in the middle of one."""
    turn = text.turns.get(index)
    if turn is None:
        return None
    whole, expected = text.written.text, rules[0].prompt if rules else Prompt("")
    prompt = expected.text
    if not whole.startswith(prompt[: expected.closing], turn):
        prompt = prompt[expected.closing :]
    spoken = text.spoken.get(index, len(whole))
    later = whole.rfind(prompt, turn, spoken) if prompt and index in text.spoken else -1
    if later > turn:  # the turn begins with what no prompt has, such as a system turn that the template makes up
        return Start(later + len(prompt), later)
    first = turn if prompt[:1].isspace() else min(_SPACE.match(whole, turn).end(), spoken)  # type: ignore[union-attr]
    ours = whole[first : min(first + 2 * len(prompt) + _LONGEST_SPECIAL, max(spoken, first))]
    length = len(os.path.commonprefix((ours, prompt)))
    position = 0
    for piece, special, _ in text.find(ours, (len(ours),)):
        end = position + len(piece)
        if end > length:
            if special:
                length = position
            elif not _ends_piece(prompt, length, text.find):
                length = position + piece[: length - position].rfind("\n") + 1
            break
        position = end
    closing = expected.closing if prompt is expected.text and first + length >= turn + expected.closing else 0
    return Start(first + length if length or not prompt else turn, turn, closing)


def _role(text: _Text, index: int) -> object:
    return text.messages[index].get("role") if index >= 0 else None


def _ends_piece(prompt: str, length: int, find: Find) -> bool:
    """Return whether a text of a prompt, up to a special or its end, ends after so many characters."""
    position = 0
    for piece, _, _ in find(prompt, (len(prompt),)):
        position += len(piece)
        if position >= length:
            return position == length
    return True


def _told_by_generation(text: _Text, index: int, start: Start) -> Start:
    """Return the start of the template's own `{% generation %}` block, for templates that never give a prompt."""
    if not text.written.generated or start.position != start.turn:
        return start
    spoken = text.spoken.get(index, len(text.written.text))
    block = next((place for place in text.written.generated if start.turn <= place <= spoken), None)
    if block is None or not text.written.text[start.turn : block].strip():
        return start
    return Start(block, start.turn)
